"""Model bundles: the files of a set of weights, where they are stored, and how they are loaded safely."""

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.registry import get_models_folder, list_bundle_names, open_bundle

__all__ = ["Bundle", "get_models_folder", "list_bundle_names", "open_bundle"]
