"""Pictures of one model: its samples, its reconstructions and its latent space.

Imports `training` and the wings below it; never `reporting`, which compares several models.
"""
