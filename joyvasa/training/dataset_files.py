"""The format of a data set for training, in a folder or an object store, and its writer.

A data set is a folder:

    dataset.yaml            card with the format and the counts; written last, it marks the data set as finished
    clips.parquet           index, one small row per clip (clip_id, source, split, n_frames, shard, row)
    template.safetensors    statistics of all frames by the names of JoyVASA's template: mean_, std_, min_, max_ and
                            abs_max_ of exp (3 K), scale, t (3), pitch, yaw, roll, and of eyes (2) and lip if
                            every clip has them; float64
    motion/00000.parquet    shards, each written atomically

A shard has one row per clip, and each row is a row group, so that a clip can be read without its neighbors. With 64
to 256 clips per shard, both the number of files and the footers stay small. For T frames of K keypoints:

    column         type           content
    clip_id        string         id that is unique in the data set
    source         string         hash of the recording that the clip was cut from
    split          string         train or validation; depends only on the hash of the recording
    n_frames       int32          T
    duration_s     double         T / frames_per_second
    start_s        double         start of the clip in its recording
    expression     list<float>    T x K x 3, frame by frame
    scale          list<float>    T
    translation    list<float>    T x 3
    pitch          list<float>    T, degrees
    yaw            list<float>    T, degrees
    roll           list<float>    T, degrees
    eye_ratio      list<float>    T x 2, or null
    lip_ratio      list<float>    T, or null
    sound          binary         T / frames_per_second seconds of 16 kHz mono, little-endian int16

Sound is stored as plain samples: 115 MB per hour, without decoding. A data set of 90 hours has 13 GB in total, one of
1,000 hours 145 GB. The footer of a shard holds, as JSON, the index rows of its clips (`joyvasa.clips`) and the exact
sums behind the statistics (`joyvasa.moments`). Finishing a data set therefore reads footers only, and the statistics
do not depend on how the clips are distributed over shards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from joyvasa.errors import InputError, first_line
from joyvasa.networks.speech_encoder import SAMPLE_RATE
from joyvasa.runtime.parsing import parse_json, parse_yaml, read_limited
from joyvasa.runtime.validation import explain_validation_error
from joyvasa.training.clips import SPLITS, ClipRecord
from joyvasa.training.file_store import FileStore
from joyvasa.training.moments import ExactMoments, merge_moments, moments_from_json, moments_to_json

FORMAT, VERSION = "joyvasa-dataset", 1
CARD, INDEX, TEMPLATE, SHARDS = "dataset.yaml", "clips.parquet", "template.safetensors", "motion"
Count = Annotated[int, Field(strict=True, ge=0)]
NUMBERS = ("expression", "scale", "translation", "pitch", "yaw", "roll", "eye_ratio", "lip_ratio")
TEMPLATE_NAMES = {"expression": "exp", "translation": "t", "eye_ratio": "eyes", "lip_ratio": "lip"}

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "source", "split")),
        ("n_frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("start_s", pa.float64()),
        *((name, pa.list_(pa.float32())) for name in NUMBERS),
        ("sound", pa.binary()),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "source", "split")),
        *((name, pa.int32()) for name in ("n_frames", "shard", "row")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """Content of `dataset.yaml`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    frames_per_second: Annotated[int, Field(strict=True, ge=1)] = 25  # frame rate of the motion
    keypoints: Count = 21  # number of keypoints, K
    # bundle of the motion extractor: `name` and `fingerprint`
    extractor: Mapping[str, str] = field(default_factory=dict)
    clips: Mapping[str, Count] = field(default_factory=dict)  # number of clips, by split
    frames: Mapping[str, Count] = field(default_factory=dict)  # number of frames, by split
    shards: Count = 0  # number of shards
    fingerprint: str = ""  # hash of the index and the statistics; identifies the data set
    # additional plain values, such as counts by reason of rejection
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """Total length of all clips in hours."""
        return sum(self.frames.values()) / self.frames_per_second / 3600


_CARD_ADAPTER = TypeAdapter(DatasetCard)


@dataclass(frozen=True, eq=False)
class DatasetWriter:
    """Writer of a data set: any number of processes write shards in any order, and one process finishes it."""

    files: FileStore  # file store of the data set
    frames_per_second: int = 25  # frame rate of the motion
    keypoints: int = 21  # number of keypoints of the motion

    @staticmethod
    def shard_path(shard: int) -> str:
        """Return the path of a shard."""
        return f"{SHARDS}/{shard:05d}.parquet"

    def has_shard(self, shard: int) -> bool:
        """Return whether a shard is finished."""
        return self.files.exists(self.shard_path(shard))

    def write_shard(self, shard: int, clips: Iterable[ClipRecord]) -> int:
        """Write a shard, possibly empty, atomically, replacing an existing one. Only one clip is in memory at a time.

        Returns:
            Number of clips.

        Raises:
            InputError: a clip is invalid, or has another frame rate or number of keypoints.
        """
        index: list[dict[str, Any]] = []
        moments: list[Mapping[str, ExactMoments]] = []
        with (
            self.files.staging(self.shard_path(shard)) as path,
            # no dictionary: float32 values of motion hardly repeat
            pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False) as writer,
        ):
            for clip in clips:
                clip = clip.validate()
                self._check_format(clip)
                writer.write_table(pa.Table.from_pylist([_row(clip)], SCHEMA))
                index.append({"clip_id": clip.clip_id, "source": clip.source, "split": clip.split,
                              "n_frames": clip.n_frames})  # fmt: skip
                measured = {
                    name: ExactMoments.from_values(values)
                    for name, values in _numbers(clip).items()
                    if values is not None
                }
                moments = [merge_moments([*moments, measured])]

            writer.add_key_value_metadata(  # also for an empty shard, which finishes its part of the data set too
                {
                    "joyvasa.format": json.dumps([FORMAT, VERSION, self.frames_per_second, self.keypoints]),
                    "joyvasa.clips": json.dumps(index),
                    "joyvasa.moments": moments_to_json(moments[0] if moments else {}),
                }
            )
        return len(index)

    def finish(self, *, extractor: Mapping[str, str], about: Mapping[str, Any] | None = None) -> DatasetCard:
        """Write the index, the statistics and, last, the card of the data set.

        Args:
            extractor: bundle of the motion extractor: `name` and `fingerprint`.
            about: additional plain values for the card.

        Raises:
            InputError: `dataset_empty`, or `dataset_invalid` for shards of another format or duplicate ids.
        """
        names = [name for name in self.files.names(SHARDS) if re.fullmatch(r"\d{5,}\.parquet", name)]
        rows: list[dict[str, Any]] = []
        parts: list[Mapping[str, ExactMoments]] = []
        for name in names:
            index, moments = self._read_footer(f"{SHARDS}/{name}")
            rows += [{**row, "shard": int(name.split(".")[0]), "row": number} for number, row in enumerate(index)]
            parts = [merge_moments([*parts, moments])]

        where = self.files.root
        if not rows:
            raise InputError("dataset_empty", f"{where}: no clip in {len(names)} shards; expected one: add recordings")
        clip_id, count = Counter(row["clip_id"] for row in rows).most_common(1)[0]
        if count > 1:
            raise InputError("dataset_invalid", f"{where}: clip {clip_id!r} occurs {count} times; expected unique ids")

        rows.sort(key=lambda row: row["clip_id"])  # independent of the distribution over shards
        statistics = _template_statistics(parts[0])
        with self.files.staging(INDEX) as path:
            pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), path, compression="zstd")
        with self.files.staging(TEMPLATE) as path:
            _save_template(statistics, path)

        card = DatasetCard(
            frames_per_second=self.frames_per_second,
            keypoints=self.keypoints,
            extractor=dict(extractor),
            clips={split: sum(row["split"] == split for row in rows) for split in SPLITS},
            frames={split: sum(row["n_frames"] for row in rows if row["split"] == split) for split in SPLITS},
            shards=len(names),
            fingerprint=_fingerprint(rows, statistics),
            about=dict(about or {}),
        )
        content = {"format": FORMAT, "format_version": VERSION, "hours": round(card.hours, 3), **asdict(card)}
        self.files.write(CARD, yaml.safe_dump(content, sort_keys=False, width=120).encode())
        return card

    def _check_format(self, clip: ClipRecord) -> None:
        keypoints, rate = clip.motion.expression.shape[1], clip.motion.frames_per_second
        if (keypoints, rate) != (self.keypoints, self.frames_per_second):
            raise InputError(
                "clip_invalid",
                f"clip {clip.clip_id!r}: {keypoints} keypoints at {rate:g} frames per second; expected "
                f"{self.keypoints} at {self.frames_per_second}: resample it, or write another data set",
            )

    def _read_footer(self, path: str) -> tuple[list[dict[str, Any]], dict[str, ExactMoments]]:
        try:
            with self.files.open(path) as stream:
                metadata = pq.read_metadata(stream).metadata or {}
            expected = [FORMAT, VERSION, self.frames_per_second, self.keypoints]
            if (actual := parse_json(metadata.get(b"joyvasa.format", b"null"))) != expected:
                raise ValueError(f"built for {actual}, expected {expected}")
            return parse_json(metadata[b"joyvasa.clips"]), moments_from_json(metadata[b"joyvasa.moments"].decode())
        except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged_dataset_error(self.files.location(path), error) from None


def _numbers(clip: ClipRecord) -> dict[str, np.ndarray | None]:
    """Return the float columns of a clip, each of shape (T, numbers) or None."""
    motion = {name: getattr(clip.motion, name).flatten(1).numpy().astype(np.float32) for name in NUMBERS[:6]}
    return {**motion, "eye_ratio": clip.eye_ratio, "lip_ratio": clip.lip_ratio}


def _row(clip: ClipRecord) -> dict[str, Any]:
    numbers = {name: None if values is None else values.ravel() for name, values in _numbers(clip).items()}
    names = ("clip_id", "source", "split", "n_frames", "duration_s", "start_s")
    return {**{name: getattr(clip, name) for name in names}, **numbers, "sound": clip.sound.astype("<i2").tobytes()}


def _template_statistics(moments: Mapping[str, ExactMoments]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, item in moments.items():
        if item.count == moments["expression"].count:  # ratios that some clips lack have no statistics
            arrays |= item.arrays(TEMPLATE_NAMES.get(name, name))
    return arrays


def _save_template(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(dict(arrays), path, {"format": "np"})
    path.chmod(0o644)  # safetensors creates private files


def _fingerprint(rows: list[dict[str, Any]], statistics: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for row in rows:  # without shard and row, which do not affect training
        digest.update(json.dumps([row["clip_id"], row["source"], row["split"], row["n_frames"]]).encode())
    for name in sorted(statistics):
        digest.update(name.encode() + statistics[name].tobytes())
    return digest.hexdigest()


def damaged_dataset_error(where: str, error: BaseException | str) -> InputError:
    """Build the error for a file that is not part of a data set."""
    reason = first_line(error)[:160]
    return InputError("dataset_invalid", f"{where}: not part of a data set ({reason}): prepare the data set again")


def read_card(files: FileStore) -> DatasetCard:
    """Read the card of a finished data set.

    Raises:
        InputError: `dataset_missing` or `dataset_invalid`.
    """
    where = files.location(CARD)
    try:
        with files.open(CARD) as stream:
            content = parse_yaml(read_limited(stream))
        if [content.pop(key, None) for key in ("format", "format_version")] != [FORMAT, VERSION]:
            raise ValueError(f"not {FORMAT} {VERSION}")
        content.pop("hours", None)
        card = _CARD_ADAPTER.validate_python(content)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "dataset_missing",
            f"{files.root}: no {CARD}; expected a finished data set: create it with `joyvasa prepare`, or finish it",
        ) from None
    except ValidationError as error:
        raise damaged_dataset_error(where, explain_validation_error(error, content, root="card")[0]) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged_dataset_error(where, error) from None
    if SAMPLE_RATE % card.frames_per_second:
        raise damaged_dataset_error(where, f"{card.frames_per_second} frames per second do not divide {SAMPLE_RATE}")
    return card
