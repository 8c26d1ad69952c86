"""Figures: how each plot and each grid of pictures is drawn.

Imports the other wings of `evaluation`; none of them imports this one.
"""
