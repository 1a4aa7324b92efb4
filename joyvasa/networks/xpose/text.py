"""Prompts of X-Pose and their scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompts:
    """Text embeddings of prompts by CLIP ViT-B/32.

    The published code pads prompts to fixed numbers of rows. Padding only costs time, so it is best omitted.
    """

    instances: Tensor  # embeddings of object names such as "face", shape (n, 512)
    keypoints: Tensor  # embeddings of keypoint names, shape (k, 512)
    instances_used: Tensor | None = None  # False for padding of `instances`, shape (n,), bool; None without padding
    keypoints_used: Tensor | None = None  # False for padding of `keypoints`, shape (k,), bool; None without padding


@dataclass(frozen=True, eq=False)
class Text:
    """Instance prompts, encoded together with the image."""

    tokens: Tensor  # one token per prompt, shape (B, n, dim)
    used: Tensor | None  # False for padding, shape (n,), bool; None without padding

    @property
    def padding(self) -> Tensor | None:
        """Return True for padding, shape (B, n), bool; None without padding."""
        return None if self.used is None else (~self.used).expand(self.tokens.shape[:2])

    def logits(self, x: Tensor) -> Tensor:
        """Score queries for each prompt; map (B, Q, dim) to (B, Q, n)."""
        logits = (x @ self.tokens.transpose(1, 2)).float()
        return logits if self.used is None else logits.masked_fill(~self.used, -math.inf)

    def select_best(self, x: Tensor, count: int) -> Tensor:
        """Return the indices of the queries with the best scores; map (B, Q, dim) to (B, count), best first."""
        scores = self.logits(x).amax(-1)
        return scores.topk(min(count, scores.shape[1]), dim=1).indices
