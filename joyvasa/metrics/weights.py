"""The weights that metrics need: files, sizes, sources and licenses, for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from joyvasa.bundles import Bundle
from joyvasa.metrics.registry import METRIC_NAMES, build_metric


@dataclass(frozen=True)
class MetricWeights:
    """The weights of a metric."""

    metric: str  # name of the metric
    columns: tuple[str, ...]  # titles of its numbers
    files: tuple[tuple[str, str], ...]  # names and sizes of the files; `about` marks an approximate size
    command: str  # command that fetches them; empty if there is none
    instructions: str  # how to get them otherwise
    license: str  # names of the licenses
    present: bool  # whether all files exist


def list_weights(bundle: Bundle) -> list[MetricWeights]:
    """Return the weights of all metrics that need some, in the order of the metrics."""
    listed = []
    for metric in map(build_metric, METRIC_NAMES):
        roles = {name: bundle.spec.roles[name] for name in metric.roles if name in bundle.spec.roles}
        if not roles:
            continue
        fetched = "".join(f" --role {name}" for name, role in roles.items() if role.source)
        listed.append(
            MetricWeights(
                metric=metric.name,
                columns=tuple(column.title for column in metric.columns),
                files=tuple(
                    (PurePosixPath(str(role.file)).name, describe_size(role.bytes, role.about_bytes))
                    for role in roles.values()
                ),
                command=f"joyvasa models fetch {bundle.name}{fetched}" if fetched else "",
                instructions="; ".join(filter(None, dict.fromkeys(role.instructions for role in roles.values()))),
                license=", ".join(dict.fromkeys(bundle.spec.licenses[role.license].name for role in roles.values())),
                present=all(bundle.has_role(name) for name in roles),
            )
        )
    return listed


def describe_size(n_bytes: int | None, about_bytes: int | None = None) -> str:
    """Format a size in MB or GB; `about` marks an approximate one, `?` an unknown one."""
    if n_bytes is None:
        return f"about {describe_size(about_bytes)}" if about_bytes is not None else "?"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
