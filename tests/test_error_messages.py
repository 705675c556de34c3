"""Every reason for a rejected row names table, column, row, the value's type and the remedy, and never the value."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from beam_zerobus import ConversionError, WriteToZerobus, ZerobusWriter
from beam_zerobus.batching import element_converter, row_kind
from beam_zerobus.errors import RowError, summarize
from beam_zerobus.schema import RowErrorType, TableSchema

ROOT = Path(__file__).parents[1]
TABLE = "main.iot.air"
DOCS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECRET = "s3cr3t"
NUMBER = 777_777_777_777


class Coloured(NamedTuple):
    c: int
    colour: str


@dataclass(frozen=True)
class Case:
    """A row that is rejected, and what its reason has to name.

    Attributes:
        ddl: The table's columns.
        bad: The row: a dict, NamedTuple or JSON text; or an Arrow array, the second value of which is bad.
        path: The column.
        type: The value's type.
        remedy: What the user should do.
        secret: The value's text, which the message must not hold.
    """

    ddl: str
    bad: Any
    error_type: RowErrorType
    path: str
    type: str
    remedy: str
    secret: str = SECRET


T = RowErrorType
FROM_PYTHON = [
    Case("c INT", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass an int"),
    Case("c BOOLEAN", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass a bool"),
    Case("c DOUBLE", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass a float"),
    Case("c BINARY", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass bytes"),
    Case("c STRING", {"c": NUMBER}, T.WRONG_TYPE, "c", "int", "pass a str", secret=str(NUMBER)),
    Case("c DATE", {"c": dt.datetime(1999, 8, 7)}, T.WRONG_TYPE, "c", "datetime", "pass a date", secret="1999"),
    Case("c TIMESTAMP", {"c": dt.datetime(1999, 8, 7)}, T.WRONG_TYPE, "c", "datetime", "give it one", secret="1999"),
    Case(
        "c TIMESTAMP_NTZ",
        {"c": dt.datetime(1999, 8, 7, tzinfo=dt.UTC)},
        T.WRONG_TYPE,
        "c",
        "datetime",
        "drop it",
        secret="1999",
    ),
    Case("c VARIANT", {"c": {SECRET}}, T.WRONG_TYPE, "c", "set", "pass JSON text"),
    Case("c VARIANT", {"c": {1: SECRET, "1": SECRET}}, T.INVALID_JSON, "c", "dict", "drop one"),
    Case("c ARRAY<INT>", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass a list"),
    Case("c ARRAY<INT>", {"c": [1, SECRET]}, T.WRONG_TYPE, "c.element", "str", "pass an int"),
    Case("c MAP<STRING, INT>", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass a dict"),
    Case("c MAP<STRING, INT>", {"c": {"a": SECRET}}, T.WRONG_TYPE, "c.value", "str", "pass an int"),
    Case(
        "c MAP<STRING, BIGINT>",
        {"c": {None: NUMBER}},
        T.NULL_IN_NOT_NULL_COLUMN,
        "c.key",
        "NoneType",
        "drop the entry",
        secret=str(NUMBER),
    ),
    Case("c STRUCT<x: INT>", {"c": SECRET}, T.WRONG_TYPE, "c", "str", "pass a dict"),
    Case("c STRUCT<x: INT>", {"c": {"x": SECRET}}, T.WRONG_TYPE, "c.x", "str", "pass an int"),
    Case(
        "c STRUCT<x: INT>",
        {"c": {"y": SECRET}},
        T.UNKNOWN_FIELD,
        "c.y",
        "str",
        'on_unknown_fields="ignore", "add" or "rescue"',
    ),
    Case(
        "c INT", {"colour": SECRET}, T.UNKNOWN_FIELD, "colour", "str", 'on_unknown_fields="ignore", "add" or "rescue"'
    ),
    Case(
        "c INT", Coloured(1, SECRET), T.UNKNOWN_FIELD, "colour", "str", 'on_unknown_fields="ignore", "add" or "rescue"'
    ),
    Case("c STRING", {"c": "a", "C": SECRET}, T.UNKNOWN_FIELD, "C", "appears twice", "drop one"),
    Case("c INT NOT NULL", {"c": None}, T.NULL_IN_NOT_NULL_COLUMN, "c", "int32", "give it a value"),
    Case("c TINYINT", {"c": NUMBER}, T.OUT_OF_RANGE, "c", "int", "correct the row", secret=str(NUMBER)),
    Case("c FLOAT", {"c": 7.77e99}, T.OUT_OF_RANGE, "c", "float", "use DOUBLE", secret="7.77"),
    Case(
        "c DECIMAL(4, 1)",
        {"c": decimal.Decimal(NUMBER)},
        T.OUT_OF_RANGE,
        "c",
        "Decimal",
        "larger precision",
        secret=str(NUMBER),
    ),
    Case("c DECIMAL(4, 1)", {"c": decimal.Decimal("7.77")}, T.INEXACT, "c", "Decimal", "larger scale", secret="7.77"),
    Case("c DECIMAL(4, 1)", {"c": SECRET}, T.INVALID_TEXT, "c", "str", "use STRING"),
    Case(
        "c TIMESTAMP_NTZ",
        {"c": np.datetime64(NUMBER, "ns")},
        T.INEXACT,
        "c",
        "datetime64",
        "round it",
        secret=str(NUMBER),
    ),
    Case("c DATE", {"c": SECRET}, T.INVALID_TEXT, "c", "str", "correct the row"),
    Case("c TIMESTAMP", {"c": SECRET}, T.INVALID_TEXT, "c", "str", "correct the row"),
    Case("c STRING", {"c": b"\xffs3cr3t"}, T.INVALID_UTF8, "c", "bytes", "use BINARY"),
    Case("c STRING", {"c": "\ud800s3cr3t"}, T.INVALID_UTF8, "c", "str", "correct the row"),
    Case("c BINARY", '{"c": "s3cr3t!"}', T.INVALID_TEXT, "c", "str", "correct the row"),
]
FROM_ARROW = [
    Case("c TINYINT", pa.array([1, NUMBER]), T.OUT_OF_RANGE, "c", "int64", "wider integer", secret=str(NUMBER)),
    Case(
        "c BIGINT",
        pa.array([1, 2**63 + 1], pa.uint64()),
        T.OUT_OF_RANGE,
        "c",
        "uint64",
        "use DECIMAL(20,0)",
        secret=str(2**63 + 1),
    ),
    Case("c FLOAT", pa.array([1, NUMBER]), T.INEXACT, "c", "int64", "use BIGINT or DECIMAL", secret=str(NUMBER)),
    Case(
        "c DECIMAL(4, 1)", pa.array([1, NUMBER]), T.OUT_OF_RANGE, "c", "int64", "larger precision", secret=str(NUMBER)
    ),
    Case("c DECIMAL(4, 1)", pa.array(["1", SECRET]), T.INVALID_TEXT, "c", "string", "use STRING"),
    Case(
        "c DECIMAL(4, 1)",
        pa.array([None, decimal.Decimal("7.77")]),
        T.INEXACT,
        "c",
        "decimal128(3, 2)",
        "larger scale",
        secret="7.77",
    ),
    Case(
        "c DATE",
        pa.array([0, NUMBER], pa.int64()).cast(pa.date64()),
        T.INEXACT,
        "c",
        "date64",
        "TIMESTAMP_NTZ",
        secret=str(NUMBER),
    ),
    Case(
        "c DATE",
        pa.array([0, 7_777_777], pa.int32()).cast(pa.date32()),
        T.OUT_OF_RANGE,
        "c",
        "date32",
        "correct the row",
        secret="7777777",
    ),
    Case(
        "c TIMESTAMP",
        pa.array([0, 7 * 10**17], pa.timestamp("us", "UTC")),
        T.OUT_OF_RANGE,
        "c",
        "timestamp[us",
        "correct the row",
        secret="70000",
    ),
    Case(
        "c TIMESTAMP",
        pa.array([0, NUMBER], pa.timestamp("ns", "UTC")),
        T.INEXACT,
        "c",
        "timestamp[ns",
        "round the column",
        secret=str(NUMBER),
    ),
    Case("c STRING", pa.array([b"a", b"\xffs3cr3t"]), T.INVALID_UTF8, "c", "binary", "use BINARY"),
    Case("c INT NOT NULL", pa.array([1, None], pa.int32()), T.NULL_IN_NOT_NULL_COLUMN, "c", "int32", "give it a value"),
    Case(
        "c STRUCT<x: ARRAY<STRUCT<y: TINYINT>>>",
        pa.array([None, {"x": [{"y": NUMBER}]}]),
        T.OUT_OF_RANGE,
        "c.x.element.y",
        "int64",
        "wider integer",
        secret=str(NUMBER),
    ),
    Case(
        "c ARRAY<INT>",
        pa.array([[1], [NUMBER % 1000, None]], pa.list_(pa.int32())),
        T.NULL_LIST_ELEMENT,
        "c.element",
        "INT",
        "wire_format='arrow'",
        secret=str(NUMBER % 1000),
    ),
    Case(
        "c MAP<INT, INT>",
        pa.array([None, [(777, None)]], pa.map_(pa.int32(), pa.int32())),
        T.NULL_MAP_VALUE,
        "c.value",
        "INT",
        "wire_format='arrow'",
        secret="777",
    ),
    Case(
        "c STRUCT<m: MAP<STRING, INT>>",
        pa.array([None, {"m": [(SECRET, 1), (SECRET, 2)]}], pa.struct({"m": pa.map_(pa.string(), pa.int32())})),
        T.DUPLICATE_KEY,
        "c.m",
        "MAP<STRING, INT>",
        "drop one",
    ),
    Case("c BINARY", pa.array([b"", b"s3cr3t" * 2_000_000]), T.ROW_TOO_LARGE, "", "12,000,010 bytes", "smaller"),
]


def rejections_of(case: Case) -> tuple[RowError, ...]:
    schema = TableSchema.from_ddl(case.ddl)
    if isinstance(case.bad, pa.Array):
        batch = pa.RecordBatch.from_arrays([case.bad], names=["c"])
    else:
        kind = row_kind(type(case.bad))
        good = {"c": 1} if "NOT NULL" in case.ddl else {}
        elements = [json.dumps(good) if kind == "json" else good, case.bad]
        converted = element_converter(kind, schema)(elements)
        if converted.rejected:
            return converted.rejected
        batch = converted.batch
    with ZerobusWriter(TABLE, schema=schema, dry_run=True) as writer:
        return writer.send_batch(batch).failed_rows


@pytest.mark.parametrize("case", FROM_PYTHON + FROM_ARROW, ids=lambda case: f"{case.ddl} {case.error_type}")
def test_a_reason_names_everything_but_the_value(case):
    (error,) = rejections_of(case)
    text = summarize([error], table=TABLE, total_rows=2)
    assert error.error_type == case.error_type.value
    assert f"rejected for table {TABLE}: row 1: " in text
    assert re.search(rf"column '{re.escape(case.path)}'" if case.path else "the row has", error.message)
    assert re.search(rf"(?<!\w){re.escape(case.type)}", error.message), error.message
    assert case.remedy in error.message.partition("; ")[2], error.message
    assert case.secret not in text


@pytest.mark.parametrize(
    ("element", "error_type", "says"),
    [
        ("{s3cr3t", T.INVALID_JSON, "an element of Python type str is not valid JSON (at character 1); correct it"),
        ('{"k": "s3cr3t", "k": 1}', T.INVALID_JSON, "an element of Python type str is JSON with the key 'k' twice"),
        ('["s3cr3t"]', T.INVALID_JSON, "an element of Python type str is JSON, but not an object; pass one object"),
        (b"\xff", T.INVALID_JSON, "an element of Python type bytes is not valid JSON, as it is not UTF-8; correct it"),
    ],
)
def test_invalid_json_has_no_column(element, error_type, says):
    (error,) = element_converter("json", TableSchema.from_ddl("c INT"))([element]).rejected
    assert error.error_type == error_type
    assert error.message.startswith(says)
    assert SECRET not in error.message


def test_an_element_that_is_not_a_row_has_no_column():
    (error,) = element_converter("row", TableSchema.from_ddl("c INT"))([frozenset({SECRET})]).rejected
    assert error.message == (
        "an element is one row: a value of Python type frozenset does not fit; pass a dict, a NamedTuple, a dataclass "
        "or a beam.Row"
    )


def test_every_type_of_error_has_a_case_and_a_line_in_the_docs():
    with_cases = {case.error_type for case in FROM_PYTHON + FROM_ARROW}
    from_the_service = {T.REJECTED_BY_SERVICE, T.REJECTED_UNTRIED}  # tests/writer/test_recovery.py
    of_destinations = {T.INVALID_TABLE, T.UNKNOWN_TABLE}  # tests/destinations, tests/sink/test_many_tables.py
    assert with_cases | {T.INVALID_JSON} | from_the_service | of_destinations == set(RowErrorType)
    rows = DOCS[DOCS.index("| --- |") : DOCS.index("Of several reasons")]
    assert set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) == {error_type.value for error_type in RowErrorType}


WHOLE_BATCHES = [
    ("c INT", pa.table({"c": [1], "weight": [7.77]}), "'weight' is not in the table; it has Arrow type double"),
    (
        "c INT, d INT NOT NULL",
        pa.table({"c": [1]}),
        r"column 'd' \(INT\) is NOT NULL in the table and missing from the batch; add",
    ),
    (
        "c INT",
        pa.table({"c": ["s3cr3t"]}),
        "column 'c' is INT and does not accept Arrow type string: .*; cast the column",
    ),
    ("c STRUCT<x: INT>", pa.table({"c": [{"x": "7"}]}), "column 'c.x' is INT and does not accept Arrow type string"),
    ("c INT", pa.table([[1], [2]], names=["c", "C"]), "columns 'c' and 'C' both match the table's 'c'.*; drop one"),
    (
        "c ARRAY<ARRAY<INT>>",
        pa.table({"c": [[[1]]]}),
        "column 'c': Zerobus does not accept ARRAY<ARRAY<INT>> in protobuf or Arrow streams; wrap",
    ),
]


@pytest.mark.parametrize(("ddl", "batch", "says"), WHOLE_BATCHES, ids=lambda value: str(value)[:40])
def test_a_batch_that_cannot_fit_is_rejected_with_table_and_column(ddl, batch, says):
    with (
        ZerobusWriter(TABLE, schema=ddl, dry_run=True) as writer,
        pytest.raises(ConversionError, match=rf"^table main\.iot\.air: .*{says}") as raised,
    ):
        writer.send_batch(batch)
    assert not re.search("7.77|s3cr3t", str(raised.value))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("c INTT", "schema DDL, line 1, column 3: 'INTT' is not a Delta type; did you mean INT?"),
        ("", "schema DDL, line 1, column 1: expected a name and a type"),
        ("`a b` INT", "column 'a b': names consist of ASCII letters"),
        (
            ", ".join(f"c{n} INT" for n in range(2_001)),
            "the schema has 2001 columns, Zerobus accepts at most 2000: group columns",
        ),
        (
            pa.schema([("t", pa.time32("s"))]),
            "column 't' of Arrow type time32[s] has no Delta type: Delta has no type for a time",
        ),
        ("c " + "ARRAY<" * 65 + "INT" + ">" * 65, "types nest deeper than 64 levels; flatten the column"),
    ],
)
def test_a_schema_that_no_table_can_have_is_rejected_with_the_tables_name(schema, says):
    with pytest.raises(ValueError, match=rf"^table main\.iot\.air: .*{re.escape(says)}"):
        WriteToZerobus(TABLE, schema=schema, dry_run=True)
