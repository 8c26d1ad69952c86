"""Tests of genmodels.models."""
