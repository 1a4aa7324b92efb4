"""Licenses of the weights and sources of a data set, and whether they allow to publish it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.bundles import list_bundle_names, open_bundle
from joyvasa.errors import InputError, JoyvasaError
from manifests.problems import safe_text
from pipelines.runs.export.statistics import DatasetStatistics

Verdict = Literal["free", "restricted", "forbidden", "unclear"]
WEIGHTS = "weights"
MAX_SHOWN = 8
_COLUMN = re.compile(r"(^|_)licen[sc]es?(_|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r"\bnd\b|no[ -]?deriv|all rights reserved|proprietary|confidential|no redistribution", re.I)
_RESTRICTED = re.compile(r"\bnc\b|non[ -]?commercial|research|academic|evaluation only", re.I)
_FREE = re.compile(
    r"(mit|apache([ -]license)?[ -]?(v?2(\.0)?)?|(bsd|0bsd)([ -][234][ -]clause)?|isc|unlicense|zlib|wtfpl|pddl(-1\.0)?"
    r"|cc[ -]?0([ -]1\.0)?|cc[ -]by([ -]sa)?([ -][1-4]\.[05])?|odc[ -]by(-1\.0)?|public[ -]domain|none needed)",
    re.I,
)
_HUB_IDS = frozenset(  # identifiers that the hub knows, of the licenses that `_FREE` accepts
    "mit apache-2.0 bsd bsd-2-clause bsd-3-clause isc unlicense zlib wtfpl pddl cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0"
    " cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 odc-by".split()
)


@dataclass(frozen=True)
class StatedLicense:
    """A license that rows state."""

    where: str  # `weights`, or the column of the rows
    name: str  # name of the license as stated
    records: int  # number of records
    verdict: Verdict  # whether it allows redistribution

    def __str__(self) -> str:
        return f"{safe_text(self.name, 100)} ({safe_text(self.where)}, {self.verdict}; records: {self.records:,})"


def find_license_columns(schema: pa.Schema) -> list[str]:
    """Return the text columns whose names say that they hold licenses of sources, such as `image_license`."""
    fields = [entry for entry in schema if _COLUMN.search(entry.name) and entry.name != "licenses"]
    return [entry.name for entry in fields if is_type.is_string(entry.type) or is_type.is_large_string(entry.type)]


def list_stated_licenses(statistics: DatasetStatistics) -> list[StatedLicense]:
    """Return all licenses that the rows state, those of weights first."""
    known = _find_weight_verdicts()
    weights = [
        StatedLicense(WEIGHTS, name, count, known.get(name) or judge_license(name))
        for name, count in statistics.licenses.most_common()
    ]
    sources = [
        StatedLicense(column, name, count, judge_license(name))
        for column, counts in statistics.source_licenses.items()
        for name, count in counts.most_common()
    ]
    return [*weights, *sources]


def judge_license(name: str) -> Verdict:
    """Judge the name of a license: `free` to redistribute, `restricted` in use, `forbidden`, or `unclear`."""
    plain = name.replace("_", " ").replace("-", " ")
    if _FORBIDDEN.search(plain):
        return "forbidden"
    if _RESTRICTED.search(plain):
        return "restricted"
    return "free" if _FREE.fullmatch(name.strip()) else "unclear"


def require_accepted(licenses: list[StatedLicense]) -> None:
    """Check that every license is free.

    Raises:
        InputError: `license_not_accepted`.
    """
    blocking = [entry for entry in licenses if entry.verdict != "free"]
    if blocking:
        more = f"; and {len(blocking) - MAX_SHOWN} more" if len(blocking) > MAX_SHOWN else ""
        shown = "; ".join(map(str, blocking[:MAX_SHOWN])) + more
        sentence = (
            f"the rows state licenses that restrict or forbid redistribution, or whose terms are unclear: {shown}"
        )
        action = "read their terms, then add --accept-licenses, or select other rows; nothing was written"
        raise InputError("license_not_accepted", f"{sentence}: {action}")


def find_hub_license(licenses: list[StatedLicense]) -> str:
    """Return the license of the data set for the hub: that of all weights and sources, else `other` or `unknown`."""
    if all(entry.where == WEIGHTS for entry in licenses):  # nothing is known about the sources
        return "unknown"
    names = {re.sub(r"\s+", "-", entry.name.strip().lower()) for entry in licenses}
    return names.pop() if len(names) == 1 and names <= _HUB_IDS else "other"


def _find_weight_verdicts() -> dict[str, Verdict]:
    """Return the strictest verdict on each license of all bundles, by its name."""
    verdicts: dict[str, list[str]] = {}
    for name in list_bundle_names():
        try:
            licenses = open_bundle(name).spec.licenses.values()
        except JoyvasaError:  # a damaged bundle in the user's folder
            continue
        for entry in licenses:
            verdicts.setdefault(entry.name, []).append(entry.commercial)
    return {
        name: "restricted" if "no" in answers else "unclear" if "unclear" in answers else "free"
        for name, answers in verdicts.items()
    }
