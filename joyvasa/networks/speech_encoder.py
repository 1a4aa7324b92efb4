"""Speech encoder: HuBERT or wav2vec 2.0 hidden states at the frame rate of the motion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.networks.config import NetworkConfig, size_error

SAMPLE_RATE = 16_000  # Hz, of the audio that HuBERT and wav2vec 2.0 are trained on
# SpecAugment along time, as in the training of HuBERT and wav2vec 2.0.
HIDDEN_SHARE, SPAN_FRAMES, MIN_SPANS = 0.05, 10, 2  # share of hidden frames, frames per span, minimum number of spans


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig(NetworkConfig):
    """Sizes, with the field names of a published `config.json`.

    The defaults are those of HuBERT base and wav2vec 2.0 base, which share one architecture.

    Raises:
        ConfigError: `bad_network_size`, also if the `conv_*` fields differ in length, or if heads or groups do not
            divide the width.
    """

    hidden_size: int = 768  # width of the transformer
    num_hidden_layers: int = 12  # layers of the transformer
    num_attention_heads: int = 12  # attention heads of a layer
    intermediate_size: int = 3072  # width of the feed-forward network of a layer
    conv_dim: tuple[int, ...] = (512,) * 7  # channels of each convolution over the waveform
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)  # kernel of each convolution
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)  # stride of each convolution
    num_conv_pos_embeddings: int = 128  # kernel size of the convolution that encodes positions
    num_conv_pos_embedding_groups: int = 16  # groups of this convolution

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)
        if len(set(lengths)) > 1:
            raise ConfigError(
                "bad_network_size",
                f"SpeechEncoderConfig: conv_dim, conv_kernel and conv_stride describe {lengths[0]}, {lengths[1]} and "
                f"{lengths[2]} layers; expected the same number: give each convolution a width, kernel and stride",
            )
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                expected = f"a divisor of hidden_size={self.hidden_size}"
                raise size_error(self, name, str(getattr(self, name)), expected)

    @property
    def stride(self) -> int:
        """Return the number of samples between frames of the convolutions."""
        return math.prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Return the number of samples that affect one frame of the convolutions."""
        field = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    @property
    def frames_per_second(self) -> float:
        """Return the frame rate of the convolutions."""
        return SAMPLE_RATE / self.stride


class SpeechEncoder(nn.Module):
    """Convolutions, feature projection and transformer of HuBERT or wav2vec 2.0.

    The layers come from `transformers` and are built from sizes, without a download. As in FaceFormer and JoyVASA,
    frames are resampled in time before the transformer.
    """

    def __init__(self, config: SpeechEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or SpeechEncoderConfig()
        model = _transformers_model(self.config)
        self.feature_extractor = model.feature_extractor
        self.feature_projection = model.feature_projection
        self.encoder = model.encoder
        self.masked_spec_embed = nn.Parameter(torch.rand(self.config.hidden_size))

    def forward(self, waveform: Tensor, *, frames_per_second: float, n_frames: int | None = None) -> Tensor:
        """Compute the hidden states of the last layer.

        Args:
            waveform: 16 kHz mono audio in [-1, 1], not normalized, shape (batch, samples).
            frames_per_second: frame rate of the result.
            n_frames: number of frames of the result; None uses the duration of the audio.

        Returns:
            Hidden states, shape (batch, n_frames, hidden_size).
        """
        x = waveform[:, None]  # (B, 1, samples)
        for layer in self.feature_extractor.conv_layers:
            x = layer(x)  # (B, 512, about samples / 320)
        x = resample_frames(x, from_hz=self.config.frames_per_second, to_hz=frames_per_second, n_frames=n_frames)
        x = self.feature_projection(x.transpose(1, 2))  # (B, n_frames, 768)

        if self.training:
            hidden = random_spans(x.shape[0], x.shape[1]).to(x.device)
            x = torch.where(hidden[..., None], self.masked_spec_embed.to(x.dtype), x)
        return self.encoder(x).last_hidden_state


def resample_frames(features: Tensor, *, from_hz: float, to_hz: float, n_frames: int | None = None) -> Tensor:
    """Resample frames by linear interpolation.

    Args:
        features: features, shape (batch, channels, frames).
        from_hz: frame rate of `features`.
        to_hz: frame rate of the result.
        n_frames: number of frames of the result; longer input is truncated first. None keeps the duration.

    Returns:
        Features, shape (batch, channels, n_frames).
    """
    if n_frames is None:
        n_frames = int(features.shape[-1] / from_hz * to_hz)
    else:
        features = features[..., : round(n_frames * from_hz / to_hz)]
    return F.interpolate(features, size=n_frames, mode="linear", align_corners=False)


def pad_to_frames(waveform: Tensor, *, stride: int = 320, receptive_field: int = 400) -> Tensor:
    """Pad a waveform so that the convolutions produce one frame per `stride` samples.

    Without padding the last receptive field extends beyond the end and one frame is missing. The audio is mirrored at
    both ends.

    Args:
        waveform: audio, shape (batch, samples).
        stride: samples per frame of the convolutions.
        receptive_field: samples that affect one frame.

    Returns:
        Audio, shape (batch, whole strides + receptive_field - stride), or one sample longer if an odd number is
        missing. Longer input is returned unchanged.
    """
    n_samples = waveform.shape[-1]
    target = n_samples // stride * stride + receptive_field - stride
    side = -((n_samples - target) // 2)  # rounded up
    if side < 0:
        return waveform
    for _ in range(2):  # as in training, the second pass mirrors the padding of the first
        waveform = F.pad(waveform, (side // 2, side // 2), mode="reflect")
    return F.pad(waveform, (side % 2, side % 2), mode="replicate")


def random_spans(batch: int, n_frames: int) -> Tensor:
    """Draw the frames that training hides from the transformer, shape (batch, n_frames), bool, True if hidden."""
    length = min(SPAN_FRAMES, n_frames)
    expected = HIDDEN_SHARE * n_frames / length
    n_spans = max(MIN_SPANS, int(expected + torch.rand(()).item()))

    n_starts = n_frames - length + 1
    starts = torch.rand(batch, n_starts).topk(min(n_spans, n_starts)).indices  # drawn without replacement
    frames = (starts[..., None] + torch.arange(length)).flatten(1)
    return torch.zeros(batch, n_frames, dtype=torch.bool).scatter_(1, frames, True)


def _transformers_model(config: SpeechEncoderConfig) -> Any:
    """Build the HuBERT of `transformers` with random weights; weights of wav2vec 2.0 also fit."""
    # Imported here because this takes seconds.
    from transformers import HubertConfig, HubertModel

    options: dict[str, Any] = asdict(config) | {
        "num_feat_extract_layers": len(config.conv_dim),
        "attn_implementation": "eager",  # bit-identical across releases of transformers
    }
    return HubertModel(HubertConfig(**options))
