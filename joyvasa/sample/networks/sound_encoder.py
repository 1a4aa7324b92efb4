"""Sound encoder of the compact family: what a mel spectrogram says about the mouth, at 50 frames per second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.media.mel import triangular_filters
from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.networks.speech_encoder import SAMPLE_RATE, random_spans, resample_frames

WINDOW, HOP, SPECTRUM = 400, 160, 512  # samples of a spectrum: 25 ms every 10 ms, padded for the transform
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
FLOOR = 1e-9  # added to powers of a signal in [-1, 1]
LOUD_SHARE = 0.95  # of the frames are not louder than what counts as the level of a recording
QUIETEST = 0.003  # root mean square of the least level: softer recordings count as silence, and are not made loud
DEPTH = 12.0  # what is softer than the level by more than this, in logarithms of powers (52 dB), is cut off
SPREAD = 4.0  # of logarithms of powers, about their standard deviation
HIDDEN_BANDS = 12  # at most, in training


@dataclass(frozen=True, kw_only=True)
class CompactSoundEncoderConfig(NetworkConfig):
    """Sizes. The rest describes what comes out as `SpeechEncoderConfig` does."""

    hidden_size: int = 128
    mel_bands: int = 64
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)  # of the blocks; together they see 0.84 s to both sides

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return 2 * HOP

    @property
    def receptive_field(self) -> int:
        """Samples that the two spectra of one frame see."""
        return WINDOW + HOP

    @property
    def frames_per_second(self) -> float:
        """Of the frames."""
        return SAMPLE_RATE / self.stride


class TemporalBlock(nn.Module):
    """Depthwise convolution in time, then two linear layers, beside a shortcut (ConvNeXt, Liu et al. 2022).

    Args:
        width: channels.
        kernel: frames that the convolution sees.
        dilation: frames between them.
    """

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        reach = kernel // 2 * dilation
        self.mix = nn.Conv1d(width, width, kernel, padding=reach, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)
        return x + self.shrink(F.gelu(self.grow(self.norm(mixed))))


class CompactSoundEncoder(nn.Module):
    """Waveform -> hidden states; is called like `SpeechEncoder`.

    Args:
        config: sizes.
    """

    window: Tensor  # (WINDOW,)
    mel: Tensor  # (SPECTRUM / 2 + 1, bands)

    def __init__(self, config: CompactSoundEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel", mel_filterbank(config.mel_bands), persistent=False)
        # Called so because training of the motion generator holds the part of an encoder that is called so.
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
        """Hidden states.

        Args:
            waveform: shape (B, samples), 16 kHz mono in [-1, 1].
            frames_per_second: of the result.
            n_frames: frames of the result; None for as many as the sound lasts.

        Returns:
            shape (B, n_frames, hidden_size).
        """
        with full_precision(waveform):
            x = self._spectra(waveform.float())  # (B, T, bands)
        if self.training:
            x = _with_hidden_parts(x)
        layers = self.feature_extractor
        x = layers["enter"](x.transpose(1, 2)).transpose(1, 2)  # (B, T / 2, width)
        x = layers["norm"](layers["blocks"](x))
        rate = self.config.frames_per_second
        x = resample_frames(x.transpose(1, 2), from_hz=rate, to_hz=frames_per_second, n_frames=n_frames)
        return x.transpose(1, 2)

    def _spectra(self, waveform: Tensor) -> Tensor:
        """Logarithms of powers against the level of the recording, (B, samples) -> (B, T, bands)."""
        frames = waveform.unfold(-1, WINDOW, HOP) * self.window  # (B, T, WINDOW)
        powers = torch.fft.rfft(frames, SPECTRUM).abs().square() / WINDOW
        logs = (powers @ self.mel + FLOOR).log()
        whole = frames.square().mean(-1)  # (B, T)
        level = whole.quantile(LOUD_SHARE, dim=-1).clamp(min=QUIETEST**2).log()  # (B,)
        return (logs - level[:, None, None]).clamp(min=-DEPTH) / SPREAD


def mel_filterbank(bands: int) -> Tensor:
    """Triangles that are evenly spread on the mel scale, shape (SPECTRUM / 2 + 1, bands).

    The scale is 2595 log10(1 + f / 700) (D. O'Shaughnessy, 1987, "Speech communication").

    Args:
        bands: how many.
    """
    lowest, highest = (2595 * torch.log10(torch.tensor(1 + f / 700)) for f in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (torch.linspace(float(lowest), float(highest), bands + 2) / 2595) - 1)
    hertz = torch.linspace(0, SAMPLE_RATE / 2, SPECTRUM // 2 + 1)
    return torch.from_numpy(triangular_filters(edges.numpy(), hertz.numpy())).T.contiguous()


def _with_hidden_parts(x: Tensor) -> Tensor:
    """Hides spans of time and of bands, as SpecAugment (Park et al. 2019) does."""
    batch, n_frames, bands = x.shape
    spans = random_spans(batch, n_frames).to(x.device)[..., None]
    width, first = torch.randint(HIDDEN_BANDS + 1, (batch, 1)), torch.randint(bands, (batch, 1))
    numbers = torch.arange(bands)
    hidden = ((numbers >= first) & (numbers < first + width)).to(x.device)[:, None]
    return x.masked_fill(spans | hidden, 0.0)
