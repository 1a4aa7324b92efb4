"""Prompts of X-Pose, and how well queries fit them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompts:
    """Text embeddings of what is looked for, by CLIP ViT-B/32.

    The published code fills prompts up to fixed numbers of rows. Rows of padding change nothing but the time, so they
    are best left out.

    Args:
        instances: names of things, shape (n, 512), for example of "face".
        keypoints: names of their keypoints, shape (k, 512).
        instances_used: shape (n,), bool, False for padding; None if there is none.
        keypoints_used: the same for keypoints, shape (k,).
    """

    instances: Tensor
    keypoints: Tensor
    instances_used: Tensor | None = None
    keypoints_used: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Text:
    """Instance prompts that the encoder has seen together with the picture.

    Args:
        tokens: shape (B, n, dim).
        used: shape (n,), bool, False for padding; None if there is none.
    """

    tokens: Tensor
    used: Tensor | None

    @property
    def padding(self) -> Tensor | None:
        """Shape (B, n), bool, True for padding; None if there is none."""
        return None if self.used is None else (~self.used).expand(self.tokens.shape[:2])

    def logits(self, x: Tensor) -> Tensor:
        """How well each query fits each prompt: maps (B, Q, dim) to (B, Q, n)."""
        logits = (x @ self.tokens.transpose(1, 2)).float()
        return logits if self.used is None else logits.masked_fill(~self.used, -math.inf)

    def best(self, x: Tensor, count: int) -> Tensor:
        """Indices of the queries that fit any prompt best: maps (B, Q, dim) to (B, count), best first."""
        fits = self.logits(x).amax(-1)
        return fits.topk(min(count, fits.shape[1]), dim=1).indices
