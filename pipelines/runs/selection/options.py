"""The options of a selection."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter

from joyvasa.errors import ConfigError
from joyvasa.runtime.parsing import parse_json
from manifests.run.outcome import STATUSES
from pipelines.runs.selection.splits import check_shares

PORTRAIT, RECORDING = "portrait", "recording"
PERCEPTUAL_HASH = "image_phash"  # column by which copies of a portrait, scaled or compressed, count as one
CONTENTS = {PORTRAIT: ("image_sha256", "image"), RECORDING: ("audio_sha256", "audio")}
"""Columns that identify a portrait and a recording; the first that has a value counts."""
SAME_INPUTS = ("image_sha256", "audio_sha256", "motion_sha256", "seed")  # columns that rows with one video share


@dataclass(frozen=True)
class SelectionOptions:
    """The criteria of a selection, in the order in which they apply.

    Raises:
        ConfigError: `config_invalid`.
    """

    statuses: tuple[str, ...] = ("ok",)  # statuses of rows to select from
    where: tuple[str, ...] = ()  # conditions, see `manifests.expressions`
    split: Mapping[str, float] = field(default_factory=dict)  # share of each split by its name; empty for no splits
    # columns whose values occur in one split only, or `portrait` and `recording`, see `CONTENTS`
    disjoint: tuple[str, ...] = (PORTRAIT,)
    seed: int = 0  # seed of the splits
    distinct: bool = False  # whether to select one of several rows with the same inputs and seed, see `SAME_INPUTS`
    # largest number of rows for each value of a column, by column or key of `CONTENTS`
    per: Mapping[str, int] = field(default_factory=dict)
    top: int | None = None  # number of rows to select; None for all
    by: str | None = None  # column with the rank of rows; without one, earlier rows come first
    ascending: bool = False  # whether lower values of `by` come first

    def __post_init__(self) -> None:
        check_shares(self.split)
        for status in self.statuses:
            if status not in STATUSES:
                raise ConfigError("config_invalid", f"status {status!r}; expected one of {', '.join(STATUSES)}")
        limits = [*self.per.items(), *([("top", self.top)] if self.top is not None else [])]
        for name, limit in limits:
            if limit < 1:
                raise ConfigError("config_invalid", f"{name}={limit}; expected at least 1 row")
        if self.top is not None and self.by is None:
            raise ConfigError("config_invalid", f"top {self.top} has no column; expected one: name the rank with by")
        if self.by is not None and not (self.top or self.per or self.distinct):
            raise ConfigError("config_invalid", f"by {self.by} has no effect; expected top, per or distinct with it")
        if self.split and not self.disjoint:
            raise ConfigError("config_invalid", "disjoint is empty; expected at least one column, such as portrait")

    def to_json(self) -> str:
        """Return the options as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> SelectionOptions | None:
        """Return the options in the output of `to_json`; None if it is damaged."""
        try:
            return TypeAdapter(cls).validate_python(parse_json(content))
        except (ValueError, ConfigError):  # errors of pydantic are ValueErrors
            return None

    def to_arguments(self) -> list[str]:
        """Return the options as arguments of `joyvasa select`; defaults are left out."""
        arguments = (
            [] if self.statuses == ("ok",) else [word for status in self.statuses for word in ("--status", status)]
        )
        arguments += [word for text in self.where for word in ("--where", text)]
        if self.split:
            arguments += ["--split", ",".join(f"{name}={share}" for name, share in self.split.items())]
            arguments += [] if self.disjoint == (PORTRAIT,) else ["--disjoint", ",".join(self.disjoint)]
            arguments += ["--seed", str(self.seed)] if self.seed else []
        arguments += ["--distinct"] if self.distinct else []
        arguments += [word for name, limit in self.per.items() for word in ("--per", f"{name}={limit}")]
        arguments += ["--top", str(self.top)] if self.top is not None else []
        arguments += ["--by", f"{self.by}:asc" if self.ascending else self.by] if self.by is not None else []
        return arguments

    def to_command(self, runs: Sequence[str], out: str) -> str:
        """Return the shell command that selects rows of runs with these options and writes them to a file."""
        return shlex.join(["joyvasa", "select", *runs, *self.to_arguments(), "-o", out])
