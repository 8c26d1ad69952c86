"""Training: the one loop, with EMA, checkpoints and the cost of a model.

Imports `base` and below; never a kind.
"""
