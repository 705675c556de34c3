"""`Conformer` compared with a plain Python implementation for single values."""

from __future__ import annotations

import datetime as dt
import decimal
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import ArrowEncoder, ProtoEncoder
from beam_zerobus.errors import ConversionError
from beam_zerobus.schema import Array, Conformer, Decimal, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type
from tests.schema.strategies import Case, leaf_cases

SECRET = "s3cret-value"


def column(case_type, *, nullable=True, name="c", number=1):
    return Field(name=name, type=case_type, nullable=nullable, number=number)


def raw(values, arrow_type):
    """An array of the type; temporal types are given as numbers."""
    kind = pa.types
    if kind.is_temporal(arrow_type):
        width = pa.int32() if kind.is_date32(arrow_type) else pa.int64()
        return pa.array(values, width).view(arrow_type)
    if kind.is_float16(arrow_type):  # pyarrow before 21 accepts only numpy's
        values = [value if value is None else np.float16(value) for value in values]
    return pa.array(values, arrow_type)


def expected_value(value, case):
    """A good value in the table: for dates and timestamps the number since the epoch."""
    if value is None:
        return None
    arrow, delta = case.arrow_type, case.delta_type
    if pa.types.is_timestamp(arrow):
        scale = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(arrow.unit)
        return value // 1_000 if scale is None else value * scale
    if pa.types.is_date64(arrow):
        return value // 86_400_000
    if isinstance(delta, Decimal):
        return decimal.Decimal(value)
    if isinstance(value, bytes) and delta is Primitive.STRING:
        return value.decode()
    return value


def seen(array):
    """The array as plain values; dates and timestamps as numbers."""
    if pa.types.is_temporal(array.type):
        return array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64()).to_pylist()
    return array.to_pylist()


@st.composite
def leaf_columns(draw):
    """A case, and rows of (value, reason or None); the reason also covers NOT NULL."""
    case: Case = draw(st.sampled_from(leaf_cases))
    nullable = draw(st.booleans())
    good = case.good.map(lambda value: (value, None))
    null = st.just((None, None if nullable else "null_in_not_null_column"))
    rows = draw(st.lists(st.one_of(good, null, *([case.bad] if case.bad is not None else [])), max_size=12))
    return case, nullable, rows


@settings(deadline=None)
@given(leaf_columns(), st.integers(0, 3), st.sampled_from(["plain", "dictionary", "run_end", "extension"]))
def test_each_value_of_each_type_arrives_exactly_or_is_rejected(drawn, offset, wrapping):
    case, nullable, rows = drawn
    values = [value for value, _ in rows]
    array = raw([None] * offset + values, case.arrow_type)[offset:]
    if wrapping == "dictionary" and values and not pa.types.is_decimal256(case.arrow_type):
        array = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(values))), array)
    elif wrapping == "run_end" and values:
        array = pa.RunEndEncodedArray.from_arrays(pa.array(np.arange(1, len(values) + 1)), array)
    elif wrapping == "extension":
        array = pa.ExtensionArray.from_storage(Wrapped(case.arrow_type), array)
    schema = TableSchema((column(case.delta_type, nullable=nullable),))
    conformed = Conformer(schema).conform(pa.RecordBatch.from_arrays([array], names=["c"]))

    bad = [(index, reason) for index, (_, reason) in enumerate(rows) if reason]
    assert [(error.index, error.error_type) for error in conformed.rejected] == bad
    kept = [index for index, (_, reason) in enumerate(rows) if not reason]
    assert (list(range(len(rows))) if conformed.rows is None else conformed.rows.tolist()) == kept
    conformed.batch.validate(full=True)
    out = conformed.batch.column(0)
    assert seen(out) == [expected_value(values[index], case) for index in kept]
    assert_canonical(out.type, case.delta_type)
    for error in conformed.rejected:
        assert error.stage == "schema"
        assert error.message.startswith("column 'c'")


class Wrapped(pa.ExtensionType):
    def __init__(self, storage):
        super().__init__(storage, "tests.wrapped")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(storage)


def assert_canonical(arrow_type, delta_type):
    if delta_type in (Primitive.STRING, Primitive.VARIANT):
        assert arrow_type in (pa.string(), pa.large_string())
    elif delta_type is Primitive.BINARY:
        assert arrow_type in (pa.binary(), pa.large_binary())
    elif isinstance(delta_type, Array):
        assert pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type)
        assert_canonical(arrow_type.value_type, delta_type.element)
    elif isinstance(delta_type, Map):
        assert_canonical(arrow_type.key_type, delta_type.key)
        assert_canonical(arrow_type.item_type, delta_type.value)
    elif isinstance(delta_type, Struct):
        assert [f.name for f in arrow_type] == [f.name for f in delta_type.fields]
        for arrow_field, field in zip(arrow_type, delta_type.fields, strict=True):
            assert_canonical(arrow_field.type, field.type)
    else:
        assert arrow_type == canonical_type(delta_type)


# Nested columns: the innermost INT may be int64 in Arrow, so that 2**40 is bad, and None is bad for NOT NULL.


@st.composite
def nested_types(draw, depth=3):
    kind = draw(st.sampled_from(["int", "array", "map", "struct"])) if depth else "int"
    if kind == "array":
        return Array(draw(nested_types(depth=depth - 1)), draw(st.booleans()))
    if kind == "map":
        return Map(Primitive.INT, draw(nested_types(depth=depth - 1)), draw(st.booleans()))
    if kind == "struct":
        return Struct(
            tuple(
                column(draw(nested_types(depth=depth - 1)), nullable=draw(st.booleans()), name=f"f{i}", number=i + 1)
                for i in range(draw(st.integers(1, 2)))
            )
        )
    return Primitive.INT


def incoming_type(draw, delta_type):
    """Any of the Arrow types that fit the nested type."""
    if isinstance(delta_type, Array):
        element = incoming_type(draw, delta_type.element)
        kinds = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda t: pa.list_(t, 2)]
        return draw(st.sampled_from(kinds))(element)
    if isinstance(delta_type, Map):
        return pa.map_(pa.int64(), incoming_type(draw, delta_type.value))
    if isinstance(delta_type, Struct):
        fields = [
            (f.name.upper() if i else f.name, incoming_type(draw, f.type)) for i, f in enumerate(delta_type.fields)
        ]
        return pa.struct(draw(st.permutations(fields)))
    return draw(st.sampled_from([pa.int64(), pa.int32()]))


def value_of(draw, delta_type, arrow_type, reasons, *, nullable):
    """A value; the errors in it are added to `reasons`."""
    if draw(st.integers(0, 5)) == 0:
        if not nullable:
            reasons.add("null_in_not_null_column")
        return None
    if isinstance(delta_type, Array):
        size = arrow_type.list_size if pa.types.is_fixed_size_list(arrow_type) else draw(st.integers(0, 2))
        return [
            value_of(draw, delta_type.element, arrow_type.value_type, reasons, nullable=delta_type.contains_null)
            for _ in range(size)
        ]
    if isinstance(delta_type, Map):
        pairs = []
        for key in range(draw(st.integers(0, 2))):
            big = draw(st.integers(0, 7)) == 0
            if big:
                reasons.add("out_of_range")
            value = value_of(
                draw, delta_type.value, arrow_type.item_type, reasons, nullable=delta_type.value_contains_null
            )
            pairs.append((2**40 + key if big else key, value))
        return pairs
    if isinstance(delta_type, Struct):
        types = {f.name.lower(): f for f in arrow_type}
        return {
            types[f.name].name: value_of(draw, f.type, types[f.name].type, reasons, nullable=f.nullable)
            for f in delta_type.fields
        }
    if arrow_type == pa.int64() and draw(st.integers(0, 7)) == 0:
        reasons.add("out_of_range")
        return 2**40
    return draw(st.integers(-5, 5))


def lower_keys(value):
    if isinstance(value, dict):
        return {key.lower(): lower_keys(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [lower_keys(inner) for inner in value]
    return value


@settings(deadline=None)
@given(st.data())
def test_nested_columns_lose_only_the_rows_that_are_bad_somewhere_inside(data):
    draw = data.draw
    delta_type = draw(nested_types())
    nullable = draw(st.booleans())
    arrow_type = incoming_type(draw, delta_type)
    rows, wrong = [], []
    for _ in range(draw(st.integers(0, 6))):
        reasons = set()
        rows.append(value_of(draw, delta_type, arrow_type, reasons, nullable=nullable))
        wrong.append(reasons)
    offset = draw(st.integers(0, 2))
    array = pa.array([None] * offset + rows, arrow_type)[offset:]
    batch = pa.RecordBatch.from_arrays([array], names=["C"])
    conformed = Conformer(TableSchema((column(delta_type, nullable=nullable),))).conform(batch)

    assert [error.index for error in conformed.rejected] == [i for i, reasons in enumerate(wrong) if reasons]
    for error in conformed.rejected:
        assert error.error_type in wrong[error.index]
    kept = [rows[i] for i, reasons in enumerate(wrong) if not reasons]
    conformed.batch.validate(full=True)
    assert lower_keys(conformed.batch.column(0).to_pylist()) == lower_keys(kept)
    assert_canonical(conformed.batch.column(0).type, delta_type)


def conform(ddl, batch, **options):
    return Conformer(TableSchema.from_ddl(ddl), **options).conform(batch)


def test_a_batch_that_fits_is_returned_unchanged():
    batch = pa.RecordBatch.from_pydict(
        {
            "id": pa.array([1, 2]),
            "name": pa.array(["a", "é"]),
            "at": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "p": pa.array([{"tags": ["a"], "x": 1.0}] * 2),
            "m": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
        }
    )
    ddl = (
        "id BIGINT NOT NULL, name STRING, at TIMESTAMP, p STRUCT<tags: ARRAY<STRING>, x: DOUBLE NOT NULL>, "
        "m MAP<STRING, BIGINT>"
    )
    conformed = conform(ddl, batch)
    assert conformed.batch is batch
    assert conformed.rows is None
    assert conformed.rejected == ()


def test_what_nulls_hide_is_neither_rejected_nor_carried():
    hidden = pa.array([2**40, 1])
    struct = pa.StructArray.from_arrays([hidden], names=["x"], mask=pa.array([True, False]))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), hidden, mask=pa.array([True, False]))
    maps = pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), hidden, hidden, mask=pa.array([True, False]))
    numbers = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x02"), hidden.buffers()[1]])
    times = numbers.view(pa.timestamp("us", "UTC"))
    batch = pa.RecordBatch.from_pydict({"s": struct, "l": lists, "m": maps, "n": numbers, "t": times})
    conformed = conform("s STRUCT<x: INT NOT NULL>, l ARRAY<INT>, m MAP<INT, INT>, n INT, t TIMESTAMP", batch)
    assert conformed.rejected == ()
    assert conformed.batch.drop_columns("t").to_pylist() == [
        {"s": None, "l": None, "m": None, "n": None},
        {"s": {"x": 1}, "l": [1], "m": [(1, 1)], "n": 1},
    ]


@settings(deadline=None, max_examples=50)
@given(
    st.permutations(["id", "p", "l", "m", "v"]), st.permutations(["a", "b", "c"]), st.sampled_from(["proto", "arrow"])
)
def test_every_order_of_columns_and_fields_is_sent_in_the_order_of_the_table(columns, fields, wire_format):
    types = {"a": pa.int64(), "b": pa.string(), "c": pa.list_(pa.int64())}
    struct = pa.struct([(name.upper(), types[name]) for name in fields])
    values = {"A": 1, "B": "x", "C": [2]}
    point = {name.upper(): values[name.upper()] for name in fields}
    arrays = {
        "id": pa.array([7]),
        "p": pa.array([point], struct),
        "l": pa.array([[point, None]] if wire_format == "arrow" else [[point]], pa.list_(struct)),
        "m": pa.array([[("k", point)]], pa.map_(pa.string(), struct)),
        "v": pa.array([0.5]),
    }
    inner = "STRUCT<a: INT, b: STRING, c: ARRAY<BIGINT>>"
    schema = TableSchema.from_ddl(f"v DOUBLE, m MAP<STRING, {inner}>, id BIGINT NOT NULL, l ARRAY<{inner}>, p {inner}")
    batch = pa.RecordBatch.from_arrays([arrays[name] for name in columns], names=columns)
    conformed = Conformer(schema).conform(batch).batch
    assert conformed.schema.names == schema.to_arrow().names
    plain = {"a": 1, "b": "x", "c": [2]}
    expected = {"v": 0.5, "m": [("k", plain)], "id": 7, "l": [plain, None], "p": plain}
    if wire_format == "arrow":
        (sent,) = ArrowEncoder(schema).encode(conformed)
        assert sent.records.schema.equals(schema.to_arrow(), check_metadata=True)
        assert sent.records.to_pylist() == [expected]
    else:
        expected["l"] = [plain]
        straight = pa.RecordBatch.from_pylist([expected], schema.to_canonical_arrow())
        assert [p.records for p in ProtoEncoder(schema).encode(conformed)] == [
            p.records for p in ProtoEncoder(schema).encode(straight)
        ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1e99999999999999999999", "out_of_range"),
        ("-0.4e00669999999999999999999999999", "out_of_range"),
        ("1e-99999999999999999999", "inexact"),
        ("1e999999999999999999", "out_of_range"),
        ("1e-999999999999999999", "inexact"),
        ("0." + "0" * 5000 + "1", "inexact"),
        ("9" * 5000, "out_of_range"),
        ("1" * 1_000_000 + "x", "invalid_text"),
        ("Infinity", "invalid_text"),
        ("0e99999999999999999999", None),
        ("-0.0e-99999999999999999999", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_decimal_text_of_any_size_concerns_its_row_only(text, reason):
    batch = pa.RecordBatch.from_pydict({"d": ["1.5", text, None], "n": [1, 2, 3]})
    conformed = conform("d DECIMAL(10,2), n BIGINT", batch)
    assert [(error.index, error.error_type) for error in conformed.rejected] == ([(1, reason)] if reason else [])
    assert conformed.batch.column("d").to_pylist()[0] == decimal.Decimal("1.50")
    if reason is None:
        assert conformed.batch.column("d").to_pylist()[1] == 0


def test_malformed_text_is_rejected_in_its_row():
    text = pa.array([b"ok", b"\xff", None, b"\xc3\xa9"]).view(pa.string())
    split = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer("é".encode()))
    assert [e.index for e in conform("c STRING", pa.RecordBatch.from_pydict({"c": text})).rejected] == [1]
    assert [e.index for e in conform("c STRING", pa.RecordBatch.from_pydict({"c": split})).rejected] == [0, 1]
    view = pa.array([b"a", b"\xff"], pa.binary_view()).view(pa.string_view())
    assert [e.index for e in conform("c STRING", pa.RecordBatch.from_pydict({"c": view})).rejected] == [1]
    assert [e.index for e in conform("c DECIMAL(5,2)", pa.RecordBatch.from_pydict({"c": text[1:2]})).rejected] == [0]


def test_missing_columns_are_null_and_unknown_ones_are_named():
    batch = pa.RecordBatch.from_pydict({"ID": [1], "extra": [2]})
    ddl = "name STRING, id BIGINT, p STRUCT<x: INT>, d DECIMAL(5,2)"
    with pytest.raises(ConversionError, match="'extra' is not in the table"):
        conform(ddl, batch)
    conformed = conform(ddl, batch, ignore_unknown_fields=True)
    assert conformed.batch.schema.names == ["name", "id", "p", "d"]
    assert conformed.batch.to_pylist() == [{"name": None, "id": 1, "p": None, "d": None}]


def test_nested_fields_are_matched_like_columns():
    batch = pa.RecordBatch.from_pydict({"p": [{"Y": 1, "x": 2}]})
    assert conform("p STRUCT<x: INT, y: INT, z: STRING>", batch).batch.to_pylist() == [
        {"p": {"x": 2, "y": 1, "z": None}}
    ]
    with pytest.raises(ConversionError, match=r"'p\.Y' is not in the table"):
        conform("p STRUCT<x: INT>", batch)
    with pytest.raises(ConversionError, match=r"'p\.z' \(STRING\) is NOT NULL"):
        conform("p STRUCT<x: INT, y: INT, z: STRING NOT NULL>", batch)
    assert conform("p STRUCT<x: INT>", batch, ignore_unknown_fields=True).batch.to_pylist() == [{"p": {"x": 2}}]


@pytest.mark.parametrize(
    ("ddl", "arrow_type", "says"),
    [
        ("c BOOLEAN", pa.int8(), "cast the column to bool"),
        ("c INT", pa.string(), "integers fit"),
        ("c FLOAT", pa.float64(), "round"),
        ("c DOUBLE", pa.string(), "float64"),
        ("c STRING", pa.int64(), "cast the column to string"),
        ("c VARIANT", pa.struct([("a", pa.int64())]), "JSON text"),
        ("c BINARY", pa.string(), "base64"),
        ("c DATE", pa.timestamp("us"), "date32"),
        ("c DATE", pa.int32(), "date32"),
        ("c TIMESTAMP", pa.timestamp("us"), "assume_timezone"),
        ("c TIMESTAMP_NTZ", pa.timestamp("us", "UTC"), "local_timestamp"),
        ("c TIMESTAMP", pa.time64("us"), "timestamps fit"),
        ("c BIGINT", pa.duration("s"), "integers fit"),
        ("c BIGINT", pa.time32("s"), "integers fit"),
        ("c DECIMAL(5,2)", pa.float64(), "decimal128(5, 2)"),
        ("c ARRAY<INT>", pa.int32(), "lists fit"),
        ("c MAP<STRING, INT>", pa.struct([("a", pa.int32())]), "map fits"),
        ("c STRUCT<a: INT>", pa.map_(pa.string(), pa.int32()), "struct fits"),
        ("c ARRAY<INT>", pa.list_(pa.string()), "'c.element' is INT"),
        ("c MAP<STRING, INT>", pa.map_(pa.int32(), pa.int32()), "'c.key' is STRING"),
        ("c STRUCT<a: INT>", pa.struct([("a", pa.string())]), "'c.a' is INT"),
        ("c INT", pa.month_day_nano_interval(), "integers fit"),
    ],
)
def test_types_that_do_not_fit_are_rejected_with_path_and_remedy(ddl, arrow_type, says):
    with pytest.raises(ConversionError) as caught:
        conform(ddl, pa.RecordBatch.from_arrays([pa.nulls(1, arrow_type)], names=["c"]))
    assert says in str(caught.value)
    assert "column 'c" in str(caught.value)


def test_all_problems_are_named_at_once():
    batch = pa.RecordBatch.from_pydict({"a": ["x"], "b": [1], "nmae": ["x"]})
    with pytest.raises(ConversionError) as caught:
        conform("a INT, b STRING, name STRING, needed INT NOT NULL", batch)
    for part in ("'a' is INT", "'b' is STRING", "did you mean 'name'", "'needed' (INT) is NOT NULL"):
        assert part in str(caught.value)


def test_names_that_differ_in_case_only_are_ambiguous():
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["id", "ID"])
    with pytest.raises(ConversionError, match="both match the table's 'id'"):
        conform("id BIGINT", batch)


def test_null_type_is_null_of_any_type():
    batch = pa.RecordBatch.from_pydict({"c": pa.nulls(2)})
    for ddl in ("c INT", "c STRUCT<a: INT>", "c ARRAY<INT>", "c MAP<STRING, INT>", "c DECIMAL(3,1)"):
        assert conform(ddl, batch).batch.to_pylist() == [{"c": None}] * 2
    assert [e.error_type for e in conform("c INT NOT NULL", batch).rejected] == ["null_in_not_null_column"] * 2


def test_arrows_own_extension_types_count_as_their_storage():
    batch = pa.RecordBatch.from_arrays(
        [
            pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}'])),
            pa.ExtensionArray.from_storage(pa.bool8(), pa.array([3], pa.int8())),
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))),
        ],
        names=["v", "b", "u"],
    )
    assert conform("v VARIANT, b BOOLEAN, u BINARY", batch).batch.to_pylist() == [
        {"v": '{"a":1}', "b": True, "u": b"0" * 16}
    ]


def test_rows_have_one_reason_each_and_no_value_in_it():
    batch = pa.RecordBatch.from_pydict(
        {"a": pa.array([None, 1], pa.int64()), "b": pa.array([SECRET.encode() + b"\xff", b"x"]), "d": [SECRET, "1"]}
    )
    conformed = conform("a INT NOT NULL, b STRING, d DECIMAL(3,1)", batch)
    assert [(e.index, e.error_type) for e in conformed.rejected] == [(0, "null_in_not_null_column")]
    for ddl in ("b STRING", "d DECIMAL(3,1)"):
        for error in conform(ddl, batch, ignore_unknown_fields=True).rejected:
            assert SECRET not in error.message


def test_threads_share_a_conformer_while_schemas_change():
    conformer = Conformer(TableSchema.from_ddl("id INT"))
    types = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()] * 4
    results, barrier = [], threading.Barrier(4)

    def run():
        barrier.wait()
        for index, arrow_type in enumerate(types):
            fields = [pa.field("id", arrow_type)]
            batch = pa.RecordBatch.from_arrays([pa.array([index], arrow_type)], schema=pa.schema(fields))
            results.append(conformer.conform(batch).batch.to_pylist() == [{"id": index}])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 * len(types)
    assert all(results)


def test_empty_batches_and_wide_ones():
    ddl = ", ".join(f"c{i} INT NOT NULL" for i in range(2000))
    batch = pa.RecordBatch.from_arrays([pa.array([], pa.int64())] * 2000, names=[f"c{i}" for i in range(2000)])
    assert conform(ddl, batch).batch.num_columns == 2000


def test_pandas_nanoseconds_that_are_whole_microseconds_fit():
    values = np.array(["2024-05-01T12:00:00.000001", "NaT"], dtype="datetime64[ns]")
    batch = pa.RecordBatch.from_pydict({"at": pa.array(values)})
    assert conform("at TIMESTAMP_NTZ", batch).batch.to_pylist() == [
        {"at": dt.datetime(2024, 5, 1, 12, 0, 0, 1)},
        {"at": None},
    ]
