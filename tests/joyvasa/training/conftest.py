import pytest

from tests.joyvasa.training.small import small_dataset
from tests.threads import _one_thread

__all__ = ["_one_thread", "dataset"]


@pytest.fixture(scope="package")
def dataset(tmp_path_factory):
    """Return a data set of five training and two validation clips, of 60 frames each."""
    return small_dataset(tmp_path_factory.mktemp("dataset"))
