"""What makes a RecordBatch damaged, and what is only an odd value in a row."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.gateway.sizes import decoded_bytes
from beam_zerobus.options import WireFormat
from beam_zerobus.schema import Conformer, TableSchema
from beam_zerobus.schema.soundness import require_sound
from tests.schema.odd_values import ODD, null_view

NOT_UTF8 = pa.array([b"\xff", b"attic"]).view(pa.string())


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values_are_sound(odd):
    batch = pa.record_batch({"x": odd.column})
    require_sound(batch)
    require_sound(batch.slice(1))


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_value_is_rejected_with_its_row(odd, wire_format: WireFormat):
    conversion = Conversion(TableSchema.from_ddl(f"x {odd.ddl}"), wire_format, table="main.iot.air")
    payloads = list(conversion.payloads(pa.record_batch({"x": odd.column})))
    rejected = [error for payload in payloads for error in payload.rejected]
    assert [(error.index, error.error_type) for error in rejected] == [(1, odd.error_type)]
    assert sorted(row for payload in payloads for row in payload.rows) == [0, 2]


def _with(array: pa.Array, number: int, buffer: pa.Array, **changed: int) -> pa.Array:
    """Return an array with another buffer of its own."""
    buffers = array.buffers()[: array.type.num_buffers]
    buffers[number] = buffer.buffers()[1]
    children = [array.values] if array.type.num_fields else None
    return pa.Array.from_buffers(array.type, len(array), buffers, children=children, **changed)


def damaged() -> dict[str, pa.Array]:
    """Return columns that hold text that is not UTF-8, and are damaged as well."""
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), NOT_UTF8)
    large = pa.LargeListArray.from_arrays(pa.array([0, 1, 2]), NOT_UTF8)
    views = pa.ListViewArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([1, 1], pa.int32()), NOT_UTF8)
    entries = pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["a", "b"]), NOT_UTF8)
    backwards = pa.array([0, 9, 2], pa.int32())
    structs = pa.StructArray.from_arrays([NOT_UTF8], ["c"])
    runs = pa.run_end_encoded(pa.int32(), pa.string())
    indices = pa.DictionaryArray.from_arrays(pa.array([0, 7]), NOT_UTF8, safe=False)
    in_struct = pa.Array.from_buffers(pa.struct([("c", lists.type)]), 2, [None], children=[_with(lists, 1, backwards)])
    dense = pa.UnionArray.from_dense(pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()), [NOT_UTF8])
    return {
        "text": _with(NOT_UTF8, 1, backwards),
        "list": _with(lists, 1, backwards),
        "negative": _with(lists, 1, pa.array([0, -1, 2], pa.int32())),
        "large list": _with(large, 1, pa.array([0, 9, 2])),
        "list view": _with(views, 2, pa.array([1, 99], pa.int32())),
        "negative size": _with(views, 2, pa.array([1, -1], pa.int32())),
        "map": _with(entries, 1, backwards),
        "dictionary": indices,
        "list in a struct": in_struct,
        "runs backwards": pa.Array.from_buffers(runs, 2, [None], children=[pa.array([3, 2], pa.int32()), NOT_UTF8]),
        "nulls of a list": _with(lists, 0, pa.array([1], pa.int8()), null_count=2),
        "nulls of a struct": pa.Array.from_buffers(
            structs.type, 2, pa.array([1, None], pa.int8()).buffers()[:1], 2, children=[NOT_UTF8]
        ),
        "union": pa.Array.from_buffers(
            dense.type, 2, [None, dense.buffers()[1], pa.array([0, 99], pa.int32()).buffers()[1]], children=[NOT_UTF8]
        ),
    }


DAMAGED = damaged()


@pytest.mark.parametrize("column", DAMAGED.values(), ids=DAMAGED)
def test_damage_beside_odd_values_is_found(column):
    with pytest.raises(pa.ArrowException):
        require_sound(pa.record_batch({"x": column}))


def test_unions_are_sound_with_odd_values():
    codes, places = pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32())
    for union in (pa.UnionArray.from_dense(codes, places, [NOT_UTF8]), pa.UnionArray.from_sparse(codes, [NOT_UTF8])):
        require_sound(pa.record_batch({"x": union}))


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    ("kind", "ddl"), [(pa.string_view(), "STRING"), (pa.binary_view(), "STRING"), (pa.binary_view(), "BINARY")]
)
def test_the_view_of_a_null_is_not_followed(kind, ddl, start):
    views = null_view(kind)
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), views)
    runs = pa.Array.from_buffers(
        pa.run_end_encoded(pa.int32(), kind), 3, [None], children=[pa.array([1, 2, 3], pa.int32()), views]
    )
    for column in (views, dictionary, runs):
        batch = pa.record_batch({"x": column}).slice(start)
        require_sound(batch)
        found = Conformer(TableSchema.from_ddl(f"x {ddl}")).conform(batch).batch["x"].cast(pa.large_binary())
        assert found.to_pylist() == [b"a long text that is not in the view", None, b"c"][start:]


@pytest.mark.parametrize("more", [1, 8])
def test_the_buffer_of_views_may_be_longer_than_they_are(more):
    views = null_view(pa.string_view())
    validity, content, *data = views.buffers()
    buffers = [validity, pa.py_buffer(content.to_pybytes() + b"\1" * more), *data]
    batch = pa.record_batch({"x": pa.Array.from_buffers(views.type, len(views), buffers)})
    require_sound(batch)
    assert decoded_bytes(batch) > 0
    found = Conformer(TableSchema.from_ddl("x STRING")).conform(batch).batch["x"]
    assert found.to_pylist() == ["a long text that is not in the view", None, "c"]


def _with_longer_buffers(array: pa.Array) -> pa.Array:
    """Return the same array with three more bytes in each buffer, which is allowed, and may be no whole value."""
    is_nested = pa.types.is_nested(array.type)
    own = array.buffers()[: array.type.num_buffers] if is_nested else array.buffers()
    buffers = [None if buffer is None else pa.py_buffer(buffer.to_pybytes() + b"\xff" * 3) for buffer in own]
    children = [_with_longer_buffers(array.values)] if is_nested else None
    return pa.Array.from_buffers(array.type, len(array), buffers, children=children)


OF_MANY_KINDS = {
    "BIGINT": pa.array([1, None, 3]),
    "INT": pa.array([1, None, 3], pa.int64()),
    "SMALLINT": pa.array([1.0, None, 3.0]),
    "DOUBLE": pa.array([1.5, None, 3.0]),
    "BOOLEAN": pa.array([True, None, False]),
    "DATE": pa.array([0, None, 86_400_000], pa.date64()),
    "TIMESTAMP": pa.array([1, None, 3], pa.timestamp("us", "UTC")),
    "STRING": pa.array(["a", None, "é" * 20]),
    "BINARY": pa.array([b"abc", None, b"def"], pa.binary(3)),
    "DECIMAL(5,2)": pa.array([Decimal("1.5"), None, Decimal(2)], pa.decimal128(5, 2)),
    "ARRAY<STRING>": pa.array([["a"], None, ["b", "c"]]),
    "ARRAY<BIGINT>": pa.array([[1], None, [2, 3]], pa.large_list(pa.int64())),
}
COLUMNS = [
    *OF_MANY_KINDS.items(),
    ("STRING", OF_MANY_KINDS["STRING"].cast(pa.string_view())),
    ("STRING", OF_MANY_KINDS["STRING"].cast(pa.large_string())),
    ("BINARY", pa.array([b"abc", None, b"long " * 9], pa.binary_view())),
    ("DECIMAL(5,2)", pa.array(["1.5", None, "2"])),
]


@pytest.mark.parametrize("copies", [1, 1_000])
@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize(("ddl", "column"), COLUMNS, ids=[f"{ddl} from {column.type}" for ddl, column in COLUMNS])
def test_buffers_may_be_longer_than_their_values(ddl, column, wire_format: WireFormat, copies):
    column = pa.concat_arrays([column] * copies)
    conversion = Conversion(TableSchema.from_ddl(f"x {ddl}"), wire_format, table="main.iot.air")
    batches = [pa.record_batch({"x": one}) for one in (column, _with_longer_buffers(column))]
    require_sound(batches[1])
    assert decoded_bytes(batches[1]) >= decoded_bytes(batches[0])
    plain, longer = ([(p.records, p.rows, p.rejected) for p in conversion.payloads(batch)] for batch in batches)
    assert longer == plain
    assert plain[0][1]
