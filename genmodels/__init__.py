"""Generative image models and their training.

Imports torch and pydantic (and scikit-learn in `base/samplers.py`); never `evaluation`,
`pipelines`, DVC, MLflow or Optuna. The wings import downwards only: `build`, then `models` and
`training`, then `base`, `networks`, `objectives`.
"""
