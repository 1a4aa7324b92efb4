"""Detect animal faces with X-Pose (arXiv:2310.08530), prompted with "face" and the names of its keypoints.

The weights `xpose.pth` are for non-commercial research only and not part of this project. `xpose_prompts.npz` contains
the text embeddings of the prompts (CLIP ViT-B/32, float16).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.faces.detection import Face
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image
from joyvasa.networks.xpose import Prompts, Xpose

FloatArray = NDArray[np.floating]
PromptSet = Literal["9", "68"]

SHORT_SIDE = 800  # short side of the network's input, as in its training, pixels
LONG_SIDE = 1333  # upper limit of the long side; longer pictures get a smaller short side, pixels
# Mean and standard deviation of the colors of ImageNet.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

_PROMPTS = Path(__file__).with_name("xpose_prompts.npz")


class XposeDetector:
    """Detect boxes and 9 or 68 landmarks with X-Pose.

    Threads may share a detector.

    Args:
        network: network `xpose`, in eval mode.
        prompts: layout of the landmarks. `9`: corners of the eyes, tip of the nose, corners of the lips, upper and
            lower lip; `68`: the common layout of human faces.
        device: device of the computation; the network is moved to it.

    Raises:
        ConfigError: `face_detector`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        prompts: PromptSet = "9",
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._network = cast("Xpose", network.to(self._device))
        self._prompts = load_prompts(prompts, device=self._device)

    @classmethod
    def create(cls, source: DetectorSource) -> XposeDetector:
        """Create the detector from a model bundle."""
        return cls(network=source.network("animal_landmarks"), device=source.device)

    @torch.inference_mode()
    def detect(self, image: Image) -> list[Face]:
        """Detect the most probable face.

        Returns:
            At most one face, with 9 or 68 landmarks.
        """
        predictions = self._network.predict(prepare_xpose_input(image).to(self._device), self._prompts)
        scores = predictions.logits[0].sigmoid().amax(-1).cpu().numpy()
        size = np.array([image.shape[1], image.shape[0]], dtype=np.float32)
        best = int(scores.argmax())
        if not scores[best] > 0:
            return []
        center, sides = np.split(predictions.boxes[0, best].cpu().numpy(), 2)
        box = np.concatenate([center - sides / 2, center + sides / 2]) * np.tile(size, 2)
        return [Face(box, float(scores[best]), predictions.keypoints[0, best].cpu().numpy() * size)]


def load_prompts(name: PromptSet, *, device: str | torch.device = "cpu") -> Prompts:
    """Load the text embeddings of "face" and of its keypoints.

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
    """Compute the width and height to which a picture is resized."""
    short, long = sorted((width, height))
    target = SHORT_SIDE
    if long / short * target > LONG_SIDE:
        target = max(1, round(LONG_SIDE * short / long))
    other = int(target * long / short)
    return (target, other) if width <= height else (other, target)


def prepare_xpose_input(image: Image) -> Tensor:
    """Scale a picture, uint8 RGB (height, width, 3), to float32 (1, 3, height, width) for X-Pose.

    The short side has 800 pixels and the long side up to 1333; less for narrow pictures.
    """
    size = fit_input_size(image.shape[1], image.shape[0])
    resized = PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation
