"""Metrics of finished videos, one per file; `joyvasa.metrics.base` defines the interface."""

from joyvasa.metrics.registry import (
    FVD,
    METRIC_NAMES,
    METRICS_BUNDLE,
    build_metric,
    check_availability,
    check_metric_name,
)

__all__ = ["FVD", "METRICS_BUNDLE", "METRIC_NAMES", "build_metric", "check_availability", "check_metric_name"]
