"""Stage `speech`: encode recordings into audio features, window by window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from joyvasa.errors import ModelError
from joyvasa.media.audio import AudioInfo, probe_audio
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.models import Models
from joyvasa.motion.sampling import encode_windows
from joyvasa.motion.windows import WindowPlan, iterate_windows
from joyvasa.runtime.device import autocast
from stages.arrays import to_array
from stages.base import WARNING_COLUMNS, Failed, Item, Ok, Outcome, Resources, Stage, warning_facts
from stages.config import StageConfig
from stages.failures import classify_for_record, map_each
from stages.media import local_file, named_errors

WINDOWS_PER_CALL = 16  # number of windows, of any recordings, in one network call; memory grows with it


@dataclass(frozen=True)
class SpeechPayload:
    """Audio features of a recording."""

    plan: WindowPlan | None = None  # windows of the recording; None if the row has no audio
    # audio features, shape (windows, n, dim), float32; None if the row's motion comes from a file alone
    features: np.ndarray | None = None
    channels: int = 0  # number of channels of the recording


@dataclass
class _Job:
    """A recording to encode."""

    path: Path
    plan: WindowPlan
    encode: bool
    info: AudioInfo
    features: list[torch.Tensor] = field(default_factory=list)
    failure: Failed | None = None


class SpeechStage(Stage[StageConfig]):
    """Encode `audio` of a row.

    Payload: `SpeechPayload`. Facts: `windows` (0 if no motion is to be sampled), `frames`, `seconds`, `warnings`,
    `warning_codes`, `bytes`. The result depends on the content of the recording and on whether the row has a `motion`,
    so it can be shared. For a row with a motion, from which the lips do not take their motion, only the length of the
    recording is measured. A row without audio gets an empty payload.
    """

    name = "speech"
    resources = Resources(gpu=1 / 8, workers="per_gpu")
    unit = "distinct_second"
    columns: ClassVar = WARNING_COLUMNS

    def setup(self) -> None:
        """Load the motion model, which contains the speech encoder."""
        ffmpeg_executable()
        self._models = Models(self.config.animation)
        _ = self._models.motion_model

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Encode the windows of several recordings in one call; in `strict` mode those of one recording."""
        with ExitStack() as files:
            jobs = map_each(batch, lambda item: self._probe(item, files))
            active = [job for job in jobs if isinstance(job, _Job) and job.encode]
            n_windows, seconds = sum(job.plan.n_windows for job in active), sum(job.info.duration_s for job in active)
            encoded = itertools.count(1)

            def report_window() -> None:
                fraction = next(encoded) / n_windows
                self.report_progress(fraction, fraction * seconds)

            for group in [[job] for job in active] if self.config.strict else [active]:
                self._encode(group, report_window)
        return map_each(jobs, _outcome)

    def _probe(self, item: Item, files: ExitStack) -> _Job | None:
        record = item.record
        if not record.audio:
            return None
        path = files.enter_context(local_file(record.audio, self.media_cache))
        with named_errors(path, record.audio):
            options = self.config.for_record(record)
            info = probe_audio(path, allow_silence=options.audio.allow_silence)
        encode = not record.motion or options.driving.mixes_mouth
        return _Job(path, self._models.plan_speech(info.n_samples), encode, info)

    def _encode(self, jobs: list[_Job], report_window: Callable[[], None]) -> None:
        """Set the features, or the failure, of each job."""
        owners: list[_Job] = []  # job of each window that was read
        features = encode_windows(
            self._models.motion_model,
            self._windows(jobs, owners),
            windows_per_call=WINDOWS_PER_CALL,
            device=self._models.device,
        )

        try:
            with autocast(self._models.device, self.config.animation.precision):
                for number, window in enumerate(features):
                    owners[number].features.append(window.float().cpu())
                    report_window()
        except Exception as error:  # an error of the network is not specific to one recording
            failure = classify_for_record(error)
            for job in jobs:
                job.failure = job.failure or failure

    def _windows(self, jobs: list[_Job], owners: list[_Job]) -> Iterator[np.ndarray]:
        for job in jobs:
            try:
                for window in iterate_windows(self._models.stream_sound(job.path), job.plan):
                    owners.append(job)
                    yield window
            except Exception as error:  # an error of this recording
                job.failure = classify_for_record(error)


def _outcome(job: _Job | None) -> Outcome:
    if job is None:
        return Ok(SpeechPayload(), {"windows": 0, "frames": 0, "seconds": 0.0, "bytes": 0})
    if job.failure:
        return job.failure

    facts = {"windows": 0, "frames": job.plan.n_frames, "seconds": job.info.duration_s, "bytes": 0}
    facts |= warning_facts(job.info.warnings)
    if not job.encode:
        return Ok(SpeechPayload(job.plan, channels=job.info.channels), facts)

    features = torch.stack(job.features)
    if not features.isfinite().all():
        raise ModelError(
            "speech_not_finite",
            f"{job.path}: its features hold NaN or infinity; expected finite numbers: use precision fp32 or bf16",
        )
    payload = SpeechPayload(job.plan, to_array(features), job.info.channels)
    return Ok(payload, {**facts, "windows": job.plan.n_windows, "bytes": features.nbytes})
