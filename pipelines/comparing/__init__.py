"""Comparing: sources of results (files, store), their tables in a terminal, gates.

Imports `tracking` and below; never `trained`.
"""
