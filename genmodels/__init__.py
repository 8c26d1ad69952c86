"""Generative image models and their training: torch and pydantic, nothing else of the stack."""
