"""Which metrics a run has: the stage that computes them, their columns, and the weights that decide their numbers."""

from __future__ import annotations

from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.metrics import FVD, build_metric, check_availability
from joyvasa.models import AnimationConfig
from pipelines.runs.config import RunConfig
from stages.score import ScoreConfig, ScoreStage


def score_stage(config: RunConfig, run: str, animation: AnimationConfig) -> ScoreStage:
    """What measures the videos of a run.

    Args:
        config: every option.
        run: the run folder; an absolute path or URI.
        animation: that the videos were made with.
    """
    return ScoreStage(
        ScoreConfig(
            run=run,
            metrics=config.metric_names,
            models=config.metric_models,
            device=config.metric_device,
            animation=animation,
        )
    )


def metric_columns(config: RunConfig) -> tuple[str, ...]:
    """Columns of the metrics of a run, those without weights too."""
    return tuple(column.name for name in config.metric_names for column in build_metric(name).columns)


def metric_hashes(config: RunConfig) -> dict[str, Any]:
    """What decides the numbers of a run besides its options: nothing where its metrics use no weights.

    Returns:
        `metrics`: one hash of all their weights; `fvd`: the choices behind features for FVD, where it has them.
    """
    bundle, roles = open_bundle(config.metric_models), metric_roles(config)
    if not roles:
        return {}
    hashes: dict[str, Any] = {"metrics": bundle.fingerprint(roles)}
    if FVD in config.metric_names and set(build_metric(FVD).roles) <= set(roles):
        from joyvasa.metrics.fvd import collect_fvd_choices

        hashes[FVD] = dict(collect_fvd_choices(bundle))
    return hashes


def metric_roles(config: RunConfig) -> tuple[str, ...]:
    """Roles of the weights that the metrics of a run use: those that are there and may be used."""
    bundle, commercial = open_bundle(config.metric_models), config.animation.licenses == "commercial"
    metrics = map(build_metric, config.metric_names)
    return tuple(
        sorted({role for one in metrics if not check_availability(one, bundle, commercial=commercial) for role in one.roles})
    )


def metric_licenses(config: RunConfig) -> set[str]:
    """Licenses of these weights."""
    return {license.name for license in open_bundle(config.metric_models).licenses(metric_roles(config)).values()}
