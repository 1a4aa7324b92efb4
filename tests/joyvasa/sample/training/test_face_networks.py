import numpy as np
import pytest

from joyvasa.bundles import open_bundle
from joyvasa.errors import EnvironmentFault
from joyvasa.runtime.files import hash_file
from joyvasa.sample.training.face_networks import NETWORKS, convert_network, find_file
from joyvasa.sample.training.litert import LitertNetwork
from tests.media import DATA

BEST = 16  # anchors of which reference numbers are stored


def compute_reference(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Run the networks of the package with LiteRT on a picture, uint8 (32, 32, 3), as reference."""
    reference = {"picture": picture}
    for name, (_, lowest) in NETWORKS.items():
        network = LitertNetwork(find_file(name).read_bytes())
        repeats = network.input_shape[1] // len(picture)
        pixels = picture.repeat(repeats, axis=0).repeat(repeats, axis=1).astype(np.float32)
        first, second = (output[0] for output in network.run(pixels / 255 * (1 - lowest) + lowest))
        reference[f"{name}.logits"] = second.ravel()
        if name != "face_mesh":
            first = first[np.argsort(-second.ravel(), kind="stable")[:BEST]]
        reference[f"{name}.values"] = first.reshape(-1, 3 if name == "face_mesh" else 16)
    return reference


@pytest.mark.parametrize("name", NETWORKS)
def test_converted_files_are_those_of_the_bundle(name, tmp_path):
    try:
        path = convert_network(name, tmp_path)
    except EnvironmentFault as fault:
        pytest.skip(fault.sentence)
    assert hash_file(path) == open_bundle("faces").spec.roles[name].sha256


def test_reference_numbers_are_those_of_the_published_files():
    with np.load(DATA / "face_networks.npz") as arrays:
        stored = dict(arrays)
    try:
        computed = compute_reference(stored["picture"])
    except EnvironmentFault as fault:
        pytest.skip(fault.sentence)
    assert computed.keys() == stored.keys()
    for name, values in stored.items():
        np.testing.assert_allclose(computed[name], values, atol=1e-3)
