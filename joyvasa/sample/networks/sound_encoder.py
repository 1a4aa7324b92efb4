"""Sound encoder of the compact networks: encodes a mel spectrogram at 50 frames per second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.media.mel import triangular_filters
from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.networks.speech_encoder import SAMPLE_RATE, random_spans, resample_frames

WINDOW, HOP, SPECTRUM = 400, 160, 512  # samples: 25 ms every 10 ms, padded for the Fourier transform
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
POWER_FLOOR = 1e-9  # added to powers of a signal in [-1, 1]
LEVEL_QUANTILE = 0.95  # quantile of the frames' power that is the level of a recording
MIN_LEVEL = 0.003  # minimum level as root mean square, so that silence is not amplified
LOG_RANGE = 12.0  # log powers are clamped to this range below the level (52 dB)
LOG_SCALE = 4.0  # approximate standard deviation of log powers
MAX_HIDDEN_BANDS = 12  # hidden in training


@dataclass(frozen=True, kw_only=True)
class CompactSoundEncoderConfig(NetworkConfig):
    """Sizes; the properties are those of `SpeechEncoderConfig`."""

    hidden_size: int = 128
    mel_bands: int = 64
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)  # one per block; their receptive field is 0.84 s to each side

    @property
    def stride(self) -> int:
        """Return the number of samples between frames."""
        return 2 * HOP

    @property
    def receptive_field(self) -> int:
        """Return the number of samples in the two spectra of a frame."""
        return WINDOW + HOP

    @property
    def frames_per_second(self) -> float:
        """Return the frame rate."""
        return SAMPLE_RATE / self.stride


class TemporalBlock(nn.Module):
    """Depthwise convolution over frames and two linear layers, with a shortcut (ConvNeXt, Liu et al. 2022)."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        reach = kernel // 2 * dilation
        self.mix = nn.Conv1d(width, width, kernel, padding=reach, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (B, T, width)."""
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)
        return x + self.shrink(F.gelu(self.grow(self.norm(mixed))))


class CompactSoundEncoder(nn.Module):
    """Encoder with the interface of `SpeechEncoder`."""

    window: Tensor  # (WINDOW,)
    mel: Tensor  # (SPECTRUM / 2 + 1, bands)

    def __init__(self, config: CompactSoundEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size

        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel", mel_filterbank(config.mel_bands), persistent=False)
        # Training of the motion generator freezes the encoder's module of this name.
        self.feature_extractor = nn.ModuleDict(
            {
                "enter": nn.Conv1d(config.mel_bands, width, 2, stride=2),
                "blocks": nn.Sequential(
                    *(TemporalBlock(width, config.kernel, dilation) for dilation in config.dilations)
                ),
                "norm": nn.LayerNorm(width),
            }
        )

    def forward(self, waveform: Tensor, *, frames_per_second: float, n_frames: int | None = None) -> Tensor:
        """Compute hidden states.

        Args:
            waveform: 16 kHz mono audio in [-1, 1], shape (B, samples).
            frames_per_second: frame rate of the result.
            n_frames: number of frames of the result; None uses the duration of the audio.

        Returns:
            Hidden states, shape (B, n_frames, hidden_size).
        """
        with full_precision(waveform):
            x = self._spectra(waveform.float())  # (B, T, bands)
        if self.training:
            x = _hide_spans(x)

        layers = self.feature_extractor
        x = layers["enter"](x.transpose(1, 2)).transpose(1, 2)  # (B, T / 2, width)
        x = layers["norm"](layers["blocks"](x))  # (B, T / 2, width)

        rate = self.config.frames_per_second
        x = resample_frames(x.transpose(1, 2), from_hz=rate, to_hz=frames_per_second, n_frames=n_frames)
        return x.transpose(1, 2)

    def _spectra(self, waveform: Tensor) -> Tensor:
        """Compute log powers relative to the level of the recording; map (B, samples) to (B, T, bands)."""
        frames = waveform.unfold(-1, WINDOW, HOP) * self.window  # (B, T, WINDOW)
        powers = torch.fft.rfft(frames, SPECTRUM).abs().square() / WINDOW
        log_powers = (powers @ self.mel + POWER_FLOOR).log()

        frame_powers = frames.square().mean(-1)  # (B, T)
        level = frame_powers.quantile(LEVEL_QUANTILE, dim=-1).clamp(min=MIN_LEVEL**2).log()  # (B,)
        return (log_powers - level[:, None, None]).clamp(min=-LOG_RANGE) / LOG_SCALE


def mel_filterbank(bands: int) -> Tensor:
    """Return triangular filters, evenly spaced on the mel scale, shape (SPECTRUM / 2 + 1, bands).

    The scale is 2595 log10(1 + f / 700) (D. O'Shaughnessy, 1987, "Speech communication").
    """
    lowest, highest = (2595 * torch.log10(torch.tensor(1 + f / 700)) for f in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (torch.linspace(float(lowest), float(highest), bands + 2) / 2595) - 1)
    hertz = torch.linspace(0, SAMPLE_RATE / 2, SPECTRUM // 2 + 1)
    return torch.from_numpy(triangular_filters(edges.numpy(), hertz.numpy())).T.contiguous()


def _hide_spans(x: Tensor) -> Tensor:
    """Hide spans of time and of bands (SpecAugment, Park et al. 2019)."""
    batch, n_frames, bands = x.shape
    hidden_frames = random_spans(batch, n_frames).to(x.device)[..., None]
    width, first = torch.randint(MAX_HIDDEN_BANDS + 1, (batch, 1)), torch.randint(bands, (batch, 1))
    indices = torch.arange(bands)
    hidden_bands = ((indices >= first) & (indices < first + width)).to(x.device)[:, None]
    return x.masked_fill(hidden_frames | hidden_bands, 0.0)
