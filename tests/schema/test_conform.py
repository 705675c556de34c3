"""`Conformer`: which columns and types fit, in which order, and what is said of those that do not."""

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
from beam_zerobus.schema import Conformer, Field, TableSchema

SECRET = "s3cret-value"


def column(case_type, *, nullable=True, name="c", number=1):
    return Field(name=name, type=case_type, nullable=nullable, number=number)


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


@given(st.lists(st.none() | st.lists(st.integers(0, 3), max_size=4), max_size=6), st.integers(0, 6), st.booleans())
def test_rows_whose_map_has_a_key_twice_are_rejected(maps, start, as_text):
    pairs = [None if keys is None else [(str(key) if as_text else key, 1) for key in keys] for keys in maps]
    column = pa.array(pairs, pa.map_(pa.string() if as_text else pa.int64(), pa.int32())).slice(start)
    result = conform(f"m MAP<{'STRING' if as_text else 'INT'}, INT>", pa.RecordBatch.from_arrays([column], names=["m"]))
    bad = [row for row, keys in enumerate(maps[start:]) if keys is not None and len(set(keys)) < len(keys)]
    assert [(error.index, error.error_type) for error in result.rejected] == [(row, "duplicate_key") for row in bad]
    assert result.batch.column("m").to_pylist() == [each for row, each in enumerate(pairs[start:]) if row not in bad]


@pytest.mark.parametrize("is_single", [False, True])
def test_zeros_and_nans_are_each_one_key_as_in_spark(is_single):
    bits, floats = (np.uint32, np.float32) if is_single else (np.uint64, np.float64)
    sign = 1 << (np.dtype(bits).itemsize * 8 - 1)
    nan = int(np.array([np.nan], floats).view(bits)[0])
    keys = np.array([0, sign, nan, nan | sign, nan + 1, sign, 0], bits).view(floats)
    column = pa.MapArray.from_arrays([0, 2, 4, 6, 7], keys, np.arange(7))
    batch = pa.RecordBatch.from_arrays([column], names=["m"])
    result = conform(f"m MAP<{'FLOAT' if is_single else 'DOUBLE'}, BIGINT>", batch)
    assert [(error.index, error.error_type) for error in result.rejected] == [
        (0, "duplicate_key"),
        (1, "duplicate_key"),
    ]
    kept = np.asarray(result.batch.column("m").keys).view(bits)
    assert kept.tolist() == [nan + 1, sign, 0]


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
