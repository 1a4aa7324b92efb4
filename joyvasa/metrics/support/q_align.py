"""Scores of Q-Align: the probabilities of five words as the answer to a question (Wu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor

from joyvasa.errors import ModelError
from joyvasa.media.image import Image
from joyvasa.networks.metrics.mplug_owl2 import IMAGE_TOKEN, MplugOwl2

Subject = Literal["image", "video"]
Tokenize = Callable[[str], list[int]]

# Some copies of the published code end with "The image of the quality is". The model was trained with this order of
# words, which its scorers also use; the results differ.
PROMPT = "USER: How would you rate the quality of this {}?\n<|image|>\nASSISTANT: The quality of the {} is"
LEVELS = ("excellent", "good", "fair", "poor", "bad")
WEIGHTS = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the levels; the published weights 5, 4, 3, 2, 1 give 4 s + 1 for score s

# CLIP's mean and standard deviation of red, green and blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
BORDER = tuple(int(255 * value) for value in MEAN)  # padding color: (122, 116, 104)


def level_score(logits: Tensor) -> Tensor:
    """Convert logits in the order of `LEVELS`, (..., 5), to scores from 0 (bad) to 1 (excellent), (...), float64."""
    weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=logits.device)
    return logits.double().softmax(-1) @ weights


def preprocess_frame(frame: Image, side: int) -> np.ndarray:
    """Pad a picture, uint8 RGB (height, width, 3), to a square, scale and normalize it: float32 (3, side, side)."""
    height, width = frame.shape[:2]
    longer = max(height, width)
    square = np.empty((longer, longer, 3), np.uint8)
    square[:] = BORDER
    top, left = (longer - height) // 2, (longer - width) // 2
    square[top : top + height, left : left + width] = frame
    small = Pictures.fromarray(square).resize((side, side), Pictures.Resampling.BICUBIC)
    pixels = (np.asarray(small, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class Question:
    """A tokenized prompt."""

    token_ids: tuple[int, ...]

    @staticmethod
    def about(subject: Subject, tokenize: Tokenize) -> Question:
        """Tokenize the prompt for a picture or a video."""
        before, after = (tokenize(piece) for piece in PROMPT.format(subject, subject).split("<|image|>"))
        return Question((*before, IMAGE_TOKEN, *after[1:]))


class QAlign:
    """Rates pictures and videos with the Q-Align model.

    Args:
        model: model in eval mode.
        tokenize: function from text to tokens that starts with the begin-of-sequence token.

    Raises:
        ModelError: `weights_mismatch`, the levels are not five distinct tokens of the model.
    """

    def __init__(self, model: MplugOwl2, tokenize: Tokenize) -> None:
        self.model = model
        self.questions = {subject: Question.about(subject, tokenize) for subject in ("image", "video")}
        words = [tokenize(level)[1:2] for level in LEVELS]
        self.level_ids = [token for word in words for token in word]
        vocabulary = model.config.language.vocab_size
        if len(set(self.level_ids)) != len(LEVELS) or not all(0 <= token < vocabulary for token in self.level_ids):
            raise ModelError(
                "weights_mismatch",
                f"Q-Align: the tokenizer gives the levels the tokens {self.level_ids}; expected five different ones "
                f"below {vocabulary}: use the tokenizer that came with the weights",
            )

    @property
    def max_video_frames(self) -> int:
        """Maximum number of frames that fit into one prompt."""
        model = self.model
        n_words = len(self.questions["video"].token_ids) - 1
        return max(2, (model.config.language.max_position_embeddings - n_words) // model.tokens_per_image)

    @torch.inference_mode()
    def encode_frames(self, frames: Sequence[Image]) -> Tensor:
        """Encode pictures as tokens for either question, shape (n, tokens, width)."""
        weight = self.model.lm_head.weight
        pixels = np.stack([preprocess_frame(frame, self.model.config.vision.image_size) for frame in frames])
        return self.model.encode_images(torch.from_numpy(pixels).to(weight.device, weight.dtype))

    @torch.inference_mode()
    def image_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the levels for each picture, float32, shape (n, 5)."""
        return self._logits("image", tokens)

    @torch.inference_mode()
    def video_logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the levels for a video of n frames, float32, shape (5,)."""
        return self._logits("video", tokens.flatten(0, 1)[None])[0]

    def _logits(self, subject: Subject, image_tokens: Tensor) -> Tensor:
        last = self.model.encode_text(self.questions[subject].token_ids, image_tokens)[:, -1]
        return self.model.lm_head(last)[:, self.level_ids].float()
