"""The JoyVASA method: one portrait and one recording become one talking video."""

__version__ = "0.1.0"
