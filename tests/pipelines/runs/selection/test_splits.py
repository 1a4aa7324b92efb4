"""No value is in two splits, shares are as given, and added rows leave the splits of the others as they are."""

import time

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipelines.runs.selection.splits import NO_SPLIT, NO_VALUE, _find_groups, assign_splits

SHARES = (0.8, 0.1, 0.1)


def hashes(values):
    """Return a hash of each number, as `hash_values` does for texts; 0 for negative numbers."""
    table = np.random.default_rng(7).integers(1, 2**63, 200_000, np.int64).astype(np.uint64)
    values = np.asarray(values, np.int64)
    return np.where(values < 0, np.uint64(0), table[values])


def assert_disjoint(columns, splits):
    for column in columns:
        for split in range(len(SHARES)):
            inside = set(column[(splits == split) & (column != 0)])
            outside = set(column[(splits >= 0) & (splits != split) & (column != 0)])
            assert not inside & outside


def test_values_of_one_column_are_in_one_split_and_no_row_is_lost():
    portraits = hashes(np.repeat(np.arange(2000), 5))
    assignment = assign_splits([portraits], SHARES)
    assert_disjoint([portraits], assignment.splits)
    counts = np.bincount(assignment.splits, minlength=3) / len(portraits)
    assert assignment.rule == "groups"
    np.testing.assert_allclose(counts, SHARES, atol=0.03)


def test_separate_speakers_stay_whole_and_no_row_is_lost():
    speakers = np.arange(3000) // 3  # three portraits and one voice each
    columns = [hashes(np.arange(3000)), hashes(100_000 + speakers)]
    assignment = assign_splits(columns, SHARES)
    assert assignment.rule == "groups"
    assert (assignment.splits >= 0).all()
    assert_disjoint(columns, assignment.splits)


def test_crossed_portraits_and_voices_are_split_by_value_with_the_given_shares():
    rng = np.random.default_rng(0)
    columns = [hashes(rng.integers(0, 3000, 50_000)), hashes(100_000 + rng.integers(0, 3000, 50_000))]
    assignment = assign_splits(columns, SHARES)
    assert assignment.rule == "values"
    assert_disjoint(columns, assignment.splits)
    kept = assignment.splits[assignment.splits != NO_SPLIT]
    assert 0.3 < len(kept) / 50_000 < 0.7
    np.testing.assert_allclose(np.bincount(kept, minlength=3) / len(kept), SHARES, atol=0.03)


@pytest.mark.parametrize("crossed", [False, True])
def test_added_rows_change_no_split(crossed):
    rng = np.random.default_rng(1)
    portraits = rng.integers(0, 400, 4000)
    voices = 100_000 + (rng.integers(0, 400, 4000) if crossed else portraits // 4)
    before = assign_splits([hashes(portraits[:2000]), hashes(voices[:2000])], SHARES)
    after = assign_splits([hashes(portraits), hashes(voices)], SHARES)
    assert before.rule == after.rule == ("values" if crossed else "groups")
    np.testing.assert_array_equal(after.splits[:2000], before.splits)


def test_a_speaker_with_most_rows_stays_whole():
    speakers = np.repeat([0, 1, 2], [60, 20, 20])
    assignment = assign_splits([hashes(np.arange(100) // 2), hashes(100_000 + speakers)], SHARES)
    assert assignment.rule == "groups"
    assert all(len(set(assignment.splits[speakers == speaker])) == 1 for speaker in range(3))


def test_rows_without_a_value_have_no_split_and_connect_nothing():
    columns = [hashes([0, -1, -1, 1, 2]), hashes([10, 10, -1, -1, 11])]
    splits = assign_splits(columns, SHARES).splits
    assert splits[0] == splits[1]
    assert (splits[2], splits[3] >= 0) == (NO_VALUE, True)
    assert assign_splits([hashes([-1, -1])], SHARES).splits.tolist() == [NO_VALUE] * 2
    assert assign_splits([hashes([])], SHARES).splits.tolist() == []


def test_the_seed_changes_the_splits():
    portraits = hashes(np.arange(1000))
    first, second = (assign_splits([portraits], SHARES, seed=seed).splits for seed in (0, 1))
    assert 0.1 < np.mean(first != second) < 0.6


def random_links(rng, rows, values):
    return [hashes(rng.integers(-1, values, rows)), hashes(100_000 + rng.integers(-1, values, rows))]


def chain(rng, rows):
    """Return columns in which each row shares a value with the next of a random order, so that all are one group."""
    order = rng.permutation(rows)
    first, second = np.empty(rows, np.int64), np.empty(rows, np.int64)
    first[order], second[order] = np.arange(rows) // 2, (np.arange(rows) + 1) // 2
    return [hashes(first), hashes(100_000 + second)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("values", [5, 60, 400])
def test_groups_are_the_connected_components(seed, values):
    columns = random_links(np.random.default_rng(seed), 200, values)
    missing = (columns[0] == 0) & (columns[1] == 0)
    graph = np.logical_or.reduce([(c[:, None] == c) & (c[:, None] != 0) for c in columns])
    _, expected = connected_components(coo_array(graph), directed=False)
    groups = _find_groups(columns)
    pairs = set(zip(groups[~missing].tolist(), expected[~missing].tolist(), strict=True))
    assert len(pairs) == len({group for group, _ in pairs}) == len({component for _, component in pairs})


def test_a_long_chain_is_one_group_within_seconds():
    columns = chain(np.random.default_rng(0), 100_000)
    start = time.process_time()
    assert set(_find_groups(columns).tolist()) == {0}
    assert time.process_time() - start < 10  # one round per link would take minutes
