"""Stage `motion`: sample motion from audio features for many records at once, and join it with driving motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from joyvasa.bundles.requirements import MOTION_ROLES
from joyvasa.errors import InputError, ModelError
from joyvasa.models import Models
from joyvasa.motion.driving import DrivingConfig
from joyvasa.motion.mixing import mix_motions
from joyvasa.motion.sampling import Recording, sample_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import SmoothingConfig, smooth_motion
from joyvasa.motion.timing import fit_motion_length, resample_motion
from joyvasa.motion.windows import WindowPlan
from joyvasa.runtime.device import autocast
from manifests.record import Record, derive_seed
from stages.arrays import to_tensor
from stages.base import Item, Ok, Outcome, Resources, Stage
from stages.config import StageConfig
from stages.failures import map_batch, map_each
from stages.hash_inputs import InputHashes
from stages.read_motion import DrivingPayload
from stages.speech import SpeechPayload


@dataclass(frozen=True, kw_only=True)
class MotionConfig(StageConfig):
    """Configuration of `MotionStage`."""

    # whether the seed of a row that has none is derived from the content of its recording instead of its id, so that
    # all rows with that recording share one motion
    shared: bool = False
    # number of recordings in each network call in `strict` mode, padded with silent ones; use the batch size of the
    # stage
    strict_batch: int = 16


@dataclass(frozen=True)
class MotionPayload(DrivingPayload):
    """The motion of a video, at its frame rate."""

    seed: int | None = None  # seed that the motion was sampled with; None if it was read from a file

    def find_sound(self, record: Record) -> str | None:
        """Return the location of the sound of the video: the row's recording, its driving video, or None."""
        return record.audio or (record.motion if self.sound_channels else None)


@dataclass(frozen=True)
class _SamplingJob:
    """A motion to sample.

    `driving` is the motion of the row's file, of the length of the recording, whose lips follow the sampled motion as
    `mixing` says.
    """

    plan: WindowPlan
    features: np.ndarray  # (windows, n, dim)
    seed: int
    cfg_scale: float
    smoothing: SmoothingConfig
    sound_channels: int
    driving: MotionSequence | None = None
    mixing: DrivingConfig | None = None

    @property
    def shape(self) -> tuple[int, bool]:
        """Number of windows and whether guidance is used; with the batch size, they determine the shapes of calls."""
        return self.plan.n_windows, self.cfg_scale != 1

    @property
    def provenance(self) -> dict[str, str]:
        """Origin of the motion, stored in motion files."""
        source = "sound" if self.driving is None else "sound and motion"
        return {"source": source, "seed": str(self.seed), "cfg_scale": repr(self.cfg_scale)}

    def recording(self) -> Recording:
        """Return the input of the sampler; new for each call, because its generator has state."""
        generator = torch.Generator().manual_seed(self.seed)
        return Recording(self.plan, to_tensor(self.features), generator, self.cfg_scale)

    def mix(self, sampled: MotionSequence) -> MotionSequence:
        """Return the motion of the row: the sampled motion, or the driving motion with lips from it."""
        return mix_motions(self.driving, sampled, self.mixing) if self.driving and self.mixing else sampled

    def silent(self) -> _SamplingJob:
        """Return a silent job of the same shape, which pads a batch."""
        return _SamplingJob(self.plan, np.zeros_like(self.features), 0, self.cfg_scale, self.smoothing, 0)


class MotionStage(Stage[MotionConfig]):
    """Sample motion from the `SpeechPayload` of a row, or take the `DrivingPayload` of its `motion`.

    Payload: `MotionPayload`. Facts: `frames`, `seconds`, `seed`, `bytes`. The result depends on the content of the
    recording, on `motion`, `cfg_scale`, the seed and the options of the row for this stage, so it can be
    shared. With `shared`, the stage also needs the `InputHashes` of the row.

    The motion of a file is resampled to the frame rate of the motion model, which is that of all videos of a run; if
    the row has audio too, the motion is cut to its length, or its last frame is repeated, and `driving.mouth_from`
    decides whether the lips follow the sound. Only sampled motion is smoothed.
    """

    name = "motion"
    resources = Resources(gpu=1 / 4, workers="per_gpu")
    batch_size = 16
    unit = "second"
    columns: ClassVar = {"seed": int}

    def setup(self) -> None:
        """Load the motion model."""
        self._models = Models(self.config.animation)
        _ = self._models.motion_model, self._models.template
        bundle = self._models.bundle
        self._provenance = {"bundle": bundle.name, "fingerprint": bundle.compute_fingerprint(MOTION_ROLES)}

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Fit driving motions one at a time; sample the other motions together."""
        prepared = map_each(batch, self._prepare)
        motions = {n: entry for n, entry in enumerate(prepared) if not isinstance(entry, _SamplingJob)}
        jobs = {n: entry for n, entry in enumerate(prepared) if isinstance(entry, _SamplingJob)}
        n_frames = sum(job.plan.n_frames for job in jobs.values())
        seconds = n_frames / self._models.motion_model.sizes.frames_per_second
        for numbers in self._groups(jobs):
            n_done, n_group = len(motions), len(numbers)

            def report_windows(n: int, total: int, n_done: int = n_done, n_group: int = n_group) -> None:
                fraction = (n_done + n_group * n / total) / len(batch)
                self.report_progress(fraction, fraction * seconds)

            sample = partial(self._sample, on_window=report_windows)
            sampled = map_batch([jobs[number] for number in numbers], sample)
            motions |= dict(zip(numbers, sampled, strict=True))
        return map_each((motions[number] for number in range(len(batch))), _outcome)

    def _prepare(self, item: Item) -> _SamplingJob | MotionPayload:
        """Return the driving motion of the row, or the job that samples its motion."""
        record = item.record
        speech: SpeechPayload = item.inputs["speech"]
        driving: DrivingPayload | None = item.inputs.get("read_motion")
        fitted = None
        if driving:
            fitted = resample_motion(driving.to_motion(), self._models.motion_model.sizes.frames_per_second)
            if speech.plan:
                fitted = fit_motion_length(fitted, speech.plan.n_frames)
            if not self.config.for_record(record).driving.mixes_mouth or speech.features is None:
                channels = speech.channels or driving.sound_channels
                return MotionPayload.from_motion(fitted, driving.provenance, sound_channels=channels)
        if speech.plan is None or speech.features is None:
            raise InputError("motion_missing", "row: neither audio nor motion; expected one of them: name a file")
        scale = record.cfg_scale
        scale = self.config.animation.sampling.cfg_scale if scale is None else float(scale)
        options = self.config.for_record(record)
        mixing = options.driving if fitted else None
        return _SamplingJob(
            plan=speech.plan,
            features=speech.features,
            seed=self._seed(item),
            cfg_scale=scale,
            smoothing=options.smoothing,
            sound_channels=speech.channels,
            driving=fitted,
            mixing=mixing,
        )

    def _seed(self, item: Item) -> int:
        record = item.record
        if not self.config.shared or record.given_seed is not None:
            return item.record.seed
        hashes: InputHashes = item.inputs["hash_inputs"]
        return derive_seed(self.config.animation.seed, hashes.audio_sha256 or item.record.require("audio"))

    def _groups(self, jobs: Mapping[int, _SamplingJob]) -> Iterator[list[int]]:
        """Yield the numbers of jobs that are sampled together."""
        if not self.config.strict:
            yield list(jobs)
            return

        by_shape: dict[tuple[int, bool], list[int]] = {}
        for number, job in jobs.items():
            by_shape.setdefault(job.shape, []).append(number)
        for numbers in by_shape.values():
            for start in range(0, len(numbers), self.config.strict_batch):
                yield numbers[start : start + self.config.strict_batch]

    def _sample(self, jobs: list[_SamplingJob], on_window: Callable[[int, int], object]) -> list[MotionPayload]:
        options, models = self.config.animation, self._models
        n_padding = self.config.strict_batch - len(jobs) if self.config.strict else 0
        recordings = [job.recording() for job in (*jobs, *[jobs[0].silent()] * n_padding)]
        with autocast(models.device, options.precision):
            motions = sample_motion(
                models.motion_model,
                recordings,
                models.template,
                options.sampling,
                device=models.device,
                on_window=on_window,
            )
        return [
            MotionPayload.from_motion(
                job.mix(smooth_motion(motion, job.smoothing)),
                self._provenance | job.provenance,
                sound_channels=job.sound_channels,
                seed=job.seed,
            )
            for motion, job in zip(motions, jobs, strict=False)  # padding comes last
        ]


def _outcome(payload: MotionPayload) -> Outcome:
    arrays = payload.arrays.values()
    if not all(np.isfinite(array).all() for array in arrays):
        raise ModelError(
            "motion_not_finite",
            "motion: holds NaN or infinity; expected finite numbers: use precision fp32 or bf16, or check the weights",
        )
    n_frames = len(payload.arrays["scale"])
    facts = {"frames": n_frames, "seconds": n_frames / payload.frames_per_second}
    return Ok(payload, {**facts, "seed": payload.seed, "bytes": sum(array.nbytes for array in arrays)})
