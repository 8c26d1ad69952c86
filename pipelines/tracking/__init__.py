"""Tracking: the MLflow store, its runs, its registry, and their completion from files.

The only wing that imports MLflow. Imports `reporting` and below.
"""
