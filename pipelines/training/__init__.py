"""Training: one run, worker processes, progress, and the identity of a run.

Imports `data` and `settings` only, so no MLflow: a slow store slows no training.
"""
