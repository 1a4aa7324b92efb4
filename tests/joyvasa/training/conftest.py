import pytest
import torch

from tests.joyvasa.training.small import small_dataset


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Small networks are quicker so, and threads wait for each other where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def dataset(tmp_path_factory):
    """Five clips to train with and two to validate with, of 60 frames each."""
    return small_dataset(tmp_path_factory.mktemp("dataset"))
