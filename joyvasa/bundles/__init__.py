"""Model bundles: the files of a set of weights, where they are stored, and how they are loaded safely."""

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.registry import bundle_names, models_folder, open_bundle

__all__ = ["Bundle", "bundle_names", "models_folder", "open_bundle"]
