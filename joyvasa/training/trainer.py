"""The training loop of the motion generator.

All random numbers follow from the seed, the step and the number of the micro-batch. A run that is killed and resumed
therefore has the same losses as one without interruption, and a run on two devices has those of a run on one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from joyvasa.config import config_to_dict
from joyvasa.errors import ModelError, first_line
from joyvasa.runtime.device import choose_device
from joyvasa.runtime.prefetching import prefetch_results
from joyvasa.training.checkpoint import Checkpoints, TrainingProgress, select_prefix
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.file_store import FileStore
from joyvasa.training.generation import compute_motion_correlation, generate_motion
from joyvasa.training.initialization import build_initial_network
from joyvasa.training.log import TrainingLog
from joyvasa.training.losses import list_loss_parts
from joyvasa.training.motion_plot import encode_png, plot_motion
from joyvasa.training.objective import compute_pair_loss
from joyvasa.training.optimizer import Optimizer, compute_learning_rate
from joyvasa.training.samples import SampleStream, TrainingBatch
from joyvasa.training.worker_group import WorkerGroup

PICTURES = "pictures"
_NETWORK = 2  # purpose of a random number generator; samples use 0 and 1

StepValues = Mapping[str, float | None]
StepCallback = Callable[[int, StepValues], object]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Result of `Trainer.run`."""

    step: int  # number of finished steps
    steps: int  # number of steps of the whole run
    loss: float | None  # loss of the last step; None if there was no step left
    # validation loss of the last step; None if it was not measured, because there is no validation split or the run was
    # stopped between two checkpoints
    validation_loss: float | None
    step_s: float  # mean duration of a step, seconds
    compute_share: float  # fraction of the time in which the loop did not wait for data


class Trainer:
    """Trains a motion generator, from the newest checkpoint of the run if there is one.

    Args:
        config: options of the run, from `TrainingConfig.for_workers`.
        dataset: finished data set.
        run: file store of the run; only the first process of the group writes to it.
        group: processes that train together; None for this process alone.
        stop: called after every step; if it returns True, the run saves a checkpoint and ends.
        on_step: callback for the number of every finished step and its values.

    Raises:
        InputError: `dataset_empty`, or the data set cannot be read.
        ConfigError: `dataset_mismatch`.
        ModelError: `template_mismatch`, `dataset_mismatch`, `checkpoint_damaged`, or the speech encoder cannot be
            loaded.
        EnvironmentFault: `device_unavailable`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: Dataset,
        run: FileStore,
        *,
        group: WorkerGroup | None = None,
        stop: Callable[[], bool] = lambda: False,
        on_step: StepCallback = lambda step, values: None,
    ) -> None:
        self.config, self.dataset, self.run_files = config, dataset, run
        self.group, self.stop, self.on_step = group or WorkerGroup(), stop, on_step
        self.device = choose_device(config.device)
        self.loss_names = ["loss", *list_loss_parts(config.network.target)]

        self.template = dataset.load_template()
        self.template_arrays = {name: torch.from_numpy(item) for name, item in dataset.load_template_arrays().items()}
        self.train_stream = SampleStream(
            dataset, "train", self.template, config.network, config.samples, seed=config.seed
        )
        self.validation_stream = None
        if dataset.card.clips.get("validation") and config.checkpoints.validation_clips:
            self.validation_stream = self.fixed_stream("validation", config.checkpoints.validation_clips)

        self.checkpoints = Checkpoints(run)
        steps = self.checkpoints.steps()
        self.network = build_initial_network(config, load_encoder=not steps).to(self.device).train()
        self.optimizer = Optimizer(self.network, config.optimizer, steps=config.steps, precision=config.precision)
        self.progress = TrainingProgress(step=0, dataset=dataset.card.fingerprint, config=config_to_dict(config))
        if steps:
            self._restore(steps[-1])
        self.group.broadcast([*self.network.parameters(), *self.optimizer.average.values()])

    def fixed_stream(self, split: Literal["train", "validation"], limit: int) -> SampleStream:
        """Return fixed samples: the first clips, each from its start, without truncation, with fixed noise."""
        config = self.config
        return SampleStream(
            self.dataset,
            split,
            self.template,
            config.network,
            config.samples,
            seed=config.seed,
            shuffle=False,
            limit=limit,
        )

    def run(self) -> TrainingResult:
        """Train until the last step, or until `stop` returns True.

        Raises:
            ModelError: `training_diverged`.
            InputError: a clip cannot be read.
            EnvironmentFault: `tensorboard_missing`.
        """
        options, first = self.config.checkpoints, self.progress.step
        log = self._open_log() if self.group.rank == 0 else None
        busy_s, waited_s = 0.0, 0.0
        loss: float | None = None

        with contextlib.closing(self.load_batches(first)) as batches:
            for step in range(first, self.config.steps):
                values, stopping = self.train_step(step, batches)
                loss, done = values["loss"], step + 1
                busy_s += values["seconds"]
                waited_s += values["waited_s"]

                due = done % options.every_steps == 0 or done == self.config.steps
                row = self._log_row(step, values) | {"validation_loss": self.validate() if due else None}
                self.on_step(done, row)
                if log:
                    log.add(done, row)

                self.progress = replace(self.progress, step=done, validation_loss=row["validation_loss"])
                if log and (due or stopping):
                    self._save(log)
                if stopping:
                    break
        if log:
            log.close()

        n_steps = self.progress.step - first
        return TrainingResult(
            step=self.progress.step,
            steps=self.config.steps,
            loss=loss,
            validation_loss=self.progress.validation_loss,
            step_s=busy_s / max(1, n_steps),
            compute_share=1 - waited_s / busy_s if busy_s else 1.0,
        )

    def load_batches(self, first_step: int) -> Generator[TrainingBatch]:
        """Yield the micro-batches of this process, in order, starting with a step."""
        config, size = self.config, self.config.micro_batch_size or self.config.batch_size
        starts = (
            step * config.batch_size + number * size
            for step in range(first_step, config.steps)
            for number in self._own_micro_batches
        )
        return self._prefetch(self.train_stream, ((start, size) for start in starts))

    def train_step(self, step: int, batches: Iterator[TrainingBatch]) -> tuple[dict[str, float], bool]:
        """Run a training step, counted from 0, of the whole group.

        Returns:
            Values of the step, and whether any process of the group should stop.

        Raises:
            ModelError: `training_diverged`.
        """
        started, waited_s = time.perf_counter(), 0.0
        config = self.config
        sums = torch.zeros(len(self.loss_names), device=self.device)

        for number in self._own_micro_batches:
            wait_started = time.perf_counter()
            batch = next(batches)
            waited_s += time.perf_counter() - wait_started

            seed = np.random.SeedSequence([config.seed, _NETWORK, step, number]).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed >> 1))  # dropout does not depend on the process that computes the micro-batch
            loss, parts = self._loss(batch.to(self.device))
            self.optimizer.backward(loss / config.micro_batches)
            sums += torch.stack([loss, *parts.values()]).detach() / config.micro_batches

        sums = torch.cat([sums, sums.new_tensor([float(self.stop())])])
        self.group.all_reduce([sums])
        self.group.all_reduce(self.optimizer.gradients())
        *losses, stopping = sums.tolist()
        self._check_finite("loss", step, losses)
        norm = self.optimizer.step(step)
        if self.config.precision != "fp16":  # where the update is skipped if the gradient overflows
            self._check_finite("gradient", step, [norm])
        values = dict(zip(self.loss_names, losses, strict=True)) | {"gradient_norm": norm}
        return values | {"seconds": time.perf_counter() - started, "waited_s": waited_s}, stopping > 0

    def _check_finite(self, name: str, step: int, values: Iterable[float]) -> None:
        if not all(map(math.isfinite, values)):
            raise ModelError(
                "training_diverged",
                f"{self.run_files.root}: the {name} of step {step + 1} is not finite; expected a number: set a smaller "
                "optimizer.learning_rate or precision fp32 in its train.yaml, then continue with `joyvasa resume`",
            )

    def validate(self) -> float | None:
        """Compute the loss on the validation split; None if it is empty."""
        return None if self.validation_stream is None else self.evaluate(self.validation_stream)["loss"]

    def evaluate(self, stream: SampleStream) -> dict[str, float]:
        """Compute the losses on fixed samples, in evaluation mode.

        Returns:
            `loss` and its parts, means over the clips.
        """
        n_clips, size = len(stream.locations), self.config.micro_batch_size or self.config.batch_size
        starts = list(range(0, n_clips, size))[self.group.rank :: self.group.size]
        sums = torch.zeros(len(self.loss_names), device=self.device)

        loader = self._prefetch(stream, ((start, min(size, n_clips - start)) for start in starts))
        with self.evaluation_mode(), torch.no_grad(), contextlib.closing(loader) as batches:
            for batch in batches:
                loss, parts = self._loss(batch.to(self.device))
                sums += torch.stack([loss, *parts.values()]) * len(batch)
        self.group.all_reduce([sums])
        return dict(zip(self.loss_names, (sums / n_clips).tolist(), strict=True))

    @contextlib.contextmanager
    def evaluation_mode(self) -> Generator[None]:
        """Put the network in eval mode, with the averaged weights if there are any, for the duration of a block."""
        parameters, average = self.optimizer.parameters, self.optimizer.average
        trained = {name: parameters[name].data for name in average}
        for name, value in average.items():
            parameters[name].data = value
        self.network.eval()
        try:
            yield
        finally:
            for name, value in trained.items():
                parameters[name].data = value
            self.network.train()

    @property
    def _own_micro_batches(self) -> range:
        return range(self.group.rank, self.config.micro_batches, self.group.size)

    def _loss(self, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return compute_pair_loss(
            self.network,
            batch,
            expression_size=len(self.template.expression_mean),
            config=self.config.loss,
            truncation_mode=self.config.samples.truncation_mode,
            precision=self.config.precision,
        )

    def _prefetch(self, stream: SampleStream, ranges: Iterator[tuple[int, int]]) -> Generator[TrainingBatch]:
        """Yield the batches of a stream for pairs of start and size."""

        def make(start_and_size: tuple[int, int]) -> TrainingBatch:
            batch = stream.batch(*start_and_size)
            return batch.pin_memory() if self.device.type == "cuda" else batch

        return prefetch_results(make, ranges, threads=self.config.loader_threads, ahead=self.config.prefetch)

    def _log_row(self, step: int, values: Mapping[str, float]) -> dict[str, float | None]:
        config, seconds = self.config, values["seconds"]
        return {
            **{name: value for name, value in values.items() if name not in ("seconds", "waited_s")},
            "learning_rate": compute_learning_rate(config.optimizer, step, config.steps),
            "epoch": self.train_stream.epoch((step + 1) * config.batch_size),
            "samples_per_s": config.batch_size / seconds,
            "compute_share": 1 - values["waited_s"] / seconds,
        }

    def _open_log(self) -> TrainingLog:
        self.checkpoints.remove_partial()
        return TrainingLog(
            self.run_files, first_step=self.progress.step, tensorboard=self.config.checkpoints.tensorboard
        )

    def _save(self, log: TrainingLog) -> None:
        """Write pictures, log and, last, the checkpoint; without it, a resumed run writes the others again."""
        epoch = int(self.train_stream.epoch(self.progress.step * self.config.batch_size))
        if epoch > self.progress.pictures_epoch:
            self._plot_generated_motion()
            self.progress = replace(self.progress, pictures_epoch=epoch)

        log.flush()
        tensors, scaler = self.optimizer.state()
        tensors |= {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"template.{name}": value for name, value in self.template_arrays.items()}
        self.checkpoints.save(replace(self.progress, scaler=scaler), tensors, keep=self.config.checkpoints.keep)

    def _plot_generated_motion(self) -> None:
        limit = self.config.checkpoints.pictures
        stream = self.validation_stream or self.fixed_stream("train", max(1, limit))
        with self.evaluation_mode():
            for number in range(min(limit, len(stream.locations))):
                motion = generate_motion(self.network, stream.read_clip(number), self.template, seed=self.config.seed)
                correlation = compute_motion_correlation(motion, self.template)
                title = f"{motion.clip_id}   step {self.progress.step}   correlation {correlation:.2f}"
                name = f"{PICTURES}/{self.progress.step:08d}/{motion.clip_id}.png"
                self.run_files.write(name, encode_png(plot_motion(motion, title)))

    def _restore(self, step: int) -> None:
        """Load a checkpoint."""
        progress, tensors = self.checkpoints.load(step)
        where = self.run_files.root

        template = select_prefix(tensors, "template.")
        if template.keys() != self.template_arrays.keys() or any(
            not torch.equal(value, self.template_arrays[name]) for name, value in template.items()
        ):
            raise ModelError(
                "template_mismatch",
                f"{where}: trained with other statistics of motion than those of {self.dataset.files.root}; expected "
                "the data set that the run started with: use that one, or start a new run",
            )
        if progress.dataset != self.progress.dataset:
            raise ModelError(
                "dataset_mismatch",
                f"{where}: trained with other clips than those of {self.dataset.files.root}; expected the data set "
                "that the run started with: use that one, or start a new run",
            )

        try:
            self.network.load_state_dict(select_prefix(tensors, "model."))
            self.optimizer.restore(tensors, dict(progress.scaler))
        except (KeyError, RuntimeError) as error:
            reason = first_line(error)[:160]
            raise ModelError(
                "checkpoint_damaged",
                f"{where}: the checkpoint of step {step} does not fit the options of the run ({reason}): resume with "
                "the options that it started with",
            ) from None
        self.progress = replace(progress, config=self.progress.config)
