"""Objectives: formulas and nothing else.

Likelihoods, divergences, adversarial losses, penalties, priors. Imports no other wing of
`genmodels`.
"""
