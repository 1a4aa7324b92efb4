"""Model bundles: which files a set of weights consists of, where they are, and how they are loaded safely."""

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.registry import bundle_names, models_folder, open_bundle

__all__ = ["Bundle", "bundle_names", "models_folder", "open_bundle"]
