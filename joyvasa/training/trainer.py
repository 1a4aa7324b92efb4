"""The training loop of the motion generator.

All that is random follows from the seed, the step and the number of the micro-batch within it. So a run that is
killed and goes on has the same losses as one that never stopped, and a run on two devices those of a run on one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from joyvasa.config import plain
from joyvasa.errors import ModelError
from joyvasa.runtime.device import choose_device
from joyvasa.training.checkpoint import Checkpoints, TrainingProgress
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.file_store import FileStore
from joyvasa.training.generation import generate_motion, motion_correlation
from joyvasa.training.initialization import build_initial_network
from joyvasa.training.loader import prefetch_results
from joyvasa.training.log import TrainingLog
from joyvasa.training.losses import loss_part_names
from joyvasa.training.motion_plot import encode_png, plot_motion
from joyvasa.training.objective import pair_loss
from joyvasa.training.optimizer import Optimizer, learning_rate
from joyvasa.training.samples import Batch, SampleStream
from joyvasa.training.worker_group import WorkerGroup

PICTURES = "pictures"
_NETWORK = 2  # what a stream of random numbers is for; those of samples have the numbers before

StepValues = Mapping[str, float | None]
StepCallback = Callable[[int, StepValues], object]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a part of a run came to.

    Args:
        step: steps that are done.
        steps: of the whole run.
        loss: of the last step; NaN if there was none to do.
        validation_loss: of the last checkpoint; None if there is nothing to validate with, or the run was asked to stop
            between two checkpoints.
        step_s: seconds of a step, the mean.
        compute_share: of the time of the steps, the part in which the loop did not wait for data.
    """

    step: int
    steps: int
    loss: float
    validation_loss: float | None
    step_s: float
    compute_share: float


class Trainer:
    """Trains a motion generator from where its run folder stands.

    Args:
        config: every option; shared out with `TrainingConfig.for_workers`.
        dataset: finished.
        run: where the run lies; only the first process of the group writes.
        group: the processes that train together.
        stop: asked after every step; the run then keeps a checkpoint and ends.
        listener: told the numbers of every step.

    Raises:
        InputError: `dataset_empty`, and what reading the data set raises.
        ConfigError: `dataset_mismatch`.
        ModelError: `template_mismatch`, `dataset_mismatch`, `checkpoint_damaged`, and what loading the speech encoder
            raises.
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
        listener: StepCallback = lambda step, values: None,
    ) -> None:
        self.config, self.dataset, self.run_files = config, dataset, run
        self.group, self.stop, self.listener = group or WorkerGroup(), stop, listener
        self.device = choose_device(config.device)
        self.names = ["loss", *loss_part_names(config.network.target)]
        self.template = dataset.template()
        self.template_arrays = {name: torch.from_numpy(item) for name, item in dataset.template_arrays().items()}
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
        self.progress = TrainingProgress(step=0, dataset=dataset.card.fingerprint, config=plain(config))
        if steps:
            self._restore(steps[-1])
        self.group.share([*self.network.parameters(), *self.optimizer.average.values()])

    def fixed_stream(self, split: Literal["train", "validation"], limit: int) -> SampleStream:
        """The same samples at every call: the first clips, each from its start, whole, with fixed noise."""
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
        """Trains until the last step, or until `stop`.

        Raises:
            ModelError: `training_diverged`.
            InputError: a clip cannot be read.
            EnvironmentFault: `tensorboard_missing`.
        """
        options, first = self.config.checkpoints, self.progress.step
        log = self._open_log() if self.group.rank == 0 else None
        busy_s, waited_s, loss = 0.0, 0.0, math.nan
        with contextlib.closing(self.batches(first)) as batches:
            for step in range(first, self.config.steps):
                values, stopping = self.step(step, batches)
                loss, done = values["loss"], step + 1
                busy_s += values["seconds"]
                waited_s += values["waited_s"]
                due = done % options.every_steps == 0 or done == self.config.steps
                told = self._told(step, values) | {"validation_loss": self.validate() if due else None}
                self.listener(done, told)
                if log:
                    log.add(done, told)
                self.progress = self._progress(done, told["validation_loss"])
                if log and (due or stopping):
                    self._keep(log)
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

    def batches(self, first_step: int) -> Generator[Batch]:
        """This process's micro-batches from a step on, in order."""
        config, size = self.config, self.config.micro_batch_size or self.config.batch_size
        starts = (
            step * config.batch_size + number * size
            for step in range(first_step, config.steps)
            for number in self._own_micro_batches
        )
        return self._made(self.train_stream, ((start, size) for start in starts))

    def step(self, step: int, batches: Iterator[Batch]) -> tuple[dict[str, float], bool]:
        """One step of the whole group.

        Args:
            step: from 0.
            batches: of `batches`, where it stands.

        Returns:
            numbers of the step, and whether a process of the group was asked to stop.

        Raises:
            ModelError: `training_diverged`.
        """
        started, waited_s = time.perf_counter(), 0.0
        config = self.config
        sums = torch.zeros(len(self.names), device=self.device)
        for number in self._own_micro_batches:
            asked = time.perf_counter()
            batch = next(batches)
            waited_s += time.perf_counter() - asked
            seed = np.random.SeedSequence([config.seed, _NETWORK, step, number]).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed >> 1))  # dropout is the same wherever the micro-batch is computed
            loss, parts = self._loss(batch.to(self.device))
            self.optimizer.backward(loss / config.micro_batches)
            sums += torch.stack([loss, *parts.values()]).detach() / config.micro_batches
        sums = torch.cat([sums, sums.new_tensor([float(self.stop())])])
        self.group.sum([sums])
        self.group.sum(self.optimizer.gradients())
        *numbers, stopping = sums.tolist()
        if not all(map(math.isfinite, numbers)):
            raise ModelError(
                "training_diverged",
                f"{self.run_files.root}: the loss of step {step + 1} is not finite; expected a number: set a "
                "smaller optimizer.learning_rate or precision fp32 in its train.yaml, then `joyvasa resume` goes on",
            )
        norm = self.optimizer.step(step)
        told = dict(zip(self.names, numbers, strict=True)) | {"gradient_norm": norm}
        return told | {"seconds": time.perf_counter() - started, "waited_s": waited_s}, stopping > 0

    def validate(self) -> float | None:
        """The loss on the validation split, with the weights that are to be used; None if it is empty."""
        return None if self.validation_stream is None else self.evaluate(self.validation_stream)["loss"]

    def evaluate(self, stream: SampleStream) -> dict[str, float]:
        """Losses on fixed samples without dropout, truncation and noise of the weights.

        Args:
            stream: of `fixed_stream`.

        Returns:
            `loss` and its parts, means over the clips.
        """
        n_clips, size = len(stream.places), self.config.micro_batch_size or self.config.batch_size
        starts = list(range(0, n_clips, size))[self.group.rank :: self.group.size]
        sums = torch.zeros(len(self.names), device=self.device)
        made = self._made(stream, ((start, min(size, n_clips - start)) for start in starts))
        with self.inference_mode(), torch.no_grad(), contextlib.closing(made) as batches:
            for batch in batches:
                loss, parts = self._loss(batch.to(self.device))
                sums += torch.stack([loss, *parts.values()]) * len(batch)
        self.group.sum([sums])
        return dict(zip(self.names, (sums / n_clips).tolist(), strict=True))

    @contextlib.contextmanager
    def inference_mode(self) -> Generator[None]:
        """The network as it is to be used, in the block: in eval mode, with averaged weights where there are some."""
        parameters, average = self.optimizer.parameters, self.optimizer.average
        kept = {name: parameters[name].data for name in average}
        for name, value in average.items():
            parameters[name].data = value
        self.network.eval()
        try:
            yield
        finally:
            for name, value in kept.items():
                parameters[name].data = value
            self.network.train()

    @property
    def _own_micro_batches(self) -> range:
        return range(self.group.rank, self.config.micro_batches, self.group.size)

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return pair_loss(
            self.network,
            batch,
            expression_size=len(self.template.expression_mean),
            config=self.config.loss,
            truncation_mode=self.config.samples.truncation_mode,
            precision=self.config.precision,
        )

    def _made(self, stream: SampleStream, places: Iterator[tuple[int, int]]) -> Generator[Batch]:
        def make(place: tuple[int, int]) -> Batch:
            batch = stream.batch(*place)
            return batch.pinned() if self.device.type == "cuda" else batch

        return prefetch_results(make, places, threads=self.config.loader_threads, ahead=self.config.prefetch)

    def _told(self, step: int, values: Mapping[str, float]) -> dict[str, float | None]:
        """The numbers of a step as the log has them."""
        config, seconds = self.config, values["seconds"]
        return {
            **{name: value for name, value in values.items() if name not in ("seconds", "waited_s")},
            "learning_rate": learning_rate(config.optimizer, step, config.steps),
            "epoch": self.train_stream.epoch((step + 1) * config.batch_size),
            "samples_per_s": config.batch_size / seconds,
            "compute_share": 1 - values["waited_s"] / seconds,
        }

    def _open_log(self) -> TrainingLog:
        self.checkpoints.clean()
        return TrainingLog(
            self.run_files, first_step=self.progress.step, tensorboard=self.config.checkpoints.tensorboard
        )

    def _progress(self, step: int, validation_loss: float | None) -> TrainingProgress:
        return replace(self.progress, step=step, validation_loss=validation_loss)

    def _keep(self, log: TrainingLog) -> None:
        """Pictures, log and checkpoint; what is there without the checkpoint is made again."""
        epoch = int(self.train_stream.epoch(self.progress.step * self.config.batch_size))
        if epoch > self.progress.pictures_epoch:
            self._draw()
            self.progress = replace(self.progress, pictures_epoch=epoch)
        log.flush()
        tensors, scaler = self.optimizer.state()
        tensors |= {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"template.{name}": value for name, value in self.template_arrays.items()}
        self.checkpoints.save(replace(self.progress, scaler=scaler), tensors, keep=self.config.checkpoints.keep)

    def _draw(self) -> None:
        """Plots what the network generates for a few clips."""
        limit = self.config.checkpoints.pictures
        stream = self.validation_stream or self.fixed_stream("train", max(1, limit))
        with self.inference_mode():
            for number in range(min(limit, len(stream.places))):
                generated = generate_motion(self.network, stream.clip(number), self.template, seed=self.config.seed)
                alike = motion_correlation(generated, self.template)
                title = f"{generated.clip_id}   step {self.progress.step}   correlation {alike:.2f}"
                name = f"{PICTURES}/{self.progress.step:08d}/{generated.clip_id}.png"
                self.run_files.write(name, encode_png(plot_motion(generated, title)))

    def _restore(self, step: int) -> None:
        """Goes on from a checkpoint."""
        progress, tensors = self.checkpoints.load(step)
        where = self.run_files.root
        given = {
            name.removeprefix("template."): value for name, value in tensors.items() if name.startswith("template.")
        }
        if given.keys() != self.template_arrays.keys() or any(
            not torch.equal(value, self.template_arrays[name]) for name, value in given.items()
        ):
            raise ModelError(
                "template_mismatch",
                f"{where}: trained with other statistics of motion than {self.dataset.files.root} has; expected the "
                "data set that the run began with: give that one, or begin a new run",
            )
        if progress.dataset != self.progress.dataset:
            raise ModelError(
                "dataset_mismatch",
                f"{where}: trained with other clips than {self.dataset.files.root} has; expected the data set that the "
                "run began with: give that one, or begin a new run",
            )
        model = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        try:
            self.network.load_state_dict(model)
            self.optimizer.restore(tensors, dict(progress.scaler))
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:160]
            raise ModelError(
                "checkpoint_damaged",
                f"{where}: the checkpoint of step {step} does not fit the options of the run ({reason}): go on with "
                "the options that it began with",
            ) from None
        self.progress = replace(progress, config=self.progress.config)
