"""X-Pose: boxes and keypoints of what a text describes, in any picture (arXiv:2310.08530)."""

from joyvasa.networks.xpose.config import XposeConfig
from joyvasa.networks.xpose.decoder import Predictions
from joyvasa.networks.xpose.network import Xpose
from joyvasa.networks.xpose.text import Prompts

__all__ = ["Predictions", "Prompts", "Xpose", "XposeConfig"]
