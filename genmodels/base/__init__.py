"""Base: what several kinds share.

Settings, the interface of a model, decoder likelihoods, the VAE base classes, samplers, codebook,
schedules and seeding. Imports `networks` and `objectives`; never `models`, `training` or `build`.
"""
