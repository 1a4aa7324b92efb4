"""mPLUG-Owl2: encodes images, then the text around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.abstractor import VisualAbstractor
from joyvasa.networks.metrics.mplug_owl2.config import MplugOwl2Config
from joyvasa.networks.metrics.mplug_owl2.language import LlamaLayer, RmsNorm, TokenIndices, rotary_tables
from joyvasa.networks.metrics.mplug_owl2.vision import VisionTransformer

IMAGE_TOKEN = -200  # placeholder for all images of a text


class MplugOwl2(nn.Module):
    """Language model with images as input."""

    def __init__(self, config: MplugOwl2Config | None = None) -> None:
        super().__init__()
        self.config = config = config or MplugOwl2Config()
        self.model = _Parts(config)
        self.lm_head = nn.Linear(config.language.hidden_size, config.language.vocab_size, bias=False)

    @property
    def tokens_per_image(self) -> int:
        """Return the number of language tokens per image."""
        return self.config.abstractor.num_learnable_queries + 1

    def encode_images(self, images: Tensor) -> Tensor:
        """Encode images with the normalization of CLIP as tokens of the language model.

        Images have shape (batch, 3, 448, 448), tokens (batch, 65, 4096).
        """
        return self.model.visual_abstractor(self.model.vision_model(images))

    def encode_text(self, token_ids: Sequence[int], image_tokens: Tensor) -> Tensor:
        """Encode a text that contains images.

        Args:
            token_ids: token ids of the text, with one `IMAGE_TOKEN` at the position of the images.
            image_tokens: result of `encode_images`, shape (batch, tokens, 4096); tokens of several images are
                concatenated.

        Returns:
            Hidden states, shape (batch, all tokens, 4096); `lm_head` maps them to logits.

        Raises:
            ValueError: `token_ids` does not contain `IMAGE_TOKEN` exactly once.
        """
        count = list(token_ids).count(IMAGE_TOKEN)
        if count != 1:
            raise ValueError(f"the text has {count} image placeholders; expected one")

        start = list(token_ids).index(IMAGE_TOKEN)
        end = start + image_tokens.shape[1]
        device, batch = image_tokens.device, len(image_tokens)
        before, after = (
            self.model.embed_tokens(torch.tensor(ids, dtype=torch.long, device=device)).expand(batch, -1, -1)
            for ids in (token_ids[:start], token_ids[start + 1 :])
        )
        x = torch.cat([before, image_tokens, after], dim=1)
        positions = torch.arange(x.shape[1], device=device)
        indices = TokenIndices(text=torch.cat([positions[:start], positions[end:]]), image=positions[start:end])

        language = self.config.language
        rotation = rotary_tables(x.shape[1], language.hidden_size // language.num_attention_heads, like=x)
        for layer in self.model.layers:
            x = layer(x, indices, rotation)
        return self.model.norm(x)

    def forward(self, images: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Compute the logits of the next token for texts with one image each, shape (batch, 32000)."""
        return self.lm_head(self.encode_text(token_ids, self.encode_images(images))[:, -1])


class _Parts(nn.Module):
    """All modules except the last layer, under their published names."""

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
