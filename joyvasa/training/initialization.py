"""Initial weights of training."""

from __future__ import annotations

from pathlib import Path

import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.state import adapt_state_keys
from joyvasa.bundles.weights import Weights, read_weights
from joyvasa.errors import ModelError
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.networks.speech_encoder import SpeechEncoder
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoder
from joyvasa.training.config import TrainingConfig

ENCODER_ROLE = "speech_encoder"
WEIGHT_FILES = {".safetensors": "safetensors", ".bin": "pytorch", ".pt": "pytorch", ".pth": "pytorch"}


def build_initial_network(config: TrainingConfig, *, load_encoder: bool = True) -> MotionGenerator:
    """Build a motion generator with seeded weights, on the CPU; the convolutions of its speech encoder are frozen.

    Args:
        config: options with the sizes, the seed and the speech encoder.
        load_encoder: whether to load the weights of the speech encoder; not needed if all weights are replaced.

    Raises:
        ModelError: the weights of the speech encoder are missing, damaged, or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = MotionGenerator(config.network)
    if load_encoder and config.speech_encoder is not None:
        load_encoder_weights(network.audio_encoder, read_encoder_weights(config.speech_encoder))
    network.audio_encoder.feature_extractor.requires_grad_(False)
    return network


def read_encoder_weights(name: str) -> Weights:
    """Read the weights of HuBERT or wav2vec 2.0.

    Args:
        name: bundle with the role `speech_encoder`, weight file, or folder of a model from the Hugging Face Hub.

    Raises:
        ModelError: the weights are missing or cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        path = next(
            (path / file for file in ("model.safetensors", "pytorch_model.bin") if (path / file).is_file()), path
        )
    if path.suffix in WEIGHT_FILES:
        return read_weights(path, WEIGHT_FILES[path.suffix])
    bundle = open_bundle(name)
    bundle.require_roles([ENCODER_ROLE])
    return bundle.load_weights(ENCODER_ROLE)


def load_encoder_weights(encoder: SpeechEncoder | CompactSoundEncoder, weights: Weights) -> None:
    """Load weights into a speech encoder; other tensors of the file, such as training heads, are ignored.

    Raises:
        ModelError: `weights_mismatch`.
    """
    expected = encoder.state_dict()
    state = adapt_state_keys(weights.state, expected, weights.where)
    for name, tensor in expected.items():
        if name not in state or state[name].shape != tensor.shape:
            actual = f"{tuple(state[name].shape)}" if name in state else "nothing"
            raise ModelError(
                "weights_mismatch",
                f"{weights.where}: {name}: found {actual}, expected {tuple(tensor.shape)}: set network.audio_encoder "
                "or network.compact_encoder to the sizes of the file",
            )
    encoder.load_state_dict({name: state[name] for name in expected})
