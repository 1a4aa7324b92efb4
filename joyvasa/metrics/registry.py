"""Registry of metrics, and the check whether a metric can be computed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from joyvasa.errors import ConfigError, suggest_name
from joyvasa.metrics.base import Metric, NotMeasured

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

METRICS_BUNDLE = "metrics"  # name of the bundle with the weights
FVD = "fvd"  # the only metric of a whole run

# Name -> module and class; imported when a metric is built.
_CLASSES = {
    "sharpness": ("sharpness", "SharpnessMetric"),
    "drift": ("drift", "DriftMetric"),
    "flicker": ("flicker", "FlickerMetric"),
    "freeze": ("freeze", "FreezeMetric"),
    "first_frame": ("first_frame", "FirstFrameMetric"),
    "length": ("length", "LengthMetric"),
    "head": ("head", "HeadMetric"),
    "mouth": ("mouth", "MouthMetric"),
    "blink": ("blink", "BlinkMetric"),
    "mouth_sound": ("mouth_sound", "MouthSoundMetric"),
    "beat": ("beat", "BeatMetric"),
    "sync": ("sync", "SyncMetric"),
    "identity": ("identity", "IdentityMetric"),
    "smoothness": ("smoothness", "SmoothnessMetric"),
    "quality": ("quality", "QualityMetric"),
    FVD: ("fvd", "FvdMetric"),
}
METRIC_NAMES = tuple(_CLASSES)


def check_metric_name(name: str) -> None:
    """Reject the name of an unknown metric.

    Raises:
        ConfigError: `metric_unknown`.
    """
    if name not in _CLASSES:
        raise ConfigError("metric_unknown", f"no metric {name!r}; {suggest_name(name, METRIC_NAMES)}")


def build_metric(name: str) -> Metric:
    """Construct a metric by its name, without setting it up.

    Raises:
        ConfigError: `metric_unknown`.
    """
    check_metric_name(name)
    module, kind = _CLASSES[name]
    return getattr(import_module(f"joyvasa.metrics.{module}"), kind)()


def check_availability(metric: Metric, bundle: Bundle, *, commercial: bool = False) -> NotMeasured | None:
    """Return the reason why a metric cannot be computed, or None if it can."""
    if commercial:
        roles = [role for role in metric.roles if role in bundle.spec.roles]
        for license in bundle.get_licenses(roles).values():
            if license.commercial != "yes":
                sentence = f"its weights are under {license.name!r}; expected a commercial license"
                return NotMeasured("license_forbids", sentence)
    missing = [role for role in metric.roles if not bundle.has_role(role)]
    return NotMeasured("weights_missing", bundle.describe_missing(missing)) if missing else None
