"""`run.yaml`: all that decides a run's results, so that `resume` needs no other argument."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from joyvasa.mode import MODES, Mode
from manifests.errors import ManifestError
from manifests.manifest import Manifest
from manifests.problems import ScanSummary, safe_text
from manifests.scan import DEFAULT_MODE

RunKind = Literal["generate", "evaluate", "prepare"]  # videos are made, are measured, become a data set
LAYOUT = 2  # of the run folder; a program that changes it raises this
ABSENT = "(absent)"
SHOWN_DIFFERENCES = 10


@dataclass(frozen=True)
class ManifestSource:
    """Where the rows of a run came from, and what they are."""

    uri: str  # of the manifest that was copied; it is not read again
    folder: str  # that locations in outcome rows are relative to, see `Manifest.folder`
    format: str
    fingerprint: str  # SHA-256 of the run's `manifest.parquet`
    rows: int
    records: int
    modes: tuple[Mode, ...] = (DEFAULT_MODE,)  # of the records: those whose networks the run loads

    @classmethod
    def of(cls, manifest: Manifest, rows: Path, summary: ScanSummary) -> ManifestSource:
        """Describe the rows that were just written.

        Args:
            manifest: where they came from.
            rows: local file that `write_manifest` has written.
            summary: summary of its scan.
        """
        with rows.open("rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        modes: tuple[Mode, ...] = tuple(mode for mode in MODES if summary.modes[mode]) or (DEFAULT_MODE,)
        n_records = summary.rows - summary.bad_rows
        return cls(manifest.location, manifest.folder, manifest.format, fingerprint, summary.rows, n_records, modes)


@dataclass(frozen=True)
class RunDescription:
    """The content of `run.yaml`; plain values only."""

    configuration: Mapping[str, Any]  # resolved: every option with its value
    manifest: ManifestSource
    bundles: Mapping[str, Any]  # by name: the hash of each file
    versions: Mapping[str, str]  # of programs; they do not stop a resume
    kind: RunKind = "generate"
    name: str = ""  # of the system whose videos these are; empty for those that the run makes
    created: str = ""  # UTC, ISO 8601
    layout: int = LAYOUT

    def fingerprint(self) -> str:
        """SHA-256 of what decides the results: configuration, manifest and bundles."""
        return hashlib.sha256(json.dumps(self._deciding(), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> bytes:
        """The description as a YAML file."""
        content = {**asdict(self), "created": self.created or datetime.now(UTC).isoformat(timespec="seconds")}
        plain = json.loads(json.dumps(content))  # tuples become lists; what YAML cannot hold safely raises
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).encode()

    @classmethod
    def from_yaml(cls, content: bytes) -> RunDescription:
        """The description in a YAML file.

        Raises:
            ManifestError: `run_unreadable`.
        """
        try:
            values = yaml.safe_load(content)
            if values["layout"] != LAYOUT:
                raise ValueError(f"layout is {values['layout']}, expected {LAYOUT}")
            known = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
            if known.get("kind", "generate") not in get_args(RunKind):
                raise ValueError(f"kind is {known['kind']!r}, expected {' or '.join(get_args(RunKind))}")
            source = ManifestSource(**values["manifest"])
            if not source.modes or not set(source.modes) <= set(MODES):
                raise ValueError(f"manifest.modes is {source.modes!r}, expected some of {', '.join(MODES)}")
            return cls(**{**known, "manifest": replace(source, modes=tuple(source.modes))})
        except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
            reason = safe_text(error, 200)
            raise ManifestError("run_unreadable", f"run.yaml cannot be read ({reason}): restore it") from None

    def _deciding(self) -> dict[str, Any]:
        content = asdict(self)
        return json.loads(json.dumps({name: content[name] for name in ("configuration", "manifest", "bundles")}))


@dataclass(frozen=True)
class SettingChange:
    """One setting that is not what it was."""

    name: str  # dotted, for example `configuration.sampling.steps`
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name}: {safe_text(self.old)} → {safe_text(self.new)}"


def changed_settings(old: RunDescription, new: RunDescription) -> list[SettingChange]:
    """What changed of all that decides the results, in the order of the old description."""
    before, after = dict(_flat(old._deciding())), dict(_flat(new._deciding()))
    names = [*before, *(name for name in after if name not in before)]
    pairs = ((name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in names)
    return [SettingChange(*pair) for pair in pairs if pair[1] != pair[2]]


def require_same_settings(old: RunDescription, new: RunDescription) -> None:
    """Stops a resume that would mix two runs.

    Raises:
        ManifestError: `run_changed`, with the differences.
    """
    found = changed_settings(old, new)
    if found:
        shown = "; ".join(map(str, found[:SHOWN_DIFFERENCES]))
        more = f"; and {len(found) - SHOWN_DIFFERENCES} more" if len(found) > SHOWN_DIFFERENCES else ""
        sentence = f"the run was begun with other settings ({shown}{more}): set them back, or start a new run"
        raise ManifestError("run_changed", sentence)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
