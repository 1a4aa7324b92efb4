"""Runs over a manifest: generate, evaluate, prepare, and how they resume."""
