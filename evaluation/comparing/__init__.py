"""Comparing: leaderboard, the one rule of significance, pairs, verdict, tables, printed values.

Imports `measuring` and below; neither `metrics` nor `figures`.
"""
