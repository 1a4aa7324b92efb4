import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.record import derive_record_id, derive_seed, encode_content, file_stem

ANY_ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)
WINDOWS_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I | re.S)


@given(ANY_ID)
def test_a_stem_is_a_safe_file_name_everywhere(record_id):
    stem = file_stem(record_id)
    assert re.fullmatch(r"[A-Za-z0-9_.~-]{1,100}", stem)
    assert stem[0] not in "-.~"
    assert stem[-1] not in ". "
    assert not WINDOWS_RESERVED.fullmatch(stem)
    assert not WINDOWS_RESERVED.fullmatch(f"{stem}.mp4")


@given(ANY_ID, ANY_ID)
def test_different_ids_have_stems_that_differ_after_folding(one, other):
    if one != other:
        fold = [unicodedata.normalize("NFKC", file_stem(text)).casefold() for text in (one, other)]
        assert fold[0] != fold[1]


@pytest.mark.parametrize("record_id", ["a", "007", "clip_0001", "a.b-c", "0" * 100, "_x", "com10", "console"])
def test_a_safe_id_is_its_own_stem(record_id):
    assert file_stem(record_id) == record_id


@pytest.mark.parametrize(
    "record_id",
    [
        "../x",
        "/etc/passwd",
        "CON",
        "con",
        "nul.txt",
        "com1",
        "a.",
        "a ",
        " a",
        "-a",
        ".a",
        "x" * 300,
        "Anna",
        "a/b",
        "é",
        "~",
    ],
)
def test_an_unsafe_id_is_mapped_to_slug_and_hash(record_id):
    slug, mark, digest = file_stem(record_id).partition("~")
    assert (mark, len(digest)) == ("~", 16)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,48}", slug)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna", "anna"),
        ("ANNA", "Anna"),
        ("caf\u00e9", "cafe\u0301"),
        ("a b", "a_b"),
        ("x" * 300, "x" * 301),
        ("a", "a."),
    ],
)
def test_similar_ids_have_different_stems_ignoring_case(one, other):
    assert file_stem(one).casefold() != file_stem(other).casefold()


def test_ids_seeds_and_stems_are_stable():  # values from `b2sum -l 96` and `b2sum -l 64`
    content = encode_content("a.png", "b.wav", None, "human", None, 2.5)
    assert content == '["a.png","b.wav",null,"human",null,2.5]'
    assert derive_record_id(content) == "803b866375f7b3983a8352f0"
    assert derive_seed(0, "r1") == 4778656030244113506
    assert file_stem("Anna Ä") == "Anna~9f5b9938eee93b9e"


@given(st.integers(0, 2**63 - 1), ANY_ID)
def test_derived_seeds_have_63_bits_and_depend_on_both(run_seed, record_id):
    seed = derive_seed(run_seed, record_id)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(run_seed, record_id)
    assert seed != derive_seed(run_seed + 1, record_id)
    assert seed != derive_seed(run_seed, record_id + "x")
