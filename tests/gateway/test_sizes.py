"""A RecordBatch counts as large as it is once it is decoded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beam_zerobus.gateway.sizes import decoded_bytes
from tests.gateway.conftest import TABLE, batch, put

LONG = pa.array(["x" * 1_000, "y"])
MANY = 1 << 40


def _view(count: int) -> pa.Array:
    one = LONG[:1].cast(pa.string_view())
    views = pa.py_buffer(one.buffers()[1].to_pybytes()[:16] * count)
    return pa.Array.from_buffers(pa.string_view(), count, [None, views, one.buffers()[2]])


def _list_views(count: int) -> pa.Array:
    zeros, ones = np.zeros(count, np.int32), np.ones(count, np.int32)
    return pa.ListViewArray.from_arrays(pa.array(zeros), pa.array(ones), LONG[:1])


def _of_runs(count: int, values: pa.Array) -> pa.Array:
    kind = pa.run_end_encoded(pa.int64(), values.type)
    return pa.Array.from_buffers(kind, count, [None], children=[pa.array([count]), values])


def _nulls(count: int) -> pa.Array:
    return pa.Array.from_buffers(pa.null(), count, [None])


FEW_BYTES_MANY_VALUES = {
    "nulls": _nulls(MANY),
    "runs": _of_runs(MANY, LONG[:1]),
    "runs of numbers": _of_runs(MANY, pa.array([1])),
    "values without bytes": pa.Array.from_buffers(pa.binary(0), MANY, [None, pa.py_buffer(b"")]),
    "structs without fields": pa.Array.from_buffers(pa.struct([]), MANY, [None]),
    "structs of nulls": pa.Array.from_buffers(pa.struct([("c", pa.null())]), MANY, [None], children=[_nulls(MANY)]),
    "nulls in a list": pa.ListArray.from_arrays(pa.array([0, 2**31 - 1], pa.int32()), _nulls(2**31 - 1)),
    "runs of nulls": _of_runs(MANY, _nulls(1)),
    "runs in a list": pa.ListArray.from_arrays(pa.array([0, 2**31 - 1], pa.int32()), _of_runs(2**31 - 1, LONG[:1])),
}


@pytest.mark.parametrize("column", FEW_BYTES_MANY_VALUES.values(), ids=FEW_BYTES_MANY_VALUES)
def test_values_without_bytes_count(column):
    assert pa.record_batch({"x": column}).get_total_buffer_size() < 2_000
    assert decoded_bytes(pa.record_batch({"x": column})) >= 2**31 - 1


USED_A_HUNDRED_TIMES = {
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, None] * 100, pa.int8()), LONG),
    "dictionary with large indices": pa.DictionaryArray.from_arrays(pa.array([0, 1] * 100, pa.uint64()), LONG),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1] * 100, pa.int8()), LONG.cast(pa.string_view())
    ),
    "runs": _of_runs(100, LONG[:1]),
    "views": _view(100),
    "list views": _list_views(100),
    "dictionary in a struct": pa.StructArray.from_arrays(
        [pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), LONG)], ["c"]
    ),
}


@pytest.mark.parametrize("column", USED_A_HUNDRED_TIMES.values(), ids=USED_A_HUNDRED_TIMES)
def test_a_value_counts_as_often_as_it_is_used(column):
    size = decoded_bytes(pa.record_batch({"x": column}))
    assert 100_000 <= size < 110_000


def test_plain_columns_count_their_buffers():
    rows = batch(*range(1_000))
    assert decoded_bytes(rows) == rows.get_total_buffer_size() + 2_000
    assert decoded_bytes(rows.slice(0, 0)) == rows.get_total_buffer_size()


def test_many_values_in_a_small_message_end_the_call_and_not_the_gateway(client, table):
    most = 2**31 - 1  # that pyarrow writes
    ids = _of_runs(most, pa.array([1]))
    with pytest.raises(pa.ArrowInvalid, match="once it is decoded, is above the gateway's limit"):
        put(client, [pa.record_batch({"id": ids, "device": _nulls(most)})])
    assert put(client, [batch(1)])[0]["success"]
    assert table.count_rows() == 1


def test_a_dictionary_of_many_values_that_is_hardly_used_needs_no_memory():
    for values in (_nulls(MANY), pa.Array.from_buffers(pa.binary(0), MANY, [None, pa.py_buffer(b"")])):
        column = pa.DictionaryArray.from_arrays(pa.array([0, 5], pa.int8()), values)
        assert decoded_bytes(pa.record_batch({"x": column})) < 100
        lists = pa.ListViewArray.from_arrays(pa.array([0], pa.int32()), pa.array([3], pa.int32()), values)
        assert decoded_bytes(pa.record_batch({"x": lists})) < 100


def _uneven() -> pa.Array:
    """One value of 1,000 bytes, and 9,999 of none."""
    return pa.array(["x" * 1_000, *[""] * 9_999])


def _nested() -> dict[str, pa.Array]:
    text, one_each = _uneven(), pa.array(range(10_001), pa.int32())
    lists = pa.ListArray.from_arrays(one_each, text)
    views = pa.ListViewArray.from_arrays(one_each[:-1], pa.array([1] * 10_000, pa.int32()), text)
    coded = pa.DictionaryArray.from_arrays(one_each[:-1], text)
    return {
        "struct": pa.StructArray.from_arrays([text], ["c"]),
        "struct of a dictionary": pa.StructArray.from_arrays([coded], ["c"]),
        "struct of runs": pa.StructArray.from_arrays([pa.RunEndEncodedArray.from_arrays(one_each[1:], text)], ["c"]),
        "list": lists,
        "list of lists": pa.ListArray.from_arrays(one_each, lists),
        "list view": views,
        "list of a fixed size": pa.FixedSizeListArray.from_arrays(text, 1),
        "map": pa.MapArray.from_arrays(one_each, text, text),
        "struct of many kinds": pa.StructArray.from_arrays([lists, pa.nulls(10_000)], ["c", "d"]),
    }


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("values", _nested().values(), ids=_nested())
def test_the_size_of_the_value_that_is_used_counts_and_not_the_average(values, position):
    used = pa.array([position, None] * 1_000, pa.int32())
    columns = [
        pa.DictionaryArray.from_arrays(used, values),
        pa.RunEndEncodedArray.from_arrays(pa.array([1_000], pa.int32()), values.slice(position, 1)),
        pa.ListViewArray.from_arrays(used.fill_null(position), pa.array([1, 0] * 1_000, pa.int32()), values),
    ]
    for column in columns:
        rows = pa.record_batch({"x": column})
        size = decoded_bytes(rows) - rows.get_total_buffer_size() - rows.num_rows
        assert size >= 1_000_000 if position == 0 else size < 100_000


def test_rows_without_columns_count():
    rows = pa.RecordBatch.from_struct_array(pa.Array.from_buffers(pa.struct([]), MANY, [None]))
    assert decoded_bytes(rows) >= MANY


def test_a_long_value_of_a_nested_dictionary_that_is_used_often_ends_the_call_and_not_the_gateway(client, emulator):
    emulator.create_table(TABLE, "place STRUCT<city: STRING>")
    values = pa.StructArray.from_arrays([pa.array(["x" * 1_000_000, *[""] * 60_000])], ["city"])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), values)
    with pytest.raises(pa.ArrowInvalid, match="once it is decoded, is above the gateway's limit"):
        put(client, [pa.record_batch({"place": column})])
