"""Stages of the pipelines. Imports `joyvasa` and `manifests`, never Ray."""
