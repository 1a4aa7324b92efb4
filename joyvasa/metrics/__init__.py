"""Metrics of finished videos, one a file; see `joyvasa.metrics.base` for what a metric is."""

from joyvasa.metrics.registry import BUNDLE, FVD, NAMES, build, check_name, unavailable

__all__ = ["BUNDLE", "FVD", "NAMES", "build", "check_name", "unavailable"]
