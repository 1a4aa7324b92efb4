"""The whole of mPLUG-Owl2: sees pictures, then reads text around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.abstractor import VisualAbstractor
from joyvasa.networks.metrics.mplug_owl2.config import MplugOwl2Config
from joyvasa.networks.metrics.mplug_owl2.language import LlamaLayer, RmsNorm, TokenIndices, rotary_tables
from joyvasa.networks.metrics.mplug_owl2.vision import VisionTransformer

IMAGE_TOKEN = -200  # stands in a text for all pictures


class MplugOwl2(nn.Module):
    """A language model that takes pictures."""

    def __init__(self, config: MplugOwl2Config | None = None) -> None:
        super().__init__()
        self.config = config = config or MplugOwl2Config()
        self.model = _Parts(config)
        self.lm_head = nn.Linear(config.language.hidden_size, config.language.vocab_size, bias=False)

    @property
    def tokens_per_image(self) -> int:
        """Of the language model."""
        return self.config.abstractor.num_learnable_queries + 1

    def encode_images(self, images: Tensor) -> Tensor:
        """Pictures to tokens.

        Args:
            images: normalised as CLIP's, shape (batch, 3, 448, 448).

        Returns:
            shape (batch, 65, 4096).
        """
        return self.model.visual_abstractor(self.model.vision_model(images))

    def encode_text(self, token_ids: Sequence[int], seen: Tensor) -> Tensor:
        """Reads a text with pictures in it.

        Args:
            token_ids: of the text; `IMAGE_TOKEN` once, where the pictures are.
            seen: tokens of the pictures, shape (batch, tokens, 4096); those of several pictures one after the other.

        Returns:
            What is known at each token, shape (batch, all tokens, 4096); `lm_head` makes logits of it.

        Raises:
            ValueError: `IMAGE_TOKEN` is not there exactly once.
        """
        if list(token_ids).count(IMAGE_TOKEN) != 1:
            raise ValueError(f"the text has {list(token_ids).count(IMAGE_TOKEN)} places for pictures; expected one")
        at = list(token_ids).index(IMAGE_TOKEN)
        device, batch = seen.device, len(seen)
        before, after = (
            self.model.embed_tokens(torch.tensor(part, dtype=torch.long, device=device)).expand(batch, -1, -1)
            for part in (token_ids[:at], token_ids[at + 1 :])
        )
        x = torch.cat([before, seen, after], dim=1)
        places = torch.arange(x.shape[1], device=device)
        image = places[at : at + seen.shape[1]]
        ways = TokenIndices(text=torch.cat([places[:at], places[at + seen.shape[1] :]]), image=image)
        language = self.config.language
        rotation = rotary_tables(x.shape[1], language.hidden_size // language.num_attention_heads, like=x)
        for layer in self.model.layers:
            x = layer(x, ways, rotation)
        return self.model.norm(x)

    def forward(self, images: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Logits of the word that follows, one picture a text: shape (batch, 32000)."""
        return self.lm_head(self.encode_text(token_ids, self.encode_images(images))[:, -1])


class _Parts(nn.Module):
    """All but the last layer, under their published names."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        language, epsilon = config.language, config.rms_norm_eps
        self.embed_tokens = nn.Embedding(language.vocab_size, language.hidden_size)
        self.layers = nn.ModuleList(LlamaLayer(language, epsilon) for _ in range(language.num_hidden_layers))
        self.norm = RmsNorm(language.hidden_size, epsilon)
        self.vision_model = VisionTransformer(config.vision)
        self.visual_abstractor = VisualAbstractor(
            config.abstractor, config.vision.patches_per_side, language.hidden_size
        )
