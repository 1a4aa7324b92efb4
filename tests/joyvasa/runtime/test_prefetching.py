import threading

import pytest

from joyvasa.runtime.prefetching import prefetch_results


def test_results_come_in_the_order_of_the_keys():
    assert list(prefetch_results(lambda key: key * key, range(50), threads=4, ahead=7)) == [
        key * key for key in range(50)
    ]


def test_the_number_of_results_ahead_is_bounded():
    requested = []

    def keys():
        for key in range(100):
            requested.append(key)
            yield key

    results = prefetch_results(lambda key: key, keys(), threads=2, ahead=3)
    for n_results in range(1, 6):
        next(results)
        assert len(requested) <= n_results + 3
    results.close()


def test_an_error_is_raised_at_its_position():
    def make(key):
        if key == 3:
            raise ValueError("three")
        return key

    results = prefetch_results(make, range(9), threads=3, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_threads_end_with_the_iterator():
    results = prefetch_results(lambda key: key, range(100), threads=2, ahead=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
