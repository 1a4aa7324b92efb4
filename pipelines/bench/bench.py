"""Run the selected sections of the benchmark; the result is a JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import require_models
from joyvasa.config import config_to_dict
from joyvasa.runtime.device import choose_device
from joyvasa.runtime.files import atomic_write
from joyvasa.runtime.json_text import format_json
from pipelines.bench.chain import ChainSection, measure_chain
from pipelines.bench.config import BenchConfig
from pipelines.bench.encoding import EncodingFigure, measure_encoding
from pipelines.bench.engine import EngineFigure, measure_engine
from pipelines.bench.machine import Machine, describe_machine
from pipelines.bench.networks import NetworksSection, measure_networks
from pipelines.bench.scaling import ScalingFigure, measure_scaling
from pipelines.bench.simulation import SimulationFigure, measure_simulation

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Document:
    """All figures of one benchmark; a section that was not selected is None."""

    machine: Machine  # description of the machine
    models: str  # name of the bundle
    config: BenchConfig  # amounts and options
    # networks, chain, engine, simulation, scaling, encoding: figures of the sections
    networks: NetworksSection | None = None
    chain: ChainSection | None = None
    engine: tuple[EngineFigure, ...] | None = None
    simulation: tuple[SimulationFigure, ...] | None = None
    scaling: tuple[ScalingFigure, ...] | None = None
    encoding: tuple[EncodingFigure, ...] | None = None
    format_version: int = FORMAT_VERSION  # version of this layout

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return dataclasses.asdict(self) | {"config": config_to_dict(self.config)}

    def write(self, path: Path) -> None:
        """Write the document as JSON."""
        content = format_json(self.as_dict(), indent=2) + "\n"
        atomic_write(path, content.encode())


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
