"""Sections and amounts of a benchmark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from joyvasa.errors import ConfigError
from joyvasa.runtime.device import Precision
from pipelines.bench import SECTIONS
from pipelines.runs.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Sections and amounts of a benchmark; the defaults are those of the published figures."""

    run: RunConfig = field(default_factory=RunConfig)  # options of the measured runs
    sections: tuple[str, ...] = SECTIONS  # names from `SECTIONS`
    batches: tuple[int, ...] = (1, 4, 16)  # batch sizes of networks and of stages
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")  # precisions of the networks
    torch_compile: bool = True  # also measure compiled networks, in the precision of the run and with the largest batch
    case_s: float = 10.0  # measuring time per case in seconds
    sound_s: float = 4.0  # seconds of sound of each record
    chain_records: int = 64  # number of records of the chain alone; enough to keep all stages busy at the same time
    # lengths of one recording, to measure how time grows with length
    sound_lengths_s: tuple[float, ...] = (4.0, 60.0, 600.0)
    actors: tuple[int, ...] = (1, 2, 4)  # numbers of render workers
    encoding_frames: int = 100  # number of frames of the encoded video
    empty_records: int = 10_000  # number of records that run through stages that do nothing
    simulated_gpus: tuple[int, ...] = (1000, 4000)  # numbers of GPUs that one driver is simulated with

    def __post_init__(self) -> None:
        if unknown := [name for name in self.sections if name not in SECTIONS]:
            raise ConfigError("bench_section", f"section {unknown[0]!r} is unknown; expected {', '.join(SECTIONS)}")

    def quick(self) -> BenchConfig:
        """Return this configuration with smaller amounts, for slow machines; ratios stay meaningful."""
        return dataclasses.replace(
            self,
            batches=(1, 4),
            case_s=1.0,
            sound_s=0.4,
            chain_records=8,
            sound_lengths_s=(0.4, 0.8, 1.6),
            actors=(1, 2),
            encoding_frames=25,
            empty_records=1_000,
            simulated_gpus=(64,),
        )
