"""Motion files: reading and writing of joyvasa's format and of LivePortrait's.

A motion file is a safetensors file, so reading it executes no code. T frames of K keypoints:

    tensor       shape      float32
    expression   (T, K, 3)  displacement of each keypoint
    scale        (T, 1)
    translation  (T, 3)
    pitch        (T, 1)     degrees, as are the next two
    yaw          (T, 1)
    roll         (T, 1)

The metadata are texts: `format` = joyvasa-motion, `format_version` = 1, `frames_per_second`, and the provenance of the
motion, for example `bundle`, `fingerprint`, `seed` and `source`. The motion is already smoothed and aligned with its
sound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from joyvasa.errors import InputError, OutputError, first_line
from joyvasa.motion.liveportrait import ArraysTooLarge, read_npz, read_template, serialize_npz, serialize_template
from joyvasa.motion.sequence import MOTION_FIELDS, MotionSequence
from joyvasa.runtime.array_pickle import PickleRefused
from joyvasa.runtime.files import atomic_write, check_writable, output_errors
from joyvasa.runtime.parsing import parse_json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT, VERSION = "joyvasa-motion", "1"
TENSORS = MOTION_FIELDS
MAX_BYTES = 1 << 28  # 256 MiB: ten hours at 25 frames per second and 21 keypoints; more is no motion
MAX_HEADER_BYTES = 1 << 20
MAX_METADATA = 64  # entries; further ones are dropped
MAX_RATE = 1000.0  # frames per second
ZIP_MAGIC = b"PK\x03\x04"
START_BYTES = 9  # bytes that show the format
SUFFIX = ".safetensors"  # of motion files of joyvasa
FOREIGN_WRITERS = {".npz": serialize_npz, ".pkl": serialize_template}  # by suffix


@dataclass(frozen=True)
class MotionFile:
    """A motion and its provenance."""

    motion: MotionSequence  # motion sequence
    provenance: Mapping[str, str] = field(default_factory=dict)  # texts by name, without format, version and rate


def serialize_motion(motion: MotionSequence, provenance: Mapping[str, str] | None = None) -> bytes:
    """Serialize a motion file; equal arguments give equal bytes.

    The safetensors package is not used, as it writes metadata in varying order.
    """
    reserved = {"format": FORMAT, "format_version": VERSION, "frames_per_second": repr(float(motion.frames_per_second))}
    header: dict[str, Any] = {"__metadata__": dict(sorted({**(provenance or {}), **reserved}.items()))}
    data = b""
    for name in TENSORS:
        values = getattr(motion, name).numpy().astype("<f4")
        offsets = [len(data), len(data) + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors to eight bytes
    return len(text).to_bytes(8, "little") + text + data


def check_motion_path(path: Path, source: Path, suffixes: Sequence[str] = (SUFFIX,)) -> None:
    """Check that the motion in a file can be written to another one whose suffix states its format.

    Raises:
        OutputError: see `check_writable`.
    """
    if path.suffix.lower() not in suffixes:
        expected = f"expected a name that ends with {' or '.join(suffixes)}"
        raise OutputError("output_unwritable", f"{path}: ends in {path.suffix!r}; {expected}: rename it")
    check_writable(path, [source])


def save_motion(path: str | Path, motion: MotionSequence, provenance: Mapping[str, str] | None = None) -> None:
    """Write a motion file atomically; an existing file is replaced.

    Raises:
        OutputError: `output_unwritable` or `disk_full`.
    """
    path = Path(path)
    with output_errors(path):
        atomic_write(path, serialize_motion(motion, provenance))


def load_motion(path: str | Path) -> MotionFile:
    """Read a motion file of joyvasa or LivePortrait (`.npz`, `.pkl`); the first bytes show the format.

    Raises:
        InputError: `motion_missing`, `motion_unreadable`, `motion_too_large`, `motion_incomplete`, `motion_shape`
            or `motion_not_finite`.
    """
    path = Path(path)
    content = _read(path)
    if _is_foreign(content):
        return MotionFile(MotionSequence.from_arrays(_read_foreign(content, path), name=str(path)))

    tensors, metadata = _safetensors(content, path)
    if metadata.get("format") != FORMAT or metadata.get("format_version") != VERSION:
        version = f"{metadata.get('format', 'no format')} {metadata.get('format_version', '')}".strip()
        raise _unreadable(path, f"its metadata say {version[:80]!r}", f"{FORMAT} {VERSION}")
    if missing := [name for name in TENSORS if name not in tensors]:
        raise InputError(
            "motion_incomplete", f"{path}: no {', '.join(missing)}; expected {', '.join(TENSORS)}: save it again"
        )

    arrays = {
        "exp": tensors["expression"],
        "t": tensors["translation"],
        **{name: tensors[name] for name in ("scale", "pitch", "yaw", "roll")},
        "fps": _rate(metadata.get("frames_per_second", ""), path),
    }
    if any(tensors[name].dtype != torch.float32 for name in TENSORS):
        raise InputError("motion_shape", f"{path}: tensors that are not float32; expected float32: save it again")
    reserved = {"format", "format_version", "frames_per_second"}
    provenance = {name: text for name, text in list(metadata.items())[:MAX_METADATA] if name not in reserved}
    return MotionFile(MotionSequence.from_arrays(arrays, name=str(path)), provenance)


def is_motion_file(path: str | Path) -> bool:
    """Return whether the first bytes of a file are those of a motion file of joyvasa or LivePortrait."""
    with Path(path).open("rb") as stream:
        start = stream.read(START_BYTES)
    return _is_safetensors(start) or _is_foreign(start)


def convert_motion(path: str | Path, out: str | Path) -> MotionFile:
    """Convert a motion file to another format: that of joyvasa, or one of LivePortrait's.

    Of LivePortrait's files, `exp`, `scale`, `t`, `R` (or `pitch`, `yaw`, `roll` in degrees) and the frame rate are
    used; ratios of lips and eyes are dropped, as they describe the picture, not the motion.

    Args:
        path: motion file of any of these formats.
        out: path of the new file; `.npz` and `.pkl` give LivePortrait's formats, which hold no provenance.

    Returns:
        The written motion and provenance.

    Raises:
        InputError: see `load_motion`.
        OutputError: see `save_motion`.
    """
    out, loaded = Path(out), load_motion(path)
    if writer := FOREIGN_WRITERS.get(out.suffix.lower()):
        with output_errors(out):
            atomic_write(out, writer(loaded.motion))
        return MotionFile(loaded.motion)
    converted = MotionFile(loaded.motion, {"source": Path(path).name, **loaded.provenance})
    save_motion(out, converted.motion, converted.provenance)
    return converted


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES


def _is_foreign(start: bytes) -> bool:
    """Return whether the first bytes are those of a zip archive or of a pickle of protocol 2 to 5."""
    is_pickle = start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return start.startswith(ZIP_MAGIC) or (is_pickle and not _is_safetensors(start))


def _read_foreign(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file of LivePortrait."""
    try:
        is_archive = content.startswith(ZIP_MAGIC)
        arrays = read_npz(path, MAX_BYTES) if is_archive else read_template(content, MAX_BYTES)
    except ArraysTooLarge as error:
        raise _too_large(path, error.limit) from None
    except PickleRefused as error:
        raise _unreadable(path, f"the file asks for {error} and was not loaded", "arrays of numbers") from None
    except Exception as error:  # a damaged pickle may raise any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unreadable(path, reason, "arrays of numbers") from None
    if "fps" in arrays:
        arrays["fps"] = np.array(_rate(arrays["fps"], path))
    return arrays


def _read(path: Path) -> bytes:
    if not path.exists():
        raise InputError("motion_missing", f"{path}: no such file: check the path")
    if not path.is_file():
        raise _unreadable(path, "not a regular file", "a motion file")
    with path.open("rb") as stream:  # the caller may retry after an OSError
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large(path, MAX_BYTES)
    return content


def _safetensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Parse a safetensors file in memory; return its tensors and metadata."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise _unreadable(path, "neither a safetensors file nor a zip archive", "a motion file")
    try:
        header = parse_json(content[8 : 8 + length])
        metadata = header.get("__metadata__") or {}
        tensors = load(content)
    except (SafetensorError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        raise _unreadable(path, f"damaged ({first_line(error)[:120]})", "a motion file") from None
    return tensors, metadata


def _rate(value: Any, path: Path) -> float:
    try:
        rate = float(np.asarray(value, dtype=np.float64).item())
    except (ValueError, TypeError):
        rate = math.nan
    if not 0 < rate <= MAX_RATE:
        raise InputError(
            "motion_shape", f"{path}: {str(value)[:40]!r} frames per second; expected above 0 to {MAX_RATE:g}"
        )
    return rate


def _unreadable(path: Path, found: str, expected: str) -> InputError:
    advice = "read videos with `joyvasa motion extract`, convert LivePortrait's files with `joyvasa motion convert`"
    return InputError("motion_unreadable", f"{path}: {found}; expected {expected}: {advice}")


def _too_large(path: Path, limit: int) -> InputError:
    sentence = f"{path}: more than {limit} bytes of motion; expected at most that: cut it into parts"
    return InputError("motion_too_large", sentence)
