import pytest

from tests.joyvasa.training.small import small_dataset
from tests.threads import _one_thread

__all__ = ["_one_thread", "dataset"]


@pytest.fixture(scope="package")
def dataset(tmp_path_factory):
    """Five clips to train with and two to validate with, of 60 frames each."""
    return small_dataset(tmp_path_factory.mktemp("dataset"))
