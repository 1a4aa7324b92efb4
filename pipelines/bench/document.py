"""Result of a benchmark, as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyvasa.config import config_to_dict
from joyvasa.runtime.files import atomic_write
from pipelines.bench.chain import ChainSection
from pipelines.bench.config import BenchConfig
from pipelines.bench.encoding import EncodingFigure
from pipelines.bench.engine import EngineFigure
from pipelines.bench.machine import Machine
from pipelines.bench.networks import NetworksSection
from pipelines.bench.scaling import ScalingFigure
from pipelines.bench.simulation import SimulationFigure

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
        content = json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"
        atomic_write(path, content.encode())
