"""The rescue column: whatever a row holds is in its columns or in the JSON object of this one, in every wire format."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from contextlib import suppress
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import RowConverter, RowOptions
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ConversionError
from beam_zerobus.schema import Array, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema import Decimal as DecimalType
from beam_zerobus.variant import decode_variants

REST = "_rescued_data"
TYPES = [
    "INT", "BIGINT", "DOUBLE", "FLOAT", "STRING", "BOOLEAN", "DECIMAL(10,2)", "DECIMAL(38,10)", "VARIANT", "DATE",
    "ARRAY<BIGINT>", "MAP<STRING, INT>", "STRUCT<a: INT, b: STRUCT<a: STRING NOT NULL, c: BIGINT>>",
    "ARRAY<STRUCT<a: INT NOT NULL>>",
]  # fmt: skip
NAMES = ["a", "b", "c", "d"]
numbers = st.one_of(
    st.integers(-300, 300).map(Decimal),
    st.integers(-(10**40), 10**40).map(Decimal),
    st.sampled_from(["0.1", "1.50", "1e400", "-0", "1E-7", "9007199254740993", "123456789.123456789012"]).map(Decimal),
)
texts = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(["2024-01-02", "[1", '{"a":1}', "\ud800"])
objects = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "B", "new", "ä"]), inner, max_size=3).filter(
            lambda found: len({key.lower() for key in found}) == len(found)
        )
    ),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from([*NAMES, "C", "new", REST]), objects, max_size=5).filter(
    lambda found: len({key.lower() for key in found}) == len(found)
)
schemas = st.tuples(
    st.lists(st.sampled_from(TYPES), max_size=3), st.sampled_from(["STRING", "VARIANT"]), st.integers(0, 3)
)


def table(types: list[str], rest: str, position: int) -> TableSchema:
    columns = [f"{name} {kind}" for name, kind in zip(NAMES, types, strict=False)]
    columns.insert(position, f"{REST} {rest}")
    return TableSchema.from_ddl(", ".join(columns))


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def as_text(value: Any) -> str:
    """JSON text, by Python's own writer but for the numbers."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{as_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    return json.dumps(value)


def as_python(value: Any) -> Any:
    """A value as a program has it: whole numbers are ints."""
    if isinstance(value, dict):
        return {key: as_python(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_python(item) for item in value]
    is_whole = isinstance(value, Decimal) and value.as_tuple().exponent == 0
    return int(value) if is_whole else value


def encoded(schema: TableSchema, wire_format: Any, batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], list[Any]]:
    """Rows as a reader of the wire format sees them, and those that were rejected."""
    conversion = Conversion(schema, wire_format, table="a.b.c", rescue_column=REST)
    found: list[Any] = []
    rejected: list[Any] = []
    for payload in conversion.payloads(batch):
        rejected += payload.rejected
        if len(payload.rows):
            found += payload.records.to_pylist() if wire_format == "arrow" else payload.records
    if wire_format == "json":
        found = [parsed(record) for record in found]
    if wire_format == "proto":
        file = descriptor_pb2.FileDescriptorProto(name="row.proto", message_type=[conversion.descriptor])
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(conversion.descriptor.name))
        found = [json_format.MessageToDict(kind.FromString(r), preserving_proto_field_name=True) for r in found]
    return [{c.name: plain(row.get(c.name), c.type) for c in schema.columns} for row in found], rejected


def plain(value: Any, kind: Any) -> Any:  # noqa: PLR0911
    if value is None:
        return None
    if isinstance(kind, Struct):
        return {field.name: plain(value.get(field.name), field.type) for field in kind.fields}
    if isinstance(kind, Array):
        return [plain(item, kind.element) for item in value]
    if isinstance(kind, Map):
        return {key: plain(item, kind.value) for key, item in dict(value).items()}
    if kind is Primitive.VARIANT:
        if isinstance(value, dict):
            value = decode_variants(pa.array([value], pa.struct({"metadata": pa.binary(), "value": pa.binary()})))[0]
        return parsed(str(value))
    if kind is Primitive.DATE:
        epoch = dt.date(1970, 1, 1)
        return value.isoformat() if isinstance(value, dt.date) else (epoch + dt.timedelta(int(value))).isoformat()
    if kind in (Primitive.DOUBLE, Primitive.FLOAT):
        return float(value)
    is_number = isinstance(kind, DecimalType) or kind in (Primitive.INT, Primitive.BIGINT)
    return Decimal(str(value)) if is_number else value


def same(found: Any, given: Any) -> bool:
    """Whether both are equal; null and what is empty is the same as what is missing, as in protobuf."""
    if isinstance(found, dict) and isinstance(given, dict):
        left, right = ({k.lower(): v for k, v in one.items() if not is_empty(v)} for one in (found, given))
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(found, list) and isinstance(given, list):
        return len(found) == len(given) and all(map(same, found, given))
    if isinstance(found, float) and isinstance(given, Decimal):
        return math.isclose(found, given, rel_tol=1e-6)
    return (type(found) is type(given) and found == given) or (is_empty(found) and is_empty(given))


def is_empty(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, dict) and all(map(is_empty, value.values())))


def together(row: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """A row with what was rescued from it; no field is in both."""
    names = {key.lower(): key for key in row}
    for key, value in rest.items():
        name = names.get(key.lower(), key)
        if isinstance(value, dict) and isinstance(row.get(name), dict):
            row[name] = together(row[name], value)
        else:
            assert is_empty(row.get(name)), name
            row[name] = value
    return row


def whole(row: dict[str, Any]) -> dict[str, Any]:
    rest = row.pop(REST)
    rest = parsed(rest) if isinstance(rest, str) else rest  # in a VARIANT it may be a string of JSON
    return together(row, rest or {})


def meant(schema: TableSchema, row: dict[str, Any]) -> dict[str, Any]:
    """The row as its columns mean it: text in a VARIANT column is JSON where it can be, a number in a DATE one days."""
    types = {column.name: column.type for column in schema.columns if column.name != REST}
    found = {}
    for key, value in row.items():
        found[key] = value
        kind = types.get(key.lower())
        if kind is Primitive.DATE and isinstance(value, Decimal) and value.as_tuple().exponent == 0:
            with suppress(OverflowError):
                found[key] = (dt.date(1970, 1, 1) + dt.timedelta(int(value))).isoformat()
        if kind is Primitive.VARIANT and isinstance(value, str):
            with suppress(ValueError):
                found[key] = parsed(value)
    return found


def converter(schema: TableSchema) -> RowConverter:
    return RowConverter(schema, RowOptions(rescue_column=REST))


EVERY_FORMAT = [(wire_format, kind) for wire_format in ("proto", "arrow", "json") for kind in ("json", "row")]


@pytest.mark.parametrize(("wire_format", "kind"), EVERY_FORMAT)
@settings(max_examples=5)
@given(schemas, st.lists(rows, min_size=1, max_size=3))
@example(
    (["STRUCT<a: INT, b: STRUCT<a: STRING NOT NULL, c: BIGINT>>"], "VARIANT", 0),
    [{"a": {"b": {"a": "x", "z": Decimal(1)}}}],
)
@example((["INT"], "VARIANT", 1), [{"a": Decimal(1)}, {"a": Decimal("1e400"), "new": "\ud800"}])
@example((["ARRAY<BIGINT>", "MAP<STRING, INT>"], "STRING", 0), [{"a": [None, Decimal(1)], "b": {"x": None}}])
@example(([], "STRING", 0), [{REST: {"a": Decimal("1.50")}}, {}])
@example((["DATE"], "STRING", 0), [{"a": Decimal(0)}, {"a": Decimal(-300)}, {"a": Decimal(10**40)}])
def test_columns_and_rescued_fields_are_the_row(wire_format, kind, parts, given_rows):
    assert_nothing_is_lost(wire_format, kind, parts, given_rows)


@pytest.mark.hostile
@pytest.mark.parametrize(("wire_format", "kind"), EVERY_FORMAT)
@settings(max_examples=300)
@given(schemas, st.lists(rows, min_size=1, max_size=3))
def test_columns_and_rescued_fields_are_the_row_of_many(wire_format, kind, parts, given_rows):
    assert_nothing_is_lost(wire_format, kind, parts, given_rows)


def assert_nothing_is_lost(wire_format, kind, parts, given_rows):
    schema = table(*parts)
    elements = [as_text(row) for row in given_rows] if kind == "json" else [as_python(row) for row in given_rows]
    converted = converter(schema).convert(elements, kind)
    assert not converted.rejected
    found, rejected = encoded(schema, wire_format, converted.batch)
    assert not rejected
    assert len(found) == len(given_rows)
    for row, sent in zip(found, given_rows, strict=True):
        assert same(whole(row), meant(schema, sent)), (row, sent)


def sent(ddl: str, wire_format: str, batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], list[Any]]:
    return encoded(TableSchema.from_ddl(ddl), wire_format, batch)


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_columns_of_a_record_batch(wire_format):
    batch = pa.RecordBatch.from_pydict(
        {
            "ID": pa.array([1, 2**40, None]),
            "s": pa.array([{"x": 1, "y": Decimal("1.50")}, None, {"x": 3, "y": None}]),
            "v": ["[1", '{"n": 1.50}', None],
            "t": pa.array([b"\x00", None, b"a"]),
            "d": pa.array(["2024-01-02", "x", None]),
            "late": pa.array([dt.datetime(2024, 1, 2), None, None], pa.timestamp("ns", "UTC")),
            "id": pa.array(["a", None, "b"]),
        }
    )
    ddl = f"id INT, s STRUCT<x: INT>, v VARIANT, t BIGINT, d DATE, {REST} STRING"
    found, rejected = sent(ddl, wire_format, batch)
    assert not rejected
    assert [json.loads(row[REST]) for row in found] == [
        {"ID": 1, "s": {"y": 1.5}, "v": "[1", "t": "AA==", "late": "2024-01-02T00:00:00+00:00", "id": "a"}
        | {"d": "2024-01-02"},
        {"ID": 2**40, "d": "x"},
        {"t": "YQ==", "id": "b"},
    ]
    assert '"y":1.50' in found[0][REST]
    assert [(row["id"], row["s"], row["t"], row["d"]) for row in found] == [
        (None, {"x": 1}, None, None),
        (None, None, None, None),
        (None, {"x": 3}, None, None),
    ]
    assert found[1]["v"] == {"n": Decimal("1.50")}


@pytest.mark.parametrize("kind", ["json", "row"])
def test_what_a_not_null_column_cannot_hold_is_rejected(kind):
    schema = TableSchema.from_ddl(f"id INT NOT NULL, a INT, {REST} VARIANT")
    rows = [{"id": 1}, {"id": "x", "new": 1}, {"new": 2}, {"id": 4, "new": {"b": None}}]
    converted = converter(schema).convert([json.dumps(row) for row in rows] if kind == "json" else rows, kind)
    found, missing = encoded(schema, "proto", converted.batch)
    assert [(error.index, error.error_type) for error in converted.rejected] == [(1, "wrong_type")]
    assert [(error.index, error.error_type) for error in missing] == [(1, "null_in_not_null_column")]
    assert [(row["id"], row[REST]) for row in found] == [(1, None), (4, {"new": {"b": None}})]


def test_a_batch_is_rejected_for_a_not_null_column():
    ddl = f"id INT NOT NULL, {REST} STRING"
    found, rejected = sent(ddl, "arrow", pa.RecordBatch.from_pydict({"id": [1, None, 2**40], "new": [1, 2, 3]}))
    assert [(row["id"], row[REST]) for row in found] == [(1, '{"new":1}')]
    assert [(error.index, error.error_type) for error in rejected] == [
        (1, "null_in_not_null_column"),
        (2, "out_of_range"),
    ]
    for columns in ({"new": [1]}, {"id": ["x"]}):
        with pytest.raises(ConversionError, match="'id'"):
            sent(ddl, "arrow", pa.RecordBatch.from_pydict(columns))


def as_dataclass(row: dict[str, Any]) -> Any:
    return dataclasses.make_dataclass("Reading", row)(**row)


@pytest.mark.parametrize("form", [dict, lambda row: beam.Row(**row), as_dataclass, json.dumps])
def test_every_kind_of_row(form):
    schema = TableSchema.from_ddl(f"id INT, {REST} STRING")
    element = form({"id": 1, "new": "é", REST: "mine"})
    converted = converter(schema).convert([element], "json" if isinstance(element, str) else "row")
    assert converted.batch.to_pylist() == [{"id": 1, REST: f'{{"new":"é","{REST}":"mine"}}'}]


def test_values_that_json_does_not_have():
    schema = TableSchema.from_ddl(f"id INT, {REST} STRING")
    values = {
        "bytes": b"\x00",
        "day": dt.date(2024, 1, 2),
        "nan": math.nan,
        "pairs": {1: "a"},
        "price": Decimal("1.50"),
        "big": 10**50,
    }
    converted = converter(schema).convert([{"id": 1, "new": values}, {"id": 2, "new": object()}, {3: 3}], "row")
    assert json.loads(converted.batch[REST][0].as_py())["new"] == {
        "bytes": "AA==",
        "day": "2024-01-02",
        "nan": "NaN",
        "pairs": [[1, "a"]],
        "price": 1.5,
        "big": 10**50,
    }
    assert [(error.index, error.error_type) for error in converted.rejected] == [(1, "wrong_type"), (2, "wrong_type")]


def test_names_that_differ_in_case_only_are_both_kept():
    schema = TableSchema.from_ddl(f"id INT, {REST} STRING")
    converted = converter(schema).convert([{"ID": 1, "id": 2}, {"ID": 3, "Id": 4}, {"ID": 5}], "row")
    assert [(row["id"], row[REST]) for row in converted.batch.to_pylist()] == [
        (2, '{"ID":1}'),
        (3, '{"Id":4}'),
        (5, None),
    ]


def test_a_batch_that_is_sent_again_keeps_what_was_rescued_and_adds_to_it():
    schema = TableSchema.from_ddl(f"id INT, a INT, {REST} STRING")
    batch = converter(schema).convert([{"id": 1, "a": 2, "new": Decimal("1.50")}, {"id": 2}], "row").batch
    smaller = TableSchema.from_ddl(f"id INT, {REST} STRING")
    assert [row[REST] for row in encoded(smaller, "arrow", batch)[0]] == ['{"new":1.50,"a":2}', None]
