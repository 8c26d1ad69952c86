"""Comparing: leaderboard, pairs, significance, verdict, reference rows, tables.

Imports `measuring`; never `metrics`.
"""
