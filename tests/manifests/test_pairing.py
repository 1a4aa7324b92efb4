import itertools
from collections import Counter

import pyarrow as pa
import pytest

from manifests.media_lists import MediaList
from manifests.pairing import plan_pairs
from manifests.problems import ManifestError

SIZES = [(1, 1), (1, 7), (6, 1), (2, 2), (4, 6), (5, 7), (6, 6), (12, 8)]


def media(kind, size, **columns):
    names = [f"{kind}{number}" for number in range(size)]
    return MediaList(kind, kind, names, names, [""] * size, names, pa.table(columns))


def sides(n_images, n_audio):
    return media("image", n_images), media("audio", n_audio)


def pairs_of(plan, block=5):
    blocks = [plan.compute_pairs(start, start + block) for start in range(0, len(plan), block)]
    return [pair for images, audio in blocks for pair in zip(images.tolist(), audio.tolist(), strict=True)]


def spread(numbers, size):
    counts = Counter(numbers)
    return max(counts[number] for number in range(size)) - min(counts[number] for number in range(size))


@pytest.mark.parametrize(("n_images", "n_audio"), SIZES)
def test_all_combinations_are_in_order(n_images, n_audio):
    assert pairs_of(plan_pairs(*sides(n_images, n_audio))) == [*itertools.product(range(n_images), range(n_audio))]


@pytest.mark.parametrize(("n_images", "n_audio"), SIZES)
def test_a_sample_of_any_size_is_balanced_and_has_no_pair_twice(n_images, n_audio):
    for sample in range(1, n_images * n_audio + 1):
        pairs = pairs_of(plan_pairs(*sides(n_images, n_audio), sample=sample, seed=sample))
        assert len(pairs) == len(set(pairs)) == sample
        assert spread([image for image, _ in pairs], n_images) <= 1
        assert spread([audio for _, audio in pairs], n_audio) <= 1


def test_a_larger_sample_continues_a_smaller_one():
    small, large = (pairs_of(plan_pairs(*sides(9, 6), sample=sample, seed=3)) for sample in (20, 40))
    assert large[:20] == small


def test_the_seed_changes_the_sample_and_repeats_it():
    first, again, other = (pairs_of(plan_pairs(*sides(30, 20), sample=50, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert set(first) != set(other)


def test_blocks_of_any_size_give_the_same_pairs():
    plan = plan_pairs(*sides(7, 11), sample=60)
    assert pairs_of(plan, block=1) == pairs_of(plan, block=1000)


SPEAKERS = media("image", 6, speaker=["anna", "ben", "anna", None, "", "cleo"])
PERSONS = media("audio", 7, person=["ben", "anna", "anna", "anna", "dora", None, "ben"])


def test_only_equal_values_are_paired():
    pairs = pairs_of(plan_pairs(SPEAKERS, PERSONS, match=[("speaker", "person")]))
    assert pairs == [(0, 1), (0, 2), (0, 3), (2, 1), (2, 2), (2, 3), (1, 0), (1, 6)]


@pytest.mark.parametrize(("sample", "anna", "ben"), [(1, 1, 0), (2, 1, 1), (4, 2, 2), (7, 5, 2), (8, 6, 2)])
def test_a_sample_has_equally_many_pairs_of_each_value_as_far_as_there_are(sample, anna, ben):
    pairs = pairs_of(plan_pairs(SPEAKERS, PERSONS, sample=sample, match=[("speaker", "person")]))
    counts = Counter(SPEAKERS.columns["speaker"][image].as_py() for image, _ in pairs)
    assert len(set(pairs)) == sample
    assert sorted([counts["anna"], counts["ben"]]) == sorted([anna, ben])
    annas = [pair for pair in pairs if pair[0] != 1]
    assert spread([0 if image == 0 else 1 for image, _ in annas], 2) <= 1
    assert spread([audio - 1 for _, audio in annas], 3) <= 1


def test_numbers_match_text_and_several_columns_must_all_match():
    images = media("image", 3, number=pa.array([1, 2, 2]), mood=["sad", "sad", "glad"])
    audio = media("audio", 2, id=["2", "1"], mood=["glad", "glad"])
    assert pairs_of(plan_pairs(images, audio, match=[("number", "id"), ("mood", "mood")])) == [(2, 0)]


def test_names_of_files_match_without_a_table():
    images, audio = media("image", 3), media("audio", 2)
    with pytest.raises(ManifestError, match="no portrait and recording with equal values"):
        plan_pairs(images, audio, match=[("stem", "stem")])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sample": 43}, "sample_too_large"),
        ({"match": [("speakr", "person")]}, "match_column_unknown"),
        ({"match": [("speaker", "folder")]}, "pairs_none"),
        ({"sample": 9, "match": [("speaker", "person")]}, "sample_too_large"),
    ],
)
def test_impossible_requests_give_one_sentence(options, code):
    with pytest.raises(ManifestError) as caught:
        plan_pairs(SPEAKERS, PERSONS, **options)
    assert caught.value.code == code


def test_an_unknown_column_suggests_the_nearest():
    with pytest.raises(ManifestError, match=r"did you mean speaker\?"):
        plan_pairs(SPEAKERS, PERSONS, match=[("speakr", "person")])
