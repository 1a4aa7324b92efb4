"""The result of a bench, as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyvasa.config import plain
from joyvasa.runtime.files import atomic_write
from pipelines.bench.chain import ChainSection
from pipelines.bench.config import BenchConfig
from pipelines.bench.encoding import EncodingFigure
from pipelines.bench.engine import EngineFigure
from pipelines.bench.machine import Machine
from pipelines.bench.networks import NetworksSection
from pipelines.bench.scaling import ScalingFigure

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Document:
    """All figures of one bench; a section that was not asked for is None.

    Attributes:
        machine: where.
        models: name of the bundle.
        config: amounts and options.
        networks, chain, engine, scaling, encoding: the sections.
        format_version: of this layout.
    """

    machine: Machine
    models: str
    config: BenchConfig
    networks: NetworksSection | None = None
    chain: ChainSection | None = None
    engine: tuple[EngineFigure, ...] | None = None
    scaling: tuple[ScalingFigure, ...] | None = None
    encoding: tuple[EncodingFigure, ...] | None = None
    format_version: int = FORMAT_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Plain values, by the names of the fields."""
        return dataclasses.asdict(self) | {"config": plain(self.config)}

    def write(self, path: Path) -> None:
        """Write the document as JSON."""
        content = json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"
        atomic_write(path, content.encode())
