"""Denoising network of the motion generator: a transformer decoder with one token per motion frame (JoyVASA)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.diffusion import MAX_STEPS

STEP_ROWS = MAX_STEPS + 1  # of the table of diffusion steps; row 0 is clean motion
POSITION_ROWS = 600  # of the table of positions in published files


class SinusoidTable(nn.Module):
    """A table of sines and cosines as buffer `pe`, shape (1, rows, dim)."""

    pe: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid_table(rows, dim)[None])


class SelfAttention(nn.Module):
    """Multi-head attention of all tokens to all tokens; parameters as in `nn.MultiheadAttention`."""

    def __init__(self, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, tokens, dim) to the same shape."""
        projected = self.project(x)  # (B, L, 3 dim)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d)
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def project(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Apply rows of the input projection; queries, keys and values have `dim` rows each, in this order."""
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])


class AlignedAttention(SelfAttention):
    """Cross-attention in which token i may attend to audio frame i only.

    A softmax over one entry is 1, so queries and keys have no effect and the attention is a linear
    map of the audio. Their parameters exist because published files hold them.
    """

    def forward(self, audio: Tensor) -> Tensor:
        """Maps (batch, tokens, dim) to the same shape."""
        value = self.project(audio, slice(2 * audio.shape[-1], None))
        if self.training:  # dropout of attention weights: a token loses a whole head
            weight = F.dropout(value.new_ones(*value.shape[:2], self.heads, 1), self.dropout)
            value = (value.unflatten(-1, (self.heads, -1)) * weight).flatten(2)
        return self.out_proj(value)


class DecoderLayer(nn.Module):
    """Self-attention, audio, feed-forward, each followed by layer norm; names as in `nn.TransformerDecoderLayer`."""

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
        """One layer.

        Args:
            x: tokens, shape (batch, tokens, dim).
            audio: output of this layer's `multihead_attn`, like `x`; or for several times as many records, which are
                `x` over and over with other audio.
        """
        x = self.norm1(x + self.dropout(self.self_attn(x)))
        if len(audio) > len(x):
            x = x.repeat(len(audio) // len(x), 1, 1)
        x = self.norm2(x + self.dropout(audio))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x))))))


class DenoisingNetwork(nn.Module):
    """Predicts clean motion (or the noise) of a window from noisy motion, audio and the frames before.

    Args:
        motion_dim: numbers of a motion frame.
        n_tokens: frames that it sees: those before the window and those in it.
        dim: width of the transformer and of the audio features.
        layers: of the transformer.
        heads: of each attention.
        hidden: width of the feed-forward layers.
        dropout: in training.
        constant_row: add the position code of this row to all tokens; None for a row to each token.
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
        # Part of published files; `AlignedAttention` is what it means.
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
        """What each layer takes from the audio; it is the same at every diffusion step.

        Args:
            audio: features of the window, shape (batch, frames, dim).
            prev_audio: features before it, likewise.

        Returns:
            for each layer, shape (batch, tokens, dim).
        """
        frames = torch.cat([prev_audio, audio], dim=1)
        return [layer.multihead_attn(frames) for layer in self.transformer.layers]  # pyright: ignore

    def forward(self, motion: Tensor, context: Sequence[Tensor], prev_motion: Tensor, step: Tensor) -> Tensor:
        """The prediction at one diffusion step.

        Args:
            motion: noisy motion of the window, shape (batch, frames, motion_dim).
            context: of `audio_context`, for this batch or for a multiple of it: the same motion over and over, with
                other audio. What comes before the audio is then computed once.
            prev_motion: clean motion before the window, likewise.
            step: for each of the batch, shape (batch,), or for all, shape (1,).

        Returns:
            for the frames before and in the window, shape (batch of the context, tokens, motion_dim).
        """
        tokens = torch.cat([prev_motion, motion], dim=1)  # (B, P + n, D)
        row = self.constant_row
        position = self.PE.pe[:, : tokens.shape[1]] if row is None else self.PE.pe[:, row : row + 1]
        x = self.feature_proj(tokens) + position + self.diff_step_map(self.TE.pe[0, step])[:, None]  # (B, P + n, dim)
        for layer, audio in zip(self.transformer.layers, context, strict=True):  # pyright: ignore
            x = layer(x, audio)
        return self.motion_dec(x)  # (B, P + n, D)


def sinusoid_table(rows: int, dim: int) -> Tensor:
    """Position code of "Attention Is All You Need": sines in even columns, cosines in odd ones.

    Returns:
        shape (rows, dim), float32.
    """
    # Exponents and angles in float32, as the published tables were made. Exponentials of float32 differ between
    # processors by a unit in the last place, which is 3e-5 in row 600; rounded from float64 they are the same on all.
    exponent = torch.arange(0, dim, 2).float() * (-math.log(10_000.0) / dim)
    frequency = exponent.double().exp().float()
    angle = torch.arange(rows).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def alignment_mask(n_tokens: int, n_frames: int, *, frame_width: int = 1, expansion: int = 0) -> Tensor:
    """Which audio frames a token must not attend to.

    Args:
        n_tokens: motion frames.
        n_frames: audio frames.
        frame_width: audio frames of one motion frame.
        expansion: motion frames to either side whose audio a token sees, too.

    Returns:
        shape (n_tokens, n_frames), bool, True where attention is blocked.
    """
    first = (torch.arange(n_tokens)[:, None] - expansion) * frame_width
    frame = torch.arange(n_frames)
    return (frame < first) | (frame >= first + (2 * expansion + 1) * frame_width)
