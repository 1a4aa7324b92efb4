"""Run the selected sections of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import require_models
from joyvasa.runtime.device import choose_device
from pipelines.bench.chain import measure_chain
from pipelines.bench.config import BenchConfig
from pipelines.bench.document import Document
from pipelines.bench.encoding import measure_encoding
from pipelines.bench.engine import measure_engine
from pipelines.bench.machine import describe_machine
from pipelines.bench.networks import measure_networks
from pipelines.bench.scaling import measure_scaling
from pipelines.bench.simulation import measure_simulation

MEASURES: dict[str, Callable[[BenchConfig], Any]] = {
    "networks": measure_networks,
    "chain": measure_chain,
    "engine": measure_engine,
    "simulation": measure_simulation,
    "scaling": measure_scaling,
    "encoding": measure_encoding,
}


def run_bench(config: BenchConfig, on_section: Callable[[str], object] = lambda name: None) -> Document:
    """Measure the sections of a configuration.

    Args:
        config: sections and amounts.
        on_section: callback, called with the name of each section before it is measured.

    Raises:
        ModelError: the bundle is unknown, or files are missing.
        EnvironmentFault: `device_unavailable`, `bench_record_failed`.
    """
    animation = config.run.animation
    bundle = open_bundle(animation.models)
    require_models(animation, bundle)
    sections = {}
    for name in MEASURES:
        if name in config.sections:
            on_section(name)
            sections[name] = MEASURES[name](config)
    machine = describe_machine(choose_device(animation.device))
    return Document(machine=machine, models=bundle.name, config=config, **sections)
