"""Pictures: what is drawn of one model (samples, reconstructions, its latent space).

Imports `training` and below; never `reporting`, which shows several models side by side.
"""
