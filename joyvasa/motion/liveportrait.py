"""Motion files of LivePortrait: archives (`.npz`) and its motion templates (`.pkl`), as arrays by name.

A template is a pickled dictionary: `output_fps`, and in `motion` one dictionary per frame with `exp`, `scale`, `t` and
`R`; `c_eyes_lst` and `c_lip_lst` hold the openings of eyes and lips in the picture, which motion files here do not
have. Reading runs no code from the file.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from joyvasa.errors import first_line
from joyvasa.motion.sequence import MotionSequence
from joyvasa.runtime.array_pickle import as_array, load_array_pickle

MAX_TEMPLATE_BYTES = 1 << 24  # about eight minutes; objects of a hostile pickle take up to 64 times its size
FRAME_ARRAYS = ("exp", "scale", "t", "R")
ARRAYS = (*FRAME_ARRAYS, "pitch", "yaw", "roll", "fps")


class ArraysTooLarge(Exception):  # noqa: N818 (becomes an InputError)
    """A file or its arrays exceed a limit in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


def read_npz(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """Read the arrays of a motion from an archive, without pickles.

    Raises:
        ArraysTooLarge: the arrays are larger.
        ValueError: the file is damaged or has no numeric arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sum(sizes.get(f"{name}.npy", 0) for name in ARRAYS) > max_bytes:
                raise ArraysTooLarge(max_bytes)
            for name in ARRAYS:
                if f"{name}.npy" in sizes:
                    arrays[name] = _npy_array(archive, f"{name}.npy", sizes[f"{name}.npy"])
    except ArraysTooLarge:
        raise
    # Damaged archives raise almost any error inside zipfile, zlib and numpy.
    except Exception as error:
        raise ValueError(f"cannot be read as a NumPy archive ({first_line(error)[:120]})") from None
    return arrays


def _npy_array(archive: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    """Read an array after checking its header against the size, as NumPy allocates what the header claims."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        readers: dict[Any, Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"{name}: format version {version}")
        shape, _, dtype = readers[version](stream)
        if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize > size:
            raise ValueError(f"{name}: {dtype} of shape {shape} in {size} bytes")
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def read_template(content: bytes, max_bytes: int) -> dict[str, np.ndarray]:
    """Read the arrays of a motion template.

    Raises:
        ArraysTooLarge: the arrays are larger; the file may hold one array many times.
        PickleRefused: the file names something other than numeric arrays.
        ValueError: the file is damaged or no motion template.
    """
    if len(content) > MAX_TEMPLATE_BYTES:
        raise ArraysTooLarge(MAX_TEMPLATE_BYTES)
    template = load_array_pickle(content)
    frames = template.get("motion") if isinstance(template, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError("no list of frames under `motion`")
    arrays: dict[str, np.ndarray] = {}
    for name in FRAME_ARRAYS:
        if any(name not in frame for frame in frames):
            continue  # reported as missing with the other arrays
        columns = [as_array(frame[name]) for frame in frames]
        if sum(column.nbytes for column in columns) > max_bytes:
            raise ArraysTooLarge(max_bytes)
        arrays[name] = np.stack(columns)
    if "output_fps" in template:
        arrays["fps"] = as_array(template["output_fps"])
    return arrays


def serialize_npz(motion: MotionSequence) -> bytes:
    """Return a motion as an archive with `exp`, `scale`, `t`, `R` and `fps`."""
    stream = io.BytesIO()
    arrays: dict[str, Any] = {**_to_arrays(motion), "fps": np.array(motion.frames_per_second)}
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def serialize_template(motion: MotionSequence) -> bytes:
    """Return a motion as a motion template; the openings of eyes and lips are NaN, as they are unknown.

    LivePortrait reads the openings only to retarget eyes and lips.
    """
    arrays = _to_arrays(motion)
    n_frames = len(motion)
    frames: list[Mapping[str, Any]] = [
        {
            "exp": arrays["exp"][i : i + 1],
            "t": arrays["t"][i : i + 1],
            "R": arrays["R"][i : i + 1],
            "scale": arrays["scale"][i : i + 1, None],
        }
        for i in range(n_frames)
    ]
    template = {
        "n_frames": n_frames,
        "output_fps": motion.frames_per_second,
        "motion": frames,
        "c_eyes_lst": [np.full((1, 2), np.nan, np.float32)] * n_frames,
        "c_lip_lst": [np.full((1, 1), np.nan, np.float32)] * n_frames,
    }
    return pickle.dumps(template, protocol=4)


def _to_arrays(motion: MotionSequence) -> dict[str, np.ndarray]:
    return {
        "exp": motion.expression.numpy(),
        "scale": motion.scale[:, 0].numpy(),
        "t": motion.translation.numpy(),
        "R": motion.rotation.numpy(),
    }
