"""Tuning: search spaces, trials, retraining, the verdict and its page.

The only wing that imports Optuna. Imports every wing below it.
"""
