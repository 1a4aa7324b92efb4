"""Plain Arrow types: those that Arrow can select, convert and join in every position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with plain types."""
    return pa.schema([entry.with_type(plain_type(entry.type)) for entry in schema])


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert the columns of a batch to plain types; no value changes.

    Raises:
        pa.ArrowException: a column cannot be converted.
    """
    schema = plain_schema(batch.schema)
    return pa.record_batch([_convert(array, entry.type) for array, entry in zip(batch, schema, strict=True)], schema)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type for the values of a column: views become arrays, encoded values are decoded."""
    if isinstance(kind, pa.BaseExtensionType):
        storage = plain_type(kind.storage_type)
        return kind if storage == kind.storage_type else storage
    if is_type.is_dictionary(kind) or is_type.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if is_type.is_string_view(kind):
        return pa.string()
    if is_type.is_binary_view(kind):
        return pa.binary()
    if is_type.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type), keys_sorted=kind.keys_sorted)
    if is_type.is_struct(kind):
        return pa.struct([entry.with_type(plain_type(entry.type)) for entry in kind])
    if is_type.is_fixed_size_list(kind):
        return pa.list_(_plain_values(kind), kind.list_size)
    if is_type.is_large_list(kind) or is_type.is_large_list_view(kind):
        return pa.large_list(_plain_values(kind))
    if is_type.is_list(kind) or is_type.is_list_view(kind):
        return pa.list_(_plain_values(kind))
    return kind


def _plain_values(kind: pa.DataType) -> pa.Field:
    return kind.value_field.with_type(plain_type(kind.value_type))


def _convert(array: Any, kind: Any) -> pa.Array:
    """Convert an array to its plain type; Arrow's own cast lacks views in dictionaries and damages list views."""
    if array.type == kind:
        return array
    if is_type.is_dictionary(array.type):
        return _convert(array.dictionary, kind).take(array.indices)
    if is_type.is_run_end_encoded(array.type):
        return _convert(pc.run_end_decode(array), kind)
    if isinstance(array.type, pa.BaseExtensionType):
        return _convert(array.storage, kind)
    if is_type.is_struct(kind):
        fields = [_convert(array.field(index), entry.type) for index, entry in enumerate(kind)]
        return pa.StructArray.from_arrays(fields, fields=[*kind], mask=array.is_null())
    if is_type.is_list(kind) or is_type.is_large_list(kind):
        container = pa.ListArray if is_type.is_list(kind) else pa.LargeListArray
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
        values = _convert(array.flatten(), kind.value_type)
        return container.from_arrays(np.append(0, np.cumsum(lengths)), values, type=kind, mask=array.is_null())
    if is_type.is_fixed_size_list(kind):
        size = kind.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        values = _convert(values, kind.value_type)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=array.is_null())
    if is_type.is_map(kind):
        offsets = array.offsets.to_numpy()
        keys, items = (part.slice(offsets[0], offsets[-1] - offsets[0]) for part in (array.keys, array.items))
        keys, items = _convert(keys, kind.key_type), _convert(items, kind.item_type)
        offsets = pa.array(offsets - offsets[0])
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=array.is_null())
    return array.cast(kind)
