from hypothesis import given
from hypothesis import strategies as st

from manifests.hash_index import HashIndex


@given(st.lists(st.lists(st.sampled_from([f"k{n}" for n in range(40)]), max_size=30), max_size=12))
def test_texts_are_numbered_by_first_appearance(blocks):
    table, expected = HashIndex(), {}
    for block in blocks:
        numbers = table.add(block)
        assert list(numbers) == [expected.setdefault(text, len(expected)) for text in block]
        assert len(table) == len(expected)


def test_memory_is_16_bytes_per_text():
    table = HashIndex()
    for start in range(0, 100_000, 1000):
        table.add([f"text {n}" for n in range(start, start + 1000)])
    assert sum(keys.nbytes + numbers.nbytes for keys, numbers in table._runs) == 16 * 100_000
    assert len(table._runs) < 12
