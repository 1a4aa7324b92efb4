"""Vision transformer: encodes the patches of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.metrics.mplug_owl2.config import VisionConfig

EPSILON = 1e-6  # of all layer norms


class VisionTransformer(nn.Module):
    """CLIP's vision transformer with a final norm of all tokens."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images with the normalization of CLIP, (batch, 3, 448, 448), as features, (batch, 1025, 1024).

        The features are the class token, then the patches row by row.
        """
        return self.post_layernorm(self.encoder(self.embeddings(images)))


class _Embeddings(nn.Module):
    """Embedding of patches, with class token and positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        tokens = config.patches_per_side**2 + 1
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.randn(1, tokens, config.hidden_size))
        self.patch_embed = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size, bias=False)
        self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        return self.pre_layernorm(x + self.position_embedding)


class _Encoder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _Layer(nn.Module):
    """Attention and a perceptron, each after a norm."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=EPSILON)
        self.mlp = _Perceptron(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class _Attention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        # Outputs are query, key and value of the first head, then of the second, and so on.
        mixed = self.query_key_value(x).unflatten(2, (self.heads, 3, -1))  # (B, T, heads, 3, head)
        query, key, value = mixed.permute(3, 0, 2, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.dense(attended.transpose(1, 2).flatten(2))


class _Perceptron(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))  # QuickGELU, as in CLIP
