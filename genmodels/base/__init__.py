"""Base: what the kinds of models share (model, VAE, likelihood, samplers, seeding).

Imports `networks` and `objectives`; never a kind, never the loop.
"""
