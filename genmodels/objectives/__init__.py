"""Objectives: formulas on tensors, without settings and without state.

Likelihoods, divergences, adversarial losses, gradient penalties, log-densities. Imports no other
wing of `genmodels`.
"""
