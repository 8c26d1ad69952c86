"""Training: the loop that trains every kind, with optimisers, EMA, checkpoints and cost.

Imports `base` and the wings below it; never a kind or `build`.
"""
