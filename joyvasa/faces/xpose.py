"""Faces of animals by X-Pose (arXiv:2310.08530), asked for "face" and the names of its keypoints.

The weights of `xpose.pth` are for non-commercial research only; none are part of this project. The text embeddings of
the prompts (CLIP ViT-B/32, float16) are, in `xpose_prompts.npz`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image
from joyvasa.networks.xpose import Prompts, Xpose

FloatArray = NDArray[np.floating]
PromptSet = Literal["9", "68"]

SHORT_SIDE = 800  # pixels; of the network's input, as in its training
LONG_SIDE = 1333  # pixels; where a picture would get longer, it becomes smaller as a whole
# Of the colors of ImageNet.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

_PROMPTS = Path(__file__).with_name("xpose_prompts.npz")


@dataclass(frozen=True)
class XposeDetectorConfig:
    """The published values.

    With them every picture has exactly one face: the box with the best score, however low that is.

    Args:
        threshold: a face has a score above it, 0 to 1.
        overlap: largest intersection over union of two faces, 0 to 1.
        max_faces: keep those with the best scores; 0: all.

    Raises:
        ConfigError: `face_detector`.
    """

    threshold: float = 0.0
    overlap: float = 0.0
    max_faces: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.threshold < 1 and 0 <= self.overlap <= 1 and self.max_faces >= 0):
            expected = "threshold in [0, 1), overlap in [0, 1], max_faces from 0"
            raise ConfigError("face_detector", f"{self} found; expected {expected}: correct it")


class XposeDetector:
    """Boxes and 9 or 68 landmarks by X-Pose.

    Threads may share one detector: it keeps nothing between calls.

    Args:
        network: `xpose`, in eval mode.
        prompts: `9`: the corners of the eyes, the nose tip, the corners of the lips, upper and lower lip; `68`: the
            usual layout of human faces.
        device: to compute on; the network is moved there.
        config: thresholds.

    Raises:
        ConfigError: `face_detector`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        prompts: PromptSet = "9",
        device: str | torch.device = "cpu",
        config: XposeDetectorConfig | None = None,
    ) -> None:
        self.config = config or XposeDetectorConfig()
        self._device = torch.device(device)
        self._network = cast("Xpose", network.to(self._device))
        self._prompts = load_prompts(prompts, device=self._device)

    @classmethod
    def create(cls, source: DetectorSource) -> XposeDetector:
        """Create the detector from a model bundle."""
        return cls(network=source.network("animal_landmarks"), device=source.device)

    @torch.inference_mode()
    def detect(self, image: Image) -> list[Face]:
        """Finds faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first, with 9 or 68 landmarks each.
        """
        found = self._network.predict(prepare_xpose_input(image).to(self._device), self._prompts)
        scores = found.logits[0].sigmoid().amax(-1).cpu().numpy()
        size = np.array([image.shape[1], image.shape[0]], dtype=np.float32)
        centers, sides = np.split(found.boxes[0].cpu().numpy(), 2, axis=1)
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1) * np.tile(size, 2)
        landmarks = found.keypoints[0].cpu().numpy() * size

        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > self.config.threshold]
        order = order[suppress_overlaps(boxes[order], overlap=self.config.overlap)]
        taken = order[: self.config.max_faces] if self.config.max_faces else order
        return sort_faces([Face(boxes[index], float(scores[index]), landmarks[index]) for index in taken])


def load_prompts(name: PromptSet, *, device: str | torch.device = "cpu") -> Prompts:
    """Text embeddings of "face" and of its keypoints.

    Args:
        name: number of keypoints, `9` or `68`.
        device: of the result.

    Raises:
        ConfigError: `face_detector`.
    """
    if name not in ("9", "68"):
        raise ConfigError("face_detector", f"xpose: prompts are {name!r}; expected 9 or 68: choose one of them")
    with np.load(_PROMPTS, allow_pickle=False) as file:
        instances, keypoints = (
            torch.from_numpy(file[key].astype(np.float32)).to(device) for key in ("instance", f"keypoints_{name}")
        )
    return Prompts(instances, keypoints)


def fit_input_size(width: int, height: int) -> tuple[int, int]:
    """Width and height that a picture is resized to."""
    short, long = sorted((width, height))
    target = SHORT_SIDE
    if long / short * target > LONG_SIDE:
        target = max(1, round(LONG_SIDE * short / long))
    other = int(target * long / short)
    return (target, other) if width <= height else (other, target)


def prepare_xpose_input(image: Image) -> Tensor:
    """A picture as X-Pose takes it.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        shape (1, 3, 800, up to 1333) or (1, 3, up to 1333, 800), float32, less for very long pictures.
    """
    size = fit_input_size(image.shape[1], image.shape[0])
    resized = PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation
