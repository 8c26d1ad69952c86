"""Finds trained models by preset or by alias of the registry, checks and serves them."""
