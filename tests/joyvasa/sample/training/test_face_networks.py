import numpy as np
import pytest

from joyvasa.bundles import open_bundle
from joyvasa.errors import EnvironmentFault
from joyvasa.runtime.files import hash_file
from joyvasa.sample.training.face_networks import NETWORKS, compute_reference, convert_network
from tests.media import DATA


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
