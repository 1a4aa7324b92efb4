"""mPLUG-Owl2: vision-language model (Ye et al. 2023), the backbone of Q-Align.

Weights have the names of Q-Align's published checkpoint `one-align`.
"""

from joyvasa.networks.metrics.mplug_owl2.config import AbstractorConfig, LanguageConfig, MplugOwl2Config, VisionConfig
from joyvasa.networks.metrics.mplug_owl2.model import IMAGE_TOKEN, MplugOwl2

__all__ = ["IMAGE_TOKEN", "AbstractorConfig", "LanguageConfig", "MplugOwl2", "MplugOwl2Config", "VisionConfig"]
