"""Motion generator: a diffusion transformer that turns speech into face motion (JoyVASA)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.networks.denoising_network import POSITION_ROWS, DenoisingNetwork
from joyvasa.networks.diffusion import DiffusionSchedule, Generators, Sampler, ScheduleMode, Target, noise_sequence
from joyvasa.networks.motion_sizes import MotionSizes
from joyvasa.networks.speech_encoder import (
    SAMPLE_RATE,
    SpeechEncoder,
    SpeechEncoderConfig,
    pad_to_frames,
    resample_frames,
)
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoder, CompactSoundEncoderConfig


@dataclass(frozen=True, kw_only=True)
class MotionGeneratorConfig:
    """Sizes and conventions; the defaults are those of the published weights.

    Fields stored in the `args` of a published checkpoint have the same name here, except depth and width of the
    transformer: JoyVASA stores `n_layers`, `n_heads` and `mlp_ratio` but always builds 8 layers of 8 heads.

    Raises:
        ConfigError: `motion_generator_config`.
    """

    # numbers per frame: expression 63, scale, translation 3, pitch, yaw, roll; the rest is unused
    motion_feat_dim: int = 73
    n_motions: int = 100  # frames per window
    n_prev_motions: int = 10  # frames of the previous window that condition the next
    feature_dim: int = 256  # width of the transformer and of the audio features
    n_diff_steps: int = 50  # denoising steps
    diff_schedule: ScheduleMode = "cosine"  # noise schedule of the diffusion
    target: Target = "sample"  # quantity that the network predicts: clean motion or the noise in it
    fps: int = 25  # motion frames per second
    # `constant_row`: one row of the position table is added to every token, as in JoyVASA until December 2025, with
    # which the published weights were trained
    positional_encoding: Literal["per_token", "constant_row"] = "per_token"
    decoder_layers: int = 8  # layers of the transformer
    decoder_heads: int = 8  # attention heads of a layer
    decoder_hidden: int = 1024  # width of the feed-forward network of a layer
    dropout: float = 0.1  # dropout during training
    audio_encoder: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)  # or a mapping of its fields
    # sizes of a small sound encoder that replaces `audio_encoder`
    compact_encoder: CompactSoundEncoderConfig | None = None

    def __post_init__(self) -> None:
        if isinstance(self.audio_encoder, Mapping):
            object.__setattr__(self, "audio_encoder", SpeechEncoderConfig(**self.audio_encoder))
        if isinstance(self.compact_encoder, Mapping):
            object.__setattr__(self, "compact_encoder", CompactSoundEncoderConfig(**self.compact_encoder))

        for name in ("motion_feat_dim", "n_diff_steps", "decoder_layers", "decoder_heads", "decoder_hidden"):
            if getattr(self, name) < 1:
                self._refuse(name, "at least 1")
        if not 0 <= self.dropout < 1:
            self._refuse("dropout", "0 to below 1")
        if not 1 <= self.n_prev_motions <= self.n_motions:
            self._refuse("n_prev_motions", f"1 to {self.n_motions}, the frames of a window")
        if self.n_tokens >= POSITION_ROWS:
            self._refuse("n_motions", f"at most {POSITION_ROWS - 1 - self.n_prev_motions}, the rows of the table")
        if self.target not in ("sample", "noise"):
            self._refuse("target", "sample or noise")
        if self.positional_encoding not in ("per_token", "constant_row"):
            self._refuse("positional_encoding", "per_token or constant_row")
        if self.feature_dim % 2 or self.feature_dim % self.decoder_heads:
            self._refuse("feature_dim", f"an even multiple of the {self.decoder_heads} heads")
        if self.fps < 1 or self.sample_rate % self.fps:
            self._refuse("fps", f"a divisor of the sample rate {self.sample_rate}")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConfigError(
            "motion_generator_config",
            f"motion generator: {name} is {getattr(self, name)!r}; expected {expected}: correct it",
        )

    @property
    def sample_rate(self) -> int:
        """Return the sample rate of the audio in Hz."""
        return SAMPLE_RATE

    @property
    def n_tokens(self) -> int:
        """Return the number of tokens of the transformer: frames of the window and of its predecessor."""
        return self.n_prev_motions + self.n_motions


class MotionGenerator(nn.Module):
    """Speech encoder, denoising network and sampler: the `MotionModel` of JoyVASA.

    In the shapes below, B is the number of records, n = `n_motions`, P = `n_prev_motions`, D = `motion_feat_dim` and
    dim = `feature_dim`.
    """

    def __init__(self, config: MotionGeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionGeneratorConfig()

        self.start_audio_feat = nn.Parameter(torch.randn(1, config.n_prev_motions, config.feature_dim))
        self.start_motion_feat = nn.Parameter(torch.randn(1, config.n_prev_motions, config.motion_feat_dim))
        self.null_audio_feat = nn.Parameter(torch.randn(1, 1, config.feature_dim))

        compact = config.compact_encoder
        self.audio_encoder = CompactSoundEncoder(compact) if compact else SpeechEncoder(config.audio_encoder)
        self.audio_feature_map = nn.Linear(self.audio_encoder.config.hidden_size, config.feature_dim)
        self.denoising_net = DenoisingNetwork(
            motion_dim=config.motion_feat_dim,
            n_tokens=config.n_tokens,
            dim=config.feature_dim,
            layers=config.decoder_layers,
            heads=config.decoder_heads,
            hidden=config.decoder_hidden,
            dropout=config.dropout,
            constant_row=config.n_tokens if config.positional_encoding == "constant_row" else None,
        )
        self.diffusion_sched = DiffusionSchedule(config.n_diff_steps, config.diff_schedule)

    @property
    def sizes(self) -> MotionSizes:
        """Return the rates and sizes that sampling needs."""
        return MotionSizes(
            frames_per_second=self.config.fps,
            frames_per_window=self.config.n_motions,
            previous_frames=self.config.n_prev_motions,
            coefficients=self.config.motion_feat_dim,
            sample_rate=self.config.sample_rate,
        )

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the denoising network only; on a GPU each diffusion step becomes one CUDA graph."""
        self.denoising_net.compile(*args, mode="reduce-overhead", **options)

    def encode(self, waveform: Tensor) -> Tensor:
        """Compute audio features at the frame rate of the motion.

        Args:
            waveform: mono audio in [-1, 1] at `sample_rate`, shape (B, samples).

        Returns:
            Features, shape (B, frames, dim) with frames = duration * fps.
        """
        fps, encoder = self.config.fps, self.audio_encoder.config
        n_frames = round(waveform.shape[-1] * fps / self.config.sample_rate)
        n_hidden = round(n_frames * encoder.frames_per_second / fps)  # at the rate of the encoder, 50 Hz

        padded = pad_to_frames(waveform, stride=encoder.stride, receptive_field=encoder.receptive_field)
        hidden = self.audio_encoder(padded.to(self.start_audio_feat.dtype), frames_per_second=fps, n_frames=n_hidden)
        hidden = hidden.transpose(1, 2)  # (B, hidden, n_hidden)
        features = resample_frames(hidden, from_hz=encoder.frames_per_second, to_hz=fps, n_frames=n_frames)
        return self.audio_feature_map(features.transpose(1, 2))

    def denoise(self, motion: Tensor, audio: Tensor, prev_motion: Tensor, prev_audio: Tensor, step: Tensor) -> Tensor:
        """Call the denoising network once.

        Args:
            motion: noisy motion, shape (B, n, D).
            audio: audio features, shape (B, n, dim).
            prev_motion: clean motion before the window, shape (B, P, D).
            prev_audio: audio features before the window, shape (B, P, dim).
            step: diffusion step of each record, 1 to T, shape (B,), integer.

        Returns:
            Prediction for the frames before and in the window, shape (B, P + n, D).
        """
        return self.denoising_net(motion, self.denoising_net.audio_context(audio, prev_audio), prev_motion, step)

    def forward(
        self,
        motion: Tensor,
        audio: Tensor,
        *,
        step: Tensor,
        noise: Tensor,
        without_audio: Tensor,
        prev_motion: Tensor | None = None,
        prev_audio: Tensor | None = None,
    ) -> Tensor:
        """Add noise to clean motion and predict the target, for training.

        Args:
            motion: clean motion, shape (B, n, D).
            audio: audio features, shape (B, n, dim).
            step: diffusion step of each record, 1 to T, shape (B,), integer.
            noise: standard normal numbers, shape (B, n, D).
            without_audio: True for records whose audio is dropped (classifier-free guidance), shape (B,), bool.
            prev_motion: clean motion before the window, shape (B, P, D); None at the start of a recording.
            prev_audio: audio features before the window, shape (B, P, dim); None at the start of a recording.

        Returns:
            Prediction for the frames before and in the window, shape (B, P + n, D).
        """
        prev_motion, prev_audio = self._with_start(len(motion), prev_motion, prev_audio)
        audio = torch.where(without_audio[:, None, None], self.null_audio_feat, audio)
        noisy = self.diffusion_sched.add_noise(motion, noise, step)
        return self.denoise(noisy, audio, prev_motion, prev_audio, step)

    @torch.no_grad()
    def sample(
        self,
        audio: Tensor,
        *,
        prev_motion: Tensor | None = None,
        prev_audio: Tensor | None = None,
        noise: Tensor | None = None,
        cfg_scale: float | Sequence[float] = 1.0,
        steps: int | None = None,
        generator: Generators | None = None,
        sampler: Sampler = "ancestral",
        dynamic_threshold: tuple[float, float, float] | None = None,
        flexibility: float = 0.0,
        on_step: Callable[[int, Tensor], Any] | None = None,
    ) -> Tensor:
        """Sample the motion of one window.

        Args:
            audio: waveform, shape (B, samples), or audio features, shape (B, n, dim).
            prev_motion: last frames of the previous window, shape (B, P, D); None at the start.
            prev_audio: audio features of these frames, shape (B, P, dim); None at the start.
            noise: start x_T, shape (B, n, D), or all draws, shape (draws, B, n, D): x_T, then one per ancestral step
                except the last.
            cfg_scale: weight of classifier-free guidance, for the batch or per record; 1 disables guidance, which
                halves the time.
            steps: number of steps. `ddim` spreads them over the trained schedule; `ancestral` builds a new schedule
                of this length, which suits only networks trained with it. None uses the trained schedule.
            generator: source of the draws not given in `noise`, see `draw_noise`.
            sampler: `ancestral` (adds noise at every step) or `ddim` (deterministic except for x_T).
            dynamic_threshold: (ratio, low, high). Before guidance, predictions of a record are clamped to this
                quantile of their absolute values, itself clamped to [low, high].
            flexibility: deviation of the ancestral noise, see `DiffusionSchedule.sigma`.
            on_step: callback that receives each visited step, T to 0, and the motion at this step.

        Returns:
            Motion, shape (B, n, D), float32.

        Raises:
            ConfigError: `diffusion_steps`, `sampler_unknown`.
        """
        if audio.ndim == 2:
            audio = self.encode(audio)
        prev_motion, prev_audio = self._with_start(len(audio), prev_motion, prev_audio)
        predict = self._predictor(audio, prev_motion, prev_audio, cfg_scale, dynamic_threshold)

        schedule = self.diffusion_sched
        if sampler == "ancestral":
            if steps is not None and steps != schedule.n_steps:
                schedule = DiffusionSchedule(steps, self.config.diff_schedule).to(audio.device)
            visited = list(range(schedule.n_steps, -1, -1))
        elif sampler == "ddim":
            visited = schedule.subsequence(schedule.n_steps if steps is None else steps)
        else:
            raise ConfigError("sampler_unknown", f"sampler: found {sampler!r}; expected ancestral or ddim: choose one")

        shape = (len(audio), self.config.n_motions, self.config.motion_feat_dim)
        draws = noise_sequence(shape, audio.device, noise, generator)
        x = next(draws)

        for step, next_step in pairwise(visited):
            if on_step:
                on_step(step, x)
            prediction = predict(x, step)

            if sampler == "ancestral":
                step_noise = next(draws) if step > 1 else None
                x = schedule.ancestral_step(x, prediction, step_noise, step, self.config.target, flexibility)
            else:
                clean = prediction
                if self.config.target == "noise":
                    clean = schedule.clean_from_noise(x, prediction, step)
                x = schedule.ddim_step(x, clean, step, next_step)

        if on_step:
            on_step(0, x)
        return x

    def _with_start(self, batch: int, prev_motion: Tensor | None, prev_audio: Tensor | None) -> tuple[Tensor, Tensor]:
        """Replace missing frames before the window by the learned start of a recording."""
        if prev_motion is None:
            prev_motion = self.start_motion_feat.expand(batch, -1, -1)
        if prev_audio is None:
            prev_audio = self.start_audio_feat.expand(batch, -1, -1)
        return prev_motion, prev_audio

    def _predictor(
        self,
        audio: Tensor,
        prev_motion: Tensor,
        prev_audio: Tensor,
        cfg_scale: float | Sequence[float],
        dynamic_threshold: tuple[float, float, float] | None,
    ) -> Callable[[Tensor, int], Tensor]:
        """Return the network as a function of noisy motion and step; precompute what all steps share."""
        scale = torch.as_tensor(cfg_scale, dtype=torch.float32, device=audio.device).reshape(-1, 1, 1)
        guided = bool((scale != 1).any())
        dtype = self.start_motion_feat.dtype
        if guided:  # each record without and with its audio; both know the previous audio
            audio = torch.cat([self.null_audio_feat.expand_as(audio), audio])
            prev_audio = torch.cat([prev_audio] * 2)
        context = self.denoising_net.audio_context(audio.to(dtype), prev_audio.to(dtype))
        prev_motion = prev_motion.to(dtype)

        def predict(x: Tensor, step: int) -> Tensor:
            steps = torch.full((1,), step, device=x.device)
            prediction = self.denoising_net(x.to(dtype), context, prev_motion, steps)[:, -x.shape[1] :].float()

            if dynamic_threshold is not None:
                ratio, low, high = dynamic_threshold
                limit = prediction.abs().flatten(1).quantile(ratio, dim=1).clamp(low, high)[:, None, None]
                prediction = prediction.clamp(-limit, limit)
            if not guided:
                return prediction

            without, with_audio = prediction.chunk(2)
            return without + scale * (with_audio - without)

        return predict
