"""`run.yaml`: everything that determines the results of a run, so that `resume` needs no other argument."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from joyvasa.mode import MODES, Mode
from joyvasa.runtime.files import hash_file
from joyvasa.runtime.parsing import parse_yaml
from joyvasa.runtime.validation import explain_validation_error
from manifests.manifest import Manifest
from manifests.problems import ManifestError, ScanSummary, safe_text
from manifests.scan import DEFAULT_MODE

RunKind = Literal["generate", "evaluate", "prepare"]  # generate videos, score existing videos, prepare a data set
LAYOUT_VERSION = 2  # version of the layout of run folders
ABSENT = "(absent)"
MAX_SHOWN_CHANGES = 10


@dataclass(frozen=True)
class ManifestSource:
    """Origin and content of the rows of a run."""

    uri: str  # source manifest, which is not read again
    folder: str  # folder that paths in outcome rows are relative to, see `Manifest.folder`
    format: str  # format of the source manifest
    fingerprint: str  # SHA-256 of the run's `manifest.parquet`
    rows: int  # rows read: those up to `limit`
    records: int
    modes: Mapping[Mode, int]  # number of records of each mode that occurs, whose networks the run loads
    left_out: int = 0  # good rows among them that do not meet the conditions `where`
    motions: int = 0  # records with a motion

    @classmethod
    def from_scan(cls, manifest: Manifest, rows: Path, summary: ScanSummary) -> ManifestSource:
        """Describe rows that `write_manifest` wrote to a local file."""
        modes: dict[Mode, int] = {mode: summary.modes[mode] for mode in MODES if summary.modes[mode]}
        return cls(
            uri=manifest.location,
            folder=manifest.folder,
            format=manifest.format,
            fingerprint=hash_file(rows),
            rows=summary.rows,
            records=summary.rows - summary.bad_rows - summary.left_out,
            left_out=summary.left_out,
            modes=modes or {DEFAULT_MODE: 0},
            motions=summary.motions,
        )


@dataclass(frozen=True)
class RunDescription:
    """Content of `run.yaml`; plain values only."""

    configuration: Mapping[str, Any]  # every option with its value
    manifest: ManifestSource
    bundles: Mapping[str, Any]  # file hashes, by bundle
    versions: Mapping[str, str]  # program versions; a change does not prevent a resume
    kind: RunKind = "generate"
    name: str = ""  # name of the system that generated existing videos; empty for generated videos
    created: str = ""  # time of creation, UTC, ISO 8601
    layout: int = LAYOUT_VERSION
    folder: str = ""  # location of the run folder when the run was created

    def fingerprint(self) -> str:
        """Return the SHA-256 of what determines the results: configuration, manifest and bundles."""
        return hashlib.sha256(json.dumps(self._result_settings(), sort_keys=True).encode()).hexdigest()

    @property
    def models(self) -> str:
        """Name or folder of the model bundle; empty if the options do not state it."""
        animation = self.configuration.get("animation")
        return str(animation.get("models", "")) if isinstance(animation, Mapping) else ""

    def to_yaml(self) -> bytes:
        """Return the description as YAML."""
        content = {**asdict(self), "created": self.created or datetime.now(UTC).isoformat(timespec="seconds")}
        plain = json.loads(json.dumps(content))  # tuples become lists; values without a YAML form raise
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).encode()

    @classmethod
    def from_yaml(cls, content: bytes) -> RunDescription:
        """Create a description from YAML.

        Raises:
            ManifestError: `run_unreadable`.
        """
        try:
            values = parse_yaml(content)
            if not isinstance(values, dict) or values.get("layout") != LAYOUT_VERSION:
                raise ValueError(f"it has no `layout: {LAYOUT_VERSION}`")
            description = _ADAPTER.validate_python(values)
            if not description.manifest.modes:
                raise ValueError(f"manifest.modes is empty, expected some of {', '.join(MODES)}")
        except ValidationError as error:
            reason = explain_validation_error(error, values, root="run.yaml")[0]
        except ValueError as error:
            reason = str(error)
        else:
            return description
        raise ManifestError("run_unreadable", f"run.yaml cannot be read ({safe_text(reason, 200)}): restore it")

    def _result_settings(self) -> dict[str, Any]:
        content = asdict(self)
        return json.loads(json.dumps({name: content[name] for name in ("configuration", "manifest", "bundles")}))


_ADAPTER = TypeAdapter(RunDescription)


def find_changed_settings(old: RunDescription, new: RunDescription) -> list[str]:
    """Return the changed settings that affect results as texts, in the order of the old description.

    Names are dotted, for example `configuration.sampling.steps: 50 → 25`.
    """
    before, after = dict(_flat(old._result_settings())), dict(_flat(new._result_settings()))
    names = [*before, *(name for name in after if name not in before)]
    pairs = ((name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in names)
    return [f"{name}: {_format_value(old)} → {_format_value(new)}" for name, old, new in pairs if old != new]


def _format_value(value: Any) -> str:
    """Return a setting as `--set` and YAML files have it: `null` and `true` instead of `None` and `True`."""
    return safe_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def require_same_settings(old: RunDescription, new: RunDescription) -> None:
    """Check that a resume uses the settings of the run.

    Raises:
        ManifestError: `run_changed`, with the changes.
    """
    changes = find_changed_settings(old, new)
    if changes:
        shown = "; ".join(changes[:MAX_SHOWN_CHANGES])
        more = f"; and {len(changes) - MAX_SHOWN_CHANGES} more" if len(changes) > MAX_SHOWN_CHANGES else ""
        sentence = f"the run was started with other settings ({shown}{more}): set them back, or start a new run"
        raise ManifestError("run_changed", sentence)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
