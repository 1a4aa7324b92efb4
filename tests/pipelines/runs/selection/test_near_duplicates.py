"""Pairs of hashes with few different bits are found among many, and keys of pictures follow them."""

import itertools

import numpy as np
import pyarrow as pa

from pipelines.runs.selection.near_duplicates import merge_near_duplicates, read_perceptual_hashes


def test_all_pairs_within_three_bits_are_merged_and_no_others():
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**64, 300, dtype=np.uint64)
    for copy in range(200, 300):  # copies of the first hundred with zero to five other bits
        bits = random.choice(64, size=copy % 6, replace=False).astype(np.uint64)
        hashes[copy] = hashes[copy - 200] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    keys = random.permutation(300).astype(np.uint64) + np.uint64(1)
    merged = merge_near_duplicates(keys, hashes)
    for a, b in itertools.combinations(range(300), 2):
        near = int(hashes[a] ^ hashes[b]).bit_count() <= 3
        assert (merged[a] == merged[b]) == near
        if near:
            assert merged[a] == keys[a]  # of the first row


def test_rows_without_a_key_or_a_hash_stay_as_they_are():
    keys = np.array([5, 0, 7, 5, 9], np.uint64)
    hashes = np.array([1, 1, 0, 1, 3], np.uint64)
    assert merge_near_duplicates(keys, hashes).tolist() == [5, 0, 7, 5, 5]
    assert merge_near_duplicates(keys[::-1], hashes[::-1]).tolist() == [9, 9, 7, 0, 9]
    assert merge_near_duplicates(keys[:0], hashes[:0]).tolist() == []


def test_rows_of_a_picture_without_a_hash_get_the_key_of_its_other_rows():
    keys, hashes = np.array([9, 5, 9, 11], np.uint64), np.array([7, 6, 0, 0], np.uint64)
    assert merge_near_duplicates(keys, hashes).tolist() == [9, 9, 9, 11]


def test_text_that_is_no_hash_counts_as_none():
    column = pa.chunked_array([["00000000000000ff", None, "ff", "x" * 16, "g000000000000001"]])
    assert read_perceptual_hashes(column).tolist() == [255, 0, 0, 0, 0]
    assert read_perceptual_hashes(pa.chunked_array([], pa.string())).tolist() == []
