"""Options that may differ between the records of a run, and the stages that apply them.

A column of a manifest sets the option of its name, the path below `animation`, for its row. These options are listed in
`STAGE_OPTIONS`: whatever decides which weights a run loads, on which device, or how network calls are batched, is the
same for all records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from joyvasa.config import Options, OptionValue
from joyvasa.options import AnimationConfig

OptionStage = Literal["portrait", "speech", "read_motion", "motion", "render"]

# Options, or groups of them, by the stages that apply them. Records share the result of a stage if they agree in its
# inputs and in these options.
STAGE_OPTIONS: Mapping[OptionStage, tuple[str, ...]] = {
    "portrait": ("picture", "face.select", "face.index", "face.min_side", "crop", "framing"),
    "speech": ("audio", "driving.mouth_from"),
    "read_motion": ("driving_video", "face.min_side"),
    "motion": ("smoothing", "driving.mouth_from"),
    "render": (
        *("pose", "expression", "mouth", "eyes", "blink", "gaze", "smile", "brow", "wink"),
        *("driving", "source_video", "paste_back", "encoding"),
    ),
}
# Options in these groups that are the same for all records: they need other weights, or another encoder.
RUN_OPTIONS = ("driving.stitching", "driving.normalize_lip", "encoding.encoder", "encoding.threads")


@dataclass(frozen=True, kw_only=True)
class RecordOption:
    """An option that may differ between records."""

    kind: type  # type of its values: float, int, bool or str
    choices: tuple[str, ...]  # the values it may have; empty if any value of its type is allowed
    # low, high, unit: range and unit of its values, if it declares them
    low: float | None
    high: float | None
    unit: str
    default: OptionValue | None  # its value in the configuration


def list_record_options(config: AnimationConfig) -> dict[str, RecordOption]:
    """Return the options that may differ between records, by name, with the values of a configuration as defaults."""
    applied = {prefix for prefixes in STAGE_OPTIONS.values() for prefix in prefixes}
    found = {}
    for name, kind, entry, value in walk_options(config):
        described = _describe_kind(kind)
        if described is None or name in RUN_OPTIONS or applied.isdisjoint((name, name.partition(".")[0])):
            continue
        metadata = entry.metadata
        found[name] = RecordOption(
            kind=described[0],
            choices=described[1],
            low=metadata.get("ge"),
            high=metadata.get("le"),
            unit=metadata.get("json_schema_extra", {}).get("unit", ""),
            default=value,
        )
    return found


def list_animation_options(config: AnimationConfig) -> list[str]:
    """Return the names of all options of an animation."""
    return [name for name, *_ in walk_options(config)]


def select_options(options: Options, stage: OptionStage) -> Options:
    """Return those options that a stage applies."""
    prefixes = STAGE_OPTIONS[stage]
    return tuple(option for option in options if option[0] in prefixes or option[0].partition(".")[0] in prefixes)


def walk_options(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any], Any]]:
    """Yield name, type, field and value of all options of a configuration."""
    hints = get_type_hints(type(config))
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            yield from walk_options(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", hints[entry.name], entry, value


def _describe_kind(hint: Any) -> tuple[type, tuple[str, ...]] | None:
    """Return type and choices of an option, which may be null; None if its values are no single values."""
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if hint in (float, int, bool, str):
        return hint, ()
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _describe_kind(parts[0]) if len(parts) == 1 and get_origin(hint) is not tuple else None
