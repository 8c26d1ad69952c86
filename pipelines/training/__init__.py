"""Training: one run, worker processes, progress, and the identity of a run.

Imports only `data` and `settings`, not MLflow, so that a slow store does not slow a training.
"""
