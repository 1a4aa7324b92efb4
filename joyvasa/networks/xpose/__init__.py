"""X-Pose: detection of boxes and keypoints described by text (Yang et al. 2024, arXiv:2310.08530)."""

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.decoder import Predictions
from joyvasa.networks.xpose.network import Xpose
from joyvasa.networks.xpose.text import Prompts

__all__ = ["Predictions", "Prompts", "Xpose", "XposeConfig"]
