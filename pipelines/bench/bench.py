"""Measures the sections that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.models import require_models
from joyvasa.runtime.device import choose_device
from pipelines.bench.chain import measure_chain
from pipelines.bench.config import BenchConfig
from pipelines.bench.document import Document
from pipelines.bench.encoding import measure_encoding
from pipelines.bench.engine import measure_engine
from pipelines.bench.machine import describe
from pipelines.bench.networks import measure_networks
from pipelines.bench.scaling import measure_scaling

MEASURES: dict[str, Callable[[BenchConfig], Any]] = {
    "networks": measure_networks,
    "chain": measure_chain,
    "engine": measure_engine,
    "scaling": measure_scaling,
    "encoding": measure_encoding,
}


def run_bench(config: BenchConfig, on_section: Callable[[str], object] = lambda name: None) -> Document:
    """Measures.

    Args:
        config: what, and how much of it.
        on_section: hears the name of each section when it begins.

    Raises:
        ModelError: the bundle is unknown, or files are missing.
        EnvironmentFault: `device_unavailable`, `bench_record_failed`.
    """
    animation = config.run.animation
    bundle = open_bundle(animation.models)
    require_models(animation, bundle)
    found = {}
    for name in MEASURES:
        if name in config.sections:
            on_section(name)
            found[name] = MEASURES[name](config)
    return Document(machine=describe(choose_device(animation.device)), models=bundle.name, config=config, **found)
