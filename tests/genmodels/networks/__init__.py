"""Tests of genmodels.networks."""
