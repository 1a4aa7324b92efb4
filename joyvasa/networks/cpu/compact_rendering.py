"""Rendering by the compact networks on CPUs: each part of the image gets only the computation that can change it.

Motion is refined only in the box that may move, and paint is computed around lips and lids only. What depends on the
portrait alone is computed once. Each frame is rendered alone, by one thread, so that its pixels depend neither on the
batch nor on the number of threads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.boxes import Box
from joyvasa.networks.cpu.compact_warping import CompactPortrait, CompactWarper, WarpedFrame
from joyvasa.networks.cpu.folded import FoldedConv, FoldedResidualBlock, fold, stack_maps
from joyvasa.networks.cpu.frame_threads import FrameThreads
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.appearance import FOLD
from joyvasa.sample.networks.generator import CompactGenerator
from joyvasa.sample.networks.layers import gaussian_heatmaps, sample_at
from joyvasa.sample.networks.points import FINE
from joyvasa.sample.networks.warping import OUTPUT_SIGMA, CompactAnimalWarping, CompactWarping

PAINT_MARGIN = 0.1  # largest distance of paint from the lips and lids of people; the image spans 2
ANIMAL_REACH = 2  # the same for animals, times that of people
PAINT_CONTEXT = 2  # cells around painted ones that the networks see


class CompactPainter:
    """`CompactGenerator` for one frame at a time, restricted to lips and lids; weights are copied.

    Args:
        network: network in eval mode.
        warping: warping module, which draws the maps of the mouth.
    """

    def __init__(self, network: CompactGenerator, warping: CompactWarping) -> None:
        self._draw_mouth_at, self._fill_mouth = warping.draw_mouth_at, network.fill_mouth
        self._enter = fold(network.enter)
        self._blocks = [FoldedResidualBlock(block) for block in network.blocks]  # type: ignore[arg-type]
        self._grow = FoldedConv.from_layers(network.grow, relu=False)
        self._merge, self._fine = fold(network.merge), fold(network.fine)
        self._paint = FoldedConv.from_layers(network.paint, relu=False)
        self._teeth = FoldedConv.from_layers(network.teeth, relu=False)

    def paint(self, portrait: CompactPortrait, driving: Tensor, warped: WarpedFrame, box: Box) -> None:
        """Paint a box of cells of a warped frame, in place; the driving keypoints have shape (1, keypoints, 3)."""
        outer = box.grow(PAINT_CONTEXT, portrait.side)
        pixels = outer.cut(warped.pixels, FOLD)
        with full_precision(driving):
            n = portrait.side
            coarse = warped.coarse
            near = outer.within(coarse.near)
            parts = [
                F.pixel_unshuffle(pixels, FOLD),
                sample_at(portrait.features, near.cut(coarse.positions).permute(0, 2, 3, 1)),
                outer.cut(gaussian_heatmaps(driving[:, list(FINE)], n, OUTPUT_SIGMA)),
                near.cut(coarse.context),
                F.pixel_unshuffle(outer.within(coarse.box).cut(warped.occlusion, 2), 2),
            ]
            feature = stack_maps(*parts)
            background = F.pixel_unshuffle(pixels, 2) * 2 - 1

        x = self._enter(feature)
        for block in self._blocks:
            x = block(x)
        tone = self._teeth(x)
        x = self._merge(stack_maps(background, F.pixel_shuffle(self._grow(x), 2)))
        painted = self._paint(self._fine(x))

        with full_precision(driving):
            inner = box.within(outer)
            positions = box.cut(portrait.grids.positions.permute(2, 0, 1), FOLD).permute(1, 2, 0)
            color, brush = torch.sigmoid(F.pixel_shuffle(inner.cut(painted.float(), 2), 2)).split([3, 1], 1)
            tone = F.interpolate(torch.sigmoid(tone.float()), scale_factor=FOLD, mode="bilinear")
            mouth = self._draw_mouth_at(portrait.source, driving, positions)
            color, brush = self._fill_mouth(color, brush, inner.cut(tone, FOLD), mouth, warped.pixels)
            canvas = box.cut(warped.pixels, FOLD)
            canvas += brush * (color - canvas)


class CompactRendering:
    """Warping module and generator of the compact networks, in eval mode, in one call for inference on CPUs.

    Their weights are copied.
    """

    def __init__(self, warping: CompactWarping, generator: CompactGenerator) -> None:
        self._warper, self._painter = CompactWarper(warping), CompactPainter(generator, warping)
        self._reach = ANIMAL_REACH if isinstance(warping, CompactAnimalWarping) else 1
        self._portrait: CompactPortrait | None = None  # of the previous frame
        self._threads = FrameThreads()

    def __call__(
        self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor, *, moving_portrait: bool = False
    ) -> Tensor:
        """Render frames.

        Args:
            feature: feature of the portrait, shape (1 or B, 48 + channels, N, N).
            kp_source: source keypoints, x and y in [-1, 1], shape (1 or B, keypoints, 3).
            kp_driving: driving keypoints, shape (B, keypoints, 3).
            moving_portrait: whether each frame has a portrait of its own; motion is then refined everywhere, because it
                takes a frame's time to find what may move.

        Returns:
            RGB images in [0, 1], shape (B, 3, 4N, 4N).
        """
        batch = len(kp_driving)
        portraits = zip(
            feature.float().expand(batch, -1, -1, -1).split(1),
            kp_source.float().expand(batch, -1, -1).split(1),
            strict=True,
        )
        if moving_portrait:
            prepared = self._threads.map(lambda portrait: self._warper.prepare(*portrait), portraits)
        else:
            prepared = [self._find_portrait(*portrait) for portrait in portraits]
        frames = zip(prepared, kp_driving.float().split(1), strict=True)
        return torch.cat(self._threads.map(lambda frame: self._render(*frame), frames))

    def _find_portrait(self, feature: Tensor, source: Tensor) -> CompactPortrait:
        if self._portrait is None or not self._portrait.equals(feature, source):
            self._portrait = self._warper.find_movable(self._warper.prepare(feature, source))
        return self._portrait

    def _render(self, portrait: CompactPortrait, driving: Tensor) -> Tensor:
        n = portrait.side
        fine = (driving[0, list(FINE), :2] + 1) * n / 2  # in cells
        margin = PAINT_MARGIN * self._reach * n / 2
        box = Box.around((fine.amin(0) - margin).tolist(), (fine.amax(0) + margin).tolist(), n)
        warped = self._warper.warp(portrait, driving, box.grow(PAINT_CONTEXT, n))
        if not box.empty:
            self._painter.paint(portrait, driving, warped, box)
        return warped.pixels


def fuse_renderer(warping: nn.Module, generator: nn.Module) -> CompactRendering | None:
    """Return a faster equivalent of both networks in one call, or None if there is none for them and their device."""
    if not isinstance(warping, CompactWarping) or not isinstance(generator, CompactGenerator):
        return None
    if next(warping.parameters()).device.type != "cpu" or warping._compiled_call_impl is not None:
        return None
    return CompactRendering(warping, generator)
