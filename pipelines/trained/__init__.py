"""Trained models: found by preset, run or alias, read and served.

Imports `tracking` and below; never `comparing`.
"""
