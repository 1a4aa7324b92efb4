"""Swin transformer (Liu et al. 2021, arXiv:2103.14030): feature maps at strides 8, 16 and 32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.layers import apply_in_slices

PATCH = 4  # pixels
MASKED = -100.0  # added to the logits of patches that are not neighbors in the image


class PatchEmbed(nn.Module):
    """Embedding of patches of 4 x 4 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, height, width) to (B, height / 4, width / 4, channels), zero-padded to whole patches."""
        image = F.pad(image, (0, -image.shape[3] % PATCH, 0, -image.shape[2] % PATCH))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


@dataclass(frozen=True, eq=False)
class WindowLayout:
    """Division of the patches of a feature map into windows."""

    patches: Tensor  # index of the patch in each slot of each window, shape (windows * size,); arbitrary in empty slots
    empty: Tensor  # indices of slots without a patch
    slots: Tensor  # index of the slot of each patch, shape (height * width,)
    # mask added to the logits between slots of a window, shape (windows, size, size); None for no mask
    mask: Tensor | None
    size: int  # number of slots per window

    def to(self, device: torch.device) -> WindowLayout:
        """Return a copy on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        patches, empty, slots = (x.to(device) for x in (self.patches, self.empty, self.slots))
        return WindowLayout(patches, empty, slots, mask, self.size)


def divide_into_windows(height: int, width: int, window: int, *, shift: int) -> WindowLayout:
    """Divide a feature map into windows; slots beyond the right and bottom borders are empty.

    Args:
        height: rows of patches.
        width: columns of patches.
        window: side of a window in patches.
        shift: shift of the windows down and to the right in patches. The remaining patches at the top and left share
            the last windows and are separated by the mask.

    Returns:
        Layout of the windows, on the CPU.
    """
    indices = torch.arange(height * width).view(height, width)
    indices = F.pad(indices, (0, -width % window, 0, -height % window), value=-1)
    patches = _group_by_window(indices.roll((-shift, -shift), dims=(0, 1)), window)  # (windows, size)

    mask = None
    if shift:
        rows, columns = ((torch.arange(side) >= side - window).int() for side in indices.shape)
        rows[-shift:], columns[-shift:] = 2, 2
        region = _group_by_window(3 * rows[:, None] + columns, window)
        mask = (region[:, None] != region[:, :, None]) * MASKED

    size = patches.shape[1]
    patches = patches.flatten()
    filled = (patches >= 0).nonzero()[:, 0]
    slots = torch.empty(height * width, dtype=torch.long)
    slots[patches[filled]] = filled
    return WindowLayout(patches.clamp(min=0), (patches < 0).nonzero()[:, 0], slots, mask, size)


def _group_by_window(x: Tensor, window: int) -> Tensor:
    """Map (height, width) to (windows, window^2)."""
    x = x.unflatten(1, (-1, window)).unflatten(0, (-1, window))  # (rows, window, columns, window)
    return x.transpose(1, 2).flatten(2, 3).flatten(0, 1)


class WindowAttention(nn.Module):
    """Attention among the patches of a window, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_positions(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows; `x` are features of the patches, (B * windows, patches, channels).

        `mask` is added to the logits, (windows, patches, patches); None for no mask.
        """
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B w, heads, p, d)
        bias = self.relative_position_bias_table.t()[:, self.relative_position_index][None]  # (1, heads, p, p)
        if mask is not None:
            bias = (bias + mask[:, None]).expand(len(x) // len(mask), -1, -1, -1, -1).flatten(0, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (..., channels)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Window attention, then a feed-forward network, each after a norm and with a shortcut."""

    def __init__(self, channels: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels)

    def forward(self, x: Tensor, windows: WindowLayout) -> Tensor:
        """Apply the block to features of the patches, (B, height * width, channels)."""
        y = self.norm1(x.index_select(1, windows.patches)).index_fill(1, windows.empty, 0)
        y = self.attn(y.view(-1, windows.size, y.shape[-1]), windows.mask).view_as(y)
        return apply_in_slices(self._feed_forward, x + y.index_select(1, windows.slots))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Merging of four neighboring patches into one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, height, width, C) to (B, height / 2, width / 2, 2 C), rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        neighbors = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbors, dim=-1)))


class SwinStage(nn.Module):
    """Blocks with alternately unshifted and shifted windows, and the downsampling to the next stage."""

    def __init__(self, channels: int, *, depth: int, heads: int, window: int, last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(SwinBlock(channels, heads=heads, window=window) for _ in range(depth))
        self.downsample = None if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all blocks, without downsampling; return the shape of the input, (B, height, width, channels)."""
        _, height, width, _ = x.shape
        layouts = [
            divide_into_windows(height, width, self.window, shift=shift).to(x.device) for shift in (0, self.window // 2)
        ]
        x = x.flatten(1, 2)
        for index, block in enumerate(self.blocks):
            x = block(x, layouts[index % 2])
        return x.unflatten(1, (height, width))


class SwinTransformer(nn.Module):
    """Swin transformer that returns the feature maps of all stages except the first."""

    def __init__(self, config: XposeConfig) -> None:
        super().__init__()
        stages = len(config.backbone_depths)
        self.patch_embed = PatchEmbed(config.backbone_width)
        self.layers = nn.ModuleList(
            SwinStage(
                config.backbone_width << stage,
                depth=config.backbone_depths[stage],
                heads=config.backbone_heads[stage],
                window=config.window,
                last=stage == stages - 1,
            )
            for stage in range(stages)
        )

        for stage in range(1, stages):
            self.add_module(f"norm{stage}", nn.LayerNorm(config.backbone_width << stage))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images, (B, 3, height, width), to one map per stage, (B, channels, rows, columns).

        The maps have strides 8, 16, 32 and 192, 384, 768 channels.
        """
        x = self.patch_embed(image)  # (B, height / 4, width / 4, 96)

        maps = []
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index:
                maps.append(self.get_submodule(f"norm{index}")(x).permute(0, 3, 1, 2))
            if isinstance(stage.downsample, PatchMerging):
                x = stage.downsample(x)
        return maps


def relative_positions(window: int) -> Tensor:
    """Return the row of the bias table for each pair of patches of a window, shape (window^2, window^2)."""
    positions = torch.cartesian_prod(torch.arange(window), torch.arange(window))  # (window^2, 2), row and column
    down, right = (positions[:, None] - positions[None] + window - 1).unbind(-1)
    return down * (2 * window - 1) + right
