"""Every Arrow type that a Parquet file can have becomes one that can be selected, joined and written."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.formats.plain_types import plain_batch, plain_type

LEAVES = {
    pa.string_view(): st.text(max_size=20),
    pa.binary_view(): st.binary(max_size=20),
    pa.int64(): st.integers(-9, 9),
    pa.large_string(): st.text(max_size=3),
}


@st.composite
def typed_values(draw, depth=0):
    """Return an Arrow type and a strategy for its values."""
    kind = draw(st.sampled_from(["leaf", "list", "large", "view", "large view", "fixed", "struct", "map"]))
    if kind == "leaf" or depth == 3:
        leaf = draw(st.sampled_from([*LEAVES]))
        return leaf, st.none() | LEAVES[leaf]
    inner, values = draw(typed_values(depth=depth + 1))
    if kind == "struct":
        return pa.struct([("a", inner), ("b", pa.string_view())]), st.none() | st.fixed_dictionaries(
            {"a": values, "b": st.none() | st.text(max_size=3)}
        )
    if kind == "map":
        pairs = st.lists(st.tuples(st.text(max_size=3), values), max_size=3)
        return pa.map_(pa.string_view(), inner), st.none() | pairs
    if kind == "fixed":
        return pa.list_(inner, 2), st.none() | st.lists(values, min_size=2, max_size=2)
    kinds = {"list": pa.list_, "large": pa.large_list, "view": pa.list_view, "large view": pa.large_list_view}
    return kinds[kind](inner), st.none() | st.lists(values, max_size=3)


@given(data=st.data())
def test_nested_views_keep_their_values(data):
    kind, values = data.draw(typed_values())
    try:
        array = pa.array(data.draw(st.lists(values, min_size=4, max_size=4)), kind)
    except (pa.ArrowException, OverflowError):  # the reference itself cannot be built
        return
    for part in (array, array.slice(1, 2)):
        plain = plain_batch(pa.record_batch([part], ["c"]))
        plain.validate(full=True)
        assert plain.column(0).to_pylist() == part.to_pylist()
        plain.take(pa.array([1, 0]))
        pq.write_table(pa.Table.from_batches([plain]), io.BytesIO())


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array(["a", "b", None]).dictionary_encode(), pa.string()),
        (pa.DictionaryArray.from_arrays([0, 1, None], pa.array(["a", "b"], pa.string_view())), pa.string()),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), pa.string()),
        (pa.array([bytes(16), None], pa.uuid()), pa.uuid()),
        (pa.ExtensionArray.from_storage(pa.opaque(pa.string_view(), "t", "v"), pa.array(["a"], pa.string_view())),
         pa.string()),
    ],
)  # fmt: skip
def test_encoded_values_and_extension_types_of_views_are_decoded(array, kind):
    plain = plain_batch(pa.record_batch([array], ["c"])).column(0)
    assert plain.type == plain_type(array.type) == kind
    assert plain.to_pylist() == array.to_pylist()
