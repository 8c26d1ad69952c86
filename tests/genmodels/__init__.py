"""Tests of genmodels."""
