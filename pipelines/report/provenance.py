"""Where the videos and the numbers of a run come from."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from joyvasa import __version__
from joyvasa.bundles import open_bundle
from joyvasa.errors import JoyvasaError
from joyvasa.metrics import METRIC_NAMES, build_metric
from manifests.run.description import RunDescription
from pipelines.report.metrics import MetricFigures
from pipelines.report.rows import RunRows

LIBRARIES = ("matplotlib", "numpy", "pyarrow", "torch")


@dataclass(frozen=True)
class Provenance:
    """What decided the results.

    Args:
        notice: what must be said of the videos first; empty for nothing.
        facts: name and value, in order: manifest, dates, versions.
        bundles: name and hash.
        used: the bundle and the hash of its files that videos were made with, and how many videos.
        licenses: of the weights behind the videos, and of how many.
        metric_licenses: metric and terms of its weights, where they were used.
        configuration: every option, YAML.
    """

    notice: str
    facts: list[tuple[str, str]]
    bundles: list[tuple[str, str]]
    used: list[tuple[str, int]]
    licenses: list[tuple[str, int]]
    metric_licenses: list[tuple[str, str]]
    configuration: str


def provenance(description: RunDescription, rows: RunRows, figures: list[MetricFigures], run: str) -> Provenance:
    """All that is known of a run's making.

    Args:
        description: of the run.
        rows: that were read.
        figures: of its metrics.
        run: the run folder.
    """
    source = description.manifest
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    facts = [
        ("run folder", run),
        ("begun", description.created),
        ("manifest", source.uri),
        ("manifest, SHA-256", source.fingerprint),
        ("manifest, rows", f"{source.rows:,} rows, {source.records:,} records, modes {', '.join(source.modes)}"),
        ("run made by", ", ".join(f"{name} {version}" for name, version in description.versions.items())),
        ("report made by", f"joyvasa {__version__}, python {platform.python_version()}, {', '.join(libraries)}"),
        ("what decides the results, SHA-256", description.fingerprint()),
    ]
    if description.name:
        facts.insert(0, ("videos of", description.name))
    return Provenance(
        _notice(description),
        facts,
        list(_hashes(description.bundles)),
        rows.bundles.most_common(),
        rows.licenses.most_common(),
        _metric_licenses(figures),
        yaml.safe_dump(json.loads(json.dumps(description.configuration)), sort_keys=False, allow_unicode=True),
    )


def _notice(description: RunDescription) -> str:
    models = description.configuration.get("animation", {}).get("models")
    if description.kind != "generate" or not isinstance(models, str):
        return ""
    try:
        synthetic = open_bundle(models).synthetic
    except JoyvasaError:  # made on another machine
        return ""
    return f"Models {models}: random weights, for tests only. The pictures mean nothing." if synthetic else ""


def _hashes(bundles: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in bundles.items():
        if isinstance(value, Mapping):
            yield from _hashes(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}", str(value)


def _metric_licenses(figures: list[MetricFigures]) -> list[tuple[str, str]]:
    """Of the weights behind the numbers that there are."""
    measured = {one.column.name for one in figures if one.summary.n}
    metrics = [metric for metric in map(build_metric, METRIC_NAMES) if metric.license]
    return [(m.name, m.license) for m in metrics if measured & {column.name for column in m.columns}]
