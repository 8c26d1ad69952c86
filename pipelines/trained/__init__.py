"""Trained models, named by preset or by an alias of the registry.

The wing reads them, checks published ones against their SHA-256, and serves them to MLflow. It may
import `tracking` and everything below it, but not `comparing`.
"""
