"""Comparing: where results come from (files, store, commits), their tables and JSON, gates, scores.

Imports `tracking` and below.
"""
