"""Manifests, which are the input tables of a run, and run folders with the outcome tables."""
