"""Speech encoder: HuBERT or wav2vec 2.0 hidden states at the frame rate of the motion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.networks.config import NetworkConfig

SAMPLE_RATE = 16_000  # Hz; of the sound that HuBERT and wav2vec 2.0 are trained on
# SpecAugment along time as HuBERT and wav2vec 2.0 are trained: share of the frames that is hidden,
# frames of one hidden span, and the least number of spans.
HIDDEN_SHARE, SPAN_FRAMES, MIN_SPANS = 0.05, 10, 2


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig(NetworkConfig):
    """Sizes; field names as in the `config.json` of a published encoder.

    The defaults are those of HuBERT base and of wav2vec 2.0 base, which are one structure with
    different weights.

    Raises:
        ConfigError: `bad_network_size`, also where the convolutions are not described alike.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    num_conv_pos_embeddings: int = 128  # kernel of the convolution that encodes the position
    num_conv_pos_embedding_groups: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)
        if len(set(lengths)) > 1:
            raise ConfigError(
                "bad_network_size",
                f"SpeechEncoderConfig: conv_dim, conv_kernel and conv_stride describe {lengths[0]}, {lengths[1]} and "
                f"{lengths[2]} layers; expected the same number: give each convolution a width, kernel and stride",
            )

    @property
    def stride(self) -> int:
        """Samples from one frame of the convolutions to the next."""
        return math.prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the convolutions sees."""
        field = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    @property
    def frames_per_second(self) -> float:
        """Of the convolutions."""
        return SAMPLE_RATE / self.stride


class SpeechEncoder(nn.Module):
    """Convolutions, feature projection and transformer of HuBERT or wav2vec 2.0.

    The layers come from `transformers`, built from sizes and never downloaded. The frames are
    resampled in time before the transformer, which FaceFormer introduced and JoyVASA kept.
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
        """Hidden states of the last layer.

        Args:
            waveform: shape (batch, samples), 16 kHz mono in [-1, 1], not normalised.
            frames_per_second: of the result.
            n_frames: frames of the result; None for as many as the sound lasts.

        Returns:
            shape (batch, n_frames, hidden_size).
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
    """Frames at another rate by linear interpolation.

    Args:
        features: shape (batch, channels, frames).
        from_hz: rate of `features`.
        to_hz: rate of the result.
        n_frames: frames of the result; what lasts longer is cut first. None keeps the duration.

    Returns:
        shape (batch, channels, n_frames).
    """
    if n_frames is None:
        n_frames = int(features.shape[-1] / from_hz * to_hz)
    else:
        features = features[..., : round(n_frames * from_hz / to_hz)]
    return F.interpolate(features, size=n_frames, mode="linear", align_corners=False)


def pad_to_frames(waveform: Tensor, *, stride: int = 320, receptive_field: int = 400) -> Tensor:
    """Lengthens a waveform so that the convolutions give one frame per `stride` samples.

    Without it the last receptive field reaches beyond the end and one frame is missing. The
    sound is mirrored at both ends.

    Args:
        waveform: shape (batch, samples).
        stride: samples per frame of the convolutions.
        receptive_field: samples that one frame sees.

    Returns:
        shape (batch, whole strides + receptive field - stride), or one sample more where an odd number is
        missing; longer input is returned unchanged.
    """
    n_samples = waveform.shape[-1]
    wanted = n_samples // stride * stride + receptive_field - stride
    side = -((n_samples - wanted) // 2)  # rounded up
    if side < 0:
        return waveform
    for _ in range(2):  # the second pass mirrors what the first one added, as in training
        waveform = F.pad(waveform, (side // 2, side // 2), mode="reflect")
    return F.pad(waveform, (side % 2, side % 2), mode="replicate")


def random_spans(batch: int, n_frames: int) -> Tensor:
    """Frames that training hides from the transformer, shape (batch, n_frames), bool, True where hidden."""
    length = min(SPAN_FRAMES, n_frames)
    expected = HIDDEN_SHARE * n_frames / length
    n_spans = max(MIN_SPANS, int(expected + torch.rand(()).item()))
    n_starts = n_frames - length + 1
    starts = torch.rand(batch, n_starts).topk(min(n_spans, n_starts)).indices  # without repetition
    frames = (starts[..., None] + torch.arange(length)).flatten(1)
    return torch.zeros(batch, n_frames, dtype=torch.bool).scatter_(1, frames, True)


def _transformers_model(config: SpeechEncoderConfig) -> Any:
    """HuBERT of `transformers` with fresh weights; those of wav2vec 2.0 fit it as well."""
    # Here because the import takes seconds.
    from transformers import HubertConfig, HubertModel

    options: dict[str, Any] = asdict(config) | {
        "num_feat_extract_layers": len(config.conv_dim),
        "attn_implementation": "eager",  # the same numbers in every release of transformers
    }
    return HubertModel(HubertConfig(**options))
