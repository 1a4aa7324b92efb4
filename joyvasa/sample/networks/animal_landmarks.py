"""Detector and landmarks of animal faces in one network.

The backbone is the first half of EfficientNet-Lite0 (M. Tan, Q. Le, 2019, "EfficientNet", Apache-2.0), whose published
weights were trained on photographs of a thousand kinds of things, a third of them animals. A pyramid above it has two
heads: one finds faces in a whole picture, the other places landmarks in a window around one face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.layers import upsample_2x

LANDMARKS: tuple[str, ...] = (
    "right_upper_lid",
    "right_lower_lid",
    "left_upper_lid",
    "left_lower_lid",
    "nose",
    "right_corner",
    "left_corner",
    "upper_lip",
    "lower_lip",
    "chin",
    "forehead",
    "right_side",
    "left_side",
    "right_jaw",
    "left_jaw",
)
MIRRORED_LANDMARKS = (2, 3, 0, 1, 4, 6, 5, 7, 8, 9, 10, 12, 11, 14, 13)  # order after a horizontal flip
EYE_LIDS, MOUTH_CORNERS = ((0, 1), (2, 3)), (5, 6)  # of the eye on the left of the picture, then the other one

FACE_STRIDE = 8  # pixels per cell of the head for faces
# Logit of a face's center; its offset from the middle of the cell, x and y; log size; direction down, x and y.
FACE_MAPS = 6
INITIAL_FACE_BIAS = -4.0  # few cells are the center of a face
FACE_UNIT = 24.0  # size of a face in pixels whose log size is 0

# Windows for landmarks. The unit of a face is the mean of the distance between the eyes and that from eyes to mouth.
WINDOW_PIXELS, WINDOW_UNITS = 128, 4.0
WINDOW_EYES_Y = 0.45  # center of the window below the middle of the eyes, units

SHARPNESS = 4.0  # factor of the logits in the softmax over positions
# Expansion, channels, blocks, stride of the first, and kernel of each stage after the first convolution.
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3))
STEM = 32
BATCH_NORM_EPSILON = 1e-3  # of the published weights


@dataclass(frozen=True, kw_only=True)
class AnimalLandmarksConfig(NetworkConfig):
    """Sizes."""

    widths: tuple[int, int, int] = (96, 64, 48)  # channels of the pyramid at 1/16, 1/8 and 1/4 of the picture's size


class SameConv(nn.Sequential):
    """Convolution with the padding of TensorFlow, batch norm, and ReLU6 unless `linear`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON),
        ]
        super().__init__(*layers, *([] if linear else [nn.ReLU6(inplace=True)]))
        extra = kernel - stride  # for sizes that the stride divides
        self.padding = (extra // 2, extra - extra // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return super().forward(functional.pad(x, self.padding))


class InvertedResidual(nn.Module):
    """Block of MobileNet v2: expansion, depthwise convolution, projection, and a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [SameConv(inputs, hidden, 1)] if expansion > 1 else []
        layers.append(SameConv(hidden, hidden, kernel, stride=stride, groups=hidden))
        layers.append(SameConv(hidden, outputs, 1, linear=True))
        self.layers = nn.Sequential(*layers)
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return x + self.layers(x) if self._shortcut else self.layers(x)


class Backbone(nn.Module):
    """First four stages of EfficientNet-Lite0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, stride=2)
        channels, stages = STEM, []
        for expansion, width, blocks, stride, kernel in STAGES:
            first = InvertedResidual(channels, width, expansion=expansion, kernel=kernel, stride=stride)
            more = [
                InvertedResidual(width, width, expansion=expansion, kernel=kernel, stride=1) for _ in range(blocks - 1)
            ]
            stages.append(nn.Sequential(first, *more))
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute features of RGB pictures in [0, 1], (B, 3, H, W), at 1/4, 1/8 and 1/16 of their size."""
        x = self.stem(image * 2 - 1)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1], features[2], features[3]


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 and pointwise convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Pyramid(nn.Module):
    """Decoder with the two heads."""

    def __init__(self, config: AnimalLandmarksConfig) -> None:
        super().__init__()
        top, middle, fine = config.widths
        self.top = nn.Sequential(SeparableConv(STAGES[3][1], top), SeparableConv(top, top))
        self.wide = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), SeparableConv(top, top), SeparableConv(top, top))
        self.middle = SeparableConv(top + STAGES[2][1], middle)
        self.middle_2 = SeparableConv(middle, middle)
        self.faces = nn.Conv2d(middle, FACE_MAPS, 1)
        nn.init.constant_(self.faces.bias[:1], INITIAL_FACE_BIAS)  # type: ignore[index]
        self.fine = SeparableConv(middle + STAGES[1][1], fine)
        self.fine_2 = SeparableConv(fine, fine)
        self.landmarks = nn.Conv2d(fine, len(LANDMARKS), 1)

    def forward_shared(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return what both heads use, (B, widths[1], H / 8, W / 8)."""
        _, at_8, at_16 = features
        x = self.top(at_16)
        x = x + functional.interpolate(self.wide(x), size=x.shape[-2:], mode="bilinear")
        return self.middle_2(self.middle(torch.cat([upsample_2x(x), at_8], 1)))

    def forward_landmarks(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return logits of landmarks, (B, landmarks, H / 4, W / 4)."""
        x = upsample_2x(self.forward_shared(features))
        x = self.fine_2(self.fine(torch.cat([x, features[0]], 1)))
        with full_precision(x):
            return self.landmarks(x.float())

    def forward_faces(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the maps of faces, (B, FACE_MAPS, H / 8, W / 8)."""
        x = self.forward_shared(features)
        with full_precision(x):
            return self.faces(x.float())


class AnimalLandmarks(nn.Module):
    """Network that finds animal faces and their landmarks."""

    def __init__(self, config: AnimalLandmarksConfig) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.pyramid = Pyramid(config)

    def find_faces(self, image: Tensor) -> Tensor:
        """Map whole pictures to maps of faces, (B, FACE_MAPS, H / 8, W / 8).

        Pictures are RGB in [0, 1], (B, 3, H, W), with sides divisible by 16.
        """
        return self.pyramid.forward_faces(self.backbone(image))

    def forward(self, window: Tensor) -> Tensor:
        """Map windows, RGB in [0, 1], (B, 3, N, N), to landmarks, x and y in [-1, 1], (B, landmarks, 2)."""
        return expected_positions(self.pyramid.forward_landmarks(self.backbone(window)))


def expected_positions(maps: Tensor) -> Tensor:
    """Return the mean position of each map under its softmax, (B, K, N, N) to (B, K, 2), x and y in [-1, 1]."""
    size = maps.shape[-1]
    weights = (SHARPNESS * maps.flatten(2)).softmax(-1).unflatten(-1, (size, size))
    axis = (torch.arange(size, device=maps.device) + 0.5) * 2 / size - 1
    return torch.stack([(weights.sum(2) * axis).sum(-1), (weights.sum(3) * axis).sum(-1)], -1)
