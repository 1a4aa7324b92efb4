"""Which metrics there are, and whether one can be computed here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from joyvasa.errors import ConfigError, suggest_name
from joyvasa.metrics.base import Metric, NotMeasured

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

METRICS_BUNDLE = "metrics"  # name of the bundle with the weights
FVD = "fvd"  # the one metric that is of a whole run

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
    """Refuses a name that no metric has.

    Raises:
        ConfigError: `metric_unknown`.
    """
    if name not in _CLASSES:
        raise ConfigError("metric_unknown", f"no metric {name!r}; {suggest_name(name, METRIC_NAMES)}")


def build_metric(name: str) -> Metric:
    """A metric by its name, not set up yet.

    Args:
        name: one of `METRIC_NAMES`.

    Raises:
        ConfigError: `metric_unknown`.
    """
    check_metric_name(name)
    module, kind = _CLASSES[name]
    return getattr(import_module(f"joyvasa.metrics.{module}"), kind)()


def check_availability(metric: Metric, bundle: Bundle, *, commercial: bool = False) -> NotMeasured | None:
    """Why a metric cannot be computed here; None where it can.

    Args:
        metric: of which the weights are looked up.
        bundle: with weights for metrics.
        commercial: whether only weights that may be used commercially count.
    """
    if commercial:
        known = [role for role in metric.roles if role in bundle.spec.roles]
        forbidden = [license for license in bundle.licenses(known).values() if license.commercial != "yes"]
        if forbidden:
            name = forbidden[0].name
            return NotMeasured("license_forbids", f"its weights are under {name!r}; expected a commercial license")
    missing = [role for role in metric.roles if not bundle.has(role)]
    return NotMeasured("weights_missing", bundle.describe_missing(missing)) if missing else None
