"""Parts of X-Pose as written in the papers, without optimizations."""

import torch
from torch.nn import functional

from joyvasa.networks.xpose.backbone import MASKED


def deformable_attention(module, query, positions, value, shapes):
    """Compute multi-scale deformable attention by `grid_sample`, storing every sample."""
    heads, levels, points = module.heads, module.levels, module.points
    values = module.value_proj(value).unflatten(-1, (heads, -1))
    offsets = module.sampling_offsets(query).unflatten(-1, (heads, levels, points, 2))
    weights = module.attention_weights(query).unflatten(-1, (heads, -1)).softmax(-1)
    if positions.shape[-1] == 2:
        size = values.new_tensor([(width, height) for height, width in shapes])[:, None]
        locations = positions[:, :, None, None, None] + offsets / size
    else:
        center, side = positions[:, :, None, None, None, :2], positions[:, :, None, None, None, 2:]
        locations = center + offsets / points * side * 0.5  # (B, Q, heads, levels, points, 2)
    samples = []
    maps = values.split([height * width for height, width in shapes], dim=1)
    for level, (cells, (height, width)) in enumerate(zip(maps, shapes, strict=True)):
        images = cells.permute(0, 2, 3, 1).reshape(len(query) * heads, -1, height, width)
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        samples.append(functional.grid_sample(images, grid, align_corners=False))  # (B heads, d, Q, points)
    weights = weights.transpose(1, 2).flatten(0, 1)[:, None]  # (B heads, 1, Q, levels points)
    sums = (torch.cat(samples, dim=-1) * weights).sum(-1)
    return module.output_proj(sums.unflatten(0, (-1, heads)).flatten(1, 2).transpose(1, 2))


def fusion(layer, cells, tokens, used):
    """Compute attention between image and text with the projections of all cells."""
    module, heads = layer.attn, layer.attn.heads
    cells, tokens = layer.layer_norm_v(cells), layer.layer_norm_l(tokens)
    query, cell_values = (
        projection(cells).unflatten(-1, (heads, -1)).transpose(1, 2)
        for projection in (module.v_proj, module.values_v_proj)
    )
    key, token_values = (
        projection(tokens).unflatten(-1, (heads, -1)).transpose(1, 2)
        for projection in (module.l_proj, module.values_l_proj)
    )
    logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5  # (B, heads, N, n)
    logits = (logits - logits.max()).clamp(-50_000, 50_000)
    upright = logits.transpose(2, 3)
    upright = (upright - upright.amax(-1, keepdim=True)).clamp(-50_000, 50_000).softmax(-1)
    if used is not None:
        logits = logits.masked_fill(~used, -torch.inf)
    to_cells = module.out_v_proj((logits.softmax(-1) @ token_values).transpose(1, 2).flatten(2))
    to_tokens = module.out_l_proj((upright @ cell_values).transpose(1, 2).flatten(2))
    return cells + layer.gamma_v * to_cells, tokens + layer.gamma_l * to_tokens


def swin_block(block, x, *, height, width, window, shift):
    """Compute a Swin block by padding, rolling and cutting the image; `x` is (B, height * width, channels)."""
    module = block.attn
    y = block.norm1(x).unflatten(1, (height, width))
    y = functional.pad(y, (0, 0, 0, -width % window, 0, -height % window))
    batch, padded_height, padded_width, channels = y.shape
    region = torch.zeros(padded_height, padded_width)
    if shift:
        y = y.roll((-shift, -shift), dims=(1, 2))
        edges = slice(0, -window), slice(-window, -shift), slice(-shift, None)
        for number, (rows, columns) in enumerate((rows, columns) for rows in edges for columns in edges):
            region[rows, columns] = number

    def cut(z):
        z = z.view(-1, z.shape[1] // window, window, z.shape[2] // window, window, z.shape[3])
        return z.transpose(2, 3).reshape(-1, window * window, z.shape[-1])

    region = cut(region[None, ..., None])[..., 0]
    mask = (region[:, None] != region[:, :, None]) * MASKED  # (windows, slots, slots)
    query, key, value = module.qkv(cut(y)).unflatten(-1, (3, module.heads, -1)).permute(2, 0, 3, 1, 4)
    bias = module.relative_position_bias_table[module.relative_position_index].permute(2, 0, 1)
    logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias + mask.repeat(batch, 1, 1)[:, None]
    y = module.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))
    y = y.view(batch, padded_height // window, padded_width // window, window, window, channels)
    y = y.transpose(2, 3).reshape(batch, padded_height, padded_width, channels)
    if shift:
        y = y.roll((shift, shift), dims=(1, 2))
    x = x + y[:, :height, :width].flatten(1, 2)
    return x + block.mlp(block.norm2(x))


def swin_stage(stage, x):
    """Compute a stage of the backbone; `x` is (B, height, width, channels)."""
    _, height, width, _ = x.shape
    x = x.flatten(1, 2)
    for number, block in enumerate(stage.blocks):
        shift = stage.window // 2 if number % 2 else 0
        x = swin_block(block, x, height=height, width=width, window=stage.window, shift=shift)
    return x.unflatten(1, (height, width))
