"""Denoising network of the motion generator: a transformer decoder with one token per motion frame (JoyVASA)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.diffusion import MAX_STEPS

STEP_ROWS = MAX_STEPS + 1  # size of the step table; row 0 is clean motion
POSITION_ROWS = 600  # size of the position table in published files


class SinusoidTable(nn.Module):
    """Table of sines and cosines in the buffer `pe`, shape (1, rows, dim)."""

    pe: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid_table(rows, dim)[None])


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameters of `nn.MultiheadAttention`."""

    def __init__(self, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (batch, tokens, dim)."""
        projected = self.project(x)  # (B, L, 3 dim)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d)
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def project(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Apply rows of the input projection: `dim` rows each for queries, keys and values, in this order."""
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])


class AlignedAttention(SelfAttention):
    """Cross-attention in which token i attends to audio frame i only.

    A softmax over one entry is 1, so queries and keys have no effect and the attention is a linear map of the audio.
    Their parameters exist only to match the published files.
    """

    def forward(self, audio: Tensor) -> Tensor:
        """Return the shape of the input, (batch, tokens, dim)."""
        value = self.project(audio, slice(2 * audio.shape[-1], None))
        if self.training:  # dropout of attention weights drops whole heads of a token
            weight = F.dropout(value.new_ones(*value.shape[:2], self.heads, 1), self.dropout)
            value = (value.unflatten(-1, (self.heads, -1)) * weight).flatten(2)
        return self.out_proj(value)


class DecoderLayer(nn.Module):
    """Self-attention, audio and feed-forward, each with layer norm; names as in `nn.TransformerDecoderLayer`."""

    def __init__(self, dim: int, *, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(dim, heads=heads, dropout=dropout)
        self.multihead_attn = AlignedAttention(dim, heads=heads, dropout=dropout)
        self.linear1 = nn.Linear(dim, hidden)
        self.activation = nn.GELU()
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: tokens, shape (batch, tokens, dim).
            audio: output of the layer's `multihead_attn`, shape (k * batch, tokens, dim). With k > 1, `x` is repeated
                k times, after its self-attention.

        Returns:
            Tokens, shape of `audio`.
        """
        x = self.norm1(x + self.dropout(self.self_attn(x)))
        if len(audio) > len(x):
            x = x.repeat(len(audio) // len(x), 1, 1)
        x = self.norm2(x + self.dropout(audio))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x))))))


class DenoisingNetwork(nn.Module):
    """Predict clean motion, or the noise, of a window from noisy motion, audio and the previous frames.

    Args:
        motion_dim: numbers per motion frame.
        n_tokens: number of frames before and in the window.
        dim: width of the transformer and of the audio features.
        layers: number of transformer layers.
        heads: number of attention heads.
        hidden: width of the feed-forward layers.
        dropout: dropout probability in training.
        constant_row: row of the position table added to all tokens; None adds row i to token i.
    """

    alignment_mask: Tensor

    def __init__(
        self,
        *,
        motion_dim: int,
        n_tokens: int,
        dim: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float,
        constant_row: int | None,
    ) -> None:
        super().__init__()
        self.constant_row = constant_row
        # Stored in published files; `AlignedAttention` has the same effect.
        self.register_buffer("alignment_mask", alignment_mask(n_tokens, n_tokens))
        self.TE = SinusoidTable(STEP_ROWS, dim)
        self.PE = SinusoidTable(POSITION_ROWS, dim)
        self.diff_step_map = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.feature_proj = nn.Linear(motion_dim, dim)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(
            DecoderLayer(dim, heads=heads, hidden=hidden, dropout=dropout) for _ in range(layers)
        )
        self.motion_dec = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, motion_dim))

    def audio_context(self, audio: Tensor, prev_audio: Tensor) -> list[Tensor]:
        """Compute the cross-attention of each layer, which is the same at every diffusion step.

        Args:
            audio: audio features of the window, shape (batch, n, dim).
            prev_audio: audio features before the window, shape (batch, P, dim).

        Returns:
            One tensor per layer, shape (batch, P + n, dim).
        """
        frames = torch.cat([prev_audio, audio], dim=1)
        return [layer.multihead_attn(frames) for layer in self.transformer.layers]  # pyright: ignore

    def forward(self, motion: Tensor, context: Sequence[Tensor], prev_motion: Tensor, step: Tensor) -> Tensor:
        """Predict at one diffusion step.

        Args:
            motion: noisy motion of the window, shape (batch, n, motion_dim).
            context: result of `audio_context` for k * batch records. With k > 1, the motion is combined with k
                different audios, and everything before the audio is computed once.
            prev_motion: clean motion before the window, shape (batch, P, motion_dim).
            step: diffusion step, shape (batch,) or (1,), integer.

        Returns:
            Prediction for the frames before and in the window, shape (k * batch, P + n, motion_dim).
        """
        tokens = torch.cat([prev_motion, motion], dim=1)  # (B, P + n, D)
        row = self.constant_row
        position = self.PE.pe[:, : tokens.shape[1]] if row is None else self.PE.pe[:, row : row + 1]
        x = self.feature_proj(tokens) + position + self.diff_step_map(self.TE.pe[0, step])[:, None]  # (B, P + n, dim)

        for layer, audio in zip(self.transformer.layers, context, strict=True):  # pyright: ignore
            x = layer(x, audio)
        return self.motion_dec(x)  # (B, P + n, D)


def sinusoid_table(rows: int, dim: int) -> Tensor:
    """Return the position encoding of "Attention Is All You Need": sines in even columns, cosines in odd ones.

    Returns:
        Table, shape (rows, dim), float32.
    """
    # Exponents and angles are float32, as in the published tables. A float32 exponential differs between processors
    # by one unit in the last place, which is 3e-5 in row 600; rounded from float64, it is the same on all.
    exponent = torch.arange(0, dim, 2).float() * (-math.log(10_000.0) / dim)
    frequency = exponent.double().exp().float()
    angle = torch.arange(rows).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def alignment_mask(n_tokens: int, n_frames: int, *, frame_width: int = 1, expansion: int = 0) -> Tensor:
    """Return the attention mask that aligns motion frames with audio frames.

    Args:
        n_tokens: number of motion frames.
        n_frames: number of audio frames.
        frame_width: audio frames per motion frame.
        expansion: number of neighboring motion frames on each side whose audio a token may also attend to.

    Returns:
        Mask, shape (n_tokens, n_frames), bool, True where attention is blocked.
    """
    first = (torch.arange(n_tokens)[:, None] - expansion) * frame_width
    frame = torch.arange(n_frames)
    return (frame < first) | (frame >= first + (2 * expansion + 1) * frame_width)
