"""Masked values: another content, the same type, lengths and nulls."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.emulator.recording.masked_arrow import masked_array
from beam_zerobus.emulator.recording.masked_text import masked_row, masked_text, masked_value
from beam_zerobus.emulator.recording.masks import CallMask, masked_request
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.ipc import read_batch, read_schema
from beam_zerobus.emulator.wire import FlightData, Request
from beam_zerobus.schema import TableSchema
from beam_zerobus.variant import encode_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
HARMLESS = set('x0123456789+-.eE{}[]":,truefalsn NaIity')


@settings(max_examples=50)
@given(st.text())
def test_a_text_keeps_its_bytes_and_nothing_else(text: str) -> None:
    masked = masked_text(text)
    assert set(masked) <= HARMLESS
    if text.isascii() and text.isalpha() and text not in ("true", "false", "null", "NaN", "Infinity"):
        assert masked == "x" * len(text)


def shape(value: object) -> object:
    """Return types, nulls and lengths of lists."""
    match value:
        case dict():
            return [shape(one) for one in value.values()]
        case list():
            return [shape(one) for one in value]
        case _:
            return type(value)


@settings(max_examples=50)
@given(JSON)
def test_json_keeps_its_shape(value: object) -> None:
    masked = masked_value(value)
    assert shape(masked) == shape(value)
    assert shape(masked_value(json.loads(json.dumps(masked)))) == shape(value), "it can be masked again"


def test_the_table_says_which_names_are_columns() -> None:
    columns = TableSchema.from_ddl("m MAP<STRING, STRUCT<a: INT>>, l ARRAY<STRUCT<b: STRING>>").columns
    row = {"m": {"k": {"a": 5}, "l": None}, "l": [{"b": "secret"}, None], "new": {"key": 2}}
    masked = {"m": {"x": {"a": 1}, "x1": None}, "l": [{"b": "xxxxxx"}, None], "new": {"xxx": 1}}
    assert masked_row(row, columns) == masked
    assert masked_row("text", columns) == "xxxx"


STRUCT = pa.struct([("a", pa.int32()), ("b", pa.string())])
ARRAYS = [
    *(pa.array([None, 7, 100], kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32())),
    pa.array([None, 2.5, 7.0]),
    pa.array([None, False, True]),
    pa.array([None, "ab", ""]),
    pa.array([None, "ab", ""], pa.large_string()),
    pa.array([None, b"ab", b""]),
    pa.array([None, b"ab", b""], pa.large_binary()),
    pa.array([None, Decimal("-7.25"), Decimal("999.99")], pa.decimal128(5, 2)),
    pa.array([None, dt.date(2026, 1, 1), dt.date(1, 1, 1)]),
    pa.array([None, 5, 6], pa.timestamp("us")),
    pa.array([None, 5, 6], pa.timestamp("us", "UTC")),
    pa.array([None, [1, None, 3], []], pa.list_(pa.int64())),
    pa.array([None, [[2], None], []], pa.large_list(pa.list_(pa.int64()))),
    pa.array([None, {"a": 5, "b": None}, {"a": None, "b": "bc"}], STRUCT),
    pa.array([None, [("k", 5), ("l", None)], []], pa.map_(pa.string(), pa.int64())),
    pa.array([None, [(5, {"a": 7, "b": "c"}), (6, None)], []], pa.map_(pa.int32(), STRUCT)),
    encode_json(pa.array([None, '{"key": ["secret", 77]}', '"secret"']))[0],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type)[:40])
def test_arrow_arrays_keep_type_nulls_and_lengths(array: pa.Array) -> None:
    for part in (array, array.slice(1), array.slice(0, 1), array.slice(0, 0)):
        masked = masked_array(part)
        masked.validate(full=True)
        assert (masked.type, len(masked), masked.null_count) == (part.type, len(part), part.null_count)
        assert masked.is_null().equals(part.is_null())
        if pa.types.is_list(array.type) or pa.types.is_map(array.type) or pa.types.is_string(array.type):
            assert [one and len(one) for one in masked.to_pylist()] == [one and len(one) for one in part.to_pylist()]
    assert not {7, 77, 100, "secret", "ab", b"ab"} & set(map(str, masked_array(array).to_pylist()))


@settings(max_examples=50)
@given(st.binary())
def test_any_message_is_masked_or_left_out(body: bytes) -> None:
    columns = TableSchema.from_ddl("id INT").columns
    for method in ("/databricks.zerobus.Zerobus/EphemeralStream", "/arrow.flight.protocol.FlightService/DoPut"):
        mask = CallMask(method, lambda _: columns)
        for message in (b"", body, body):
            assert mask.message(message) is not None
    assert CallMask("/other.Service/Call", lambda _: columns).message(body) is None
    for path in ("/zerobus/v1/tables/t/insert", "/control/faults", "/api/2.0/sql/statements"):
        assert masked_request(path, body, lambda _: columns) is not None


def test_what_hides_in_unknown_fields_is_dropped() -> None:
    unknown = bytes([0xA2, 0x06, 6]) + b"canary"  # field 100
    for kind in (Request, FlightData):
        body = kind().SerializeToString() + unknown
        name = (
            "databricks.zerobus.Zerobus/EphemeralStream"
            if kind is Request
            else "arrow.flight.protocol.FlightService/DoPut"
        )
        masked = CallMask(f"/{name}", lambda _: ()).message(body)
        assert masked is not None
        assert b"canary" not in masked


@pytest.mark.parametrize(
    ("statement", "masked"),
    [
        ("CREATE TABLE t (a INT COMMENT 'canary', b INT)", "CREATE TABLE t (a INT COMMENT 'xxxxxx', b INT)"),
        ('CREATE TABLE t (a INT COMMENT "canary")', 'CREATE TABLE t (a INT COMMENT "xxxxxx")'),
        (r"GRANT 'it\'s a canary', 'canary'", "GRANT 'xxxxxxxxxxxxxx', 'xxxxxx'"),
        ("ALTER TABLE 'canary", "ALTER TABLE '"),
        ("ALTER TABLE 'canary\\", "ALTER TABLE '"),
        ("ALTER TABLE ''", "ALTER TABLE ''"),
        ("SELECT 'canary'", "SELECT"),
    ],
)
def test_quoted_text_of_a_statement_is_masked(statement: str, masked: str) -> None:
    body = {"statement": statement, "warehouse_id": "a", "parameters": [{"name": "p", "value": "canary"}]}
    text = masked_request("/api/2.0/sql/statements", json.dumps(body).encode(), lambda _: ())
    assert text is not None
    assert b"canary" not in text
    assert json.loads(text)["statement"] == masked


def test_requests_that_are_no_statements_are_masked() -> None:
    for body in (b'"canary"', b'{"statement": ["canary"]}', b"[canary"):
        text = masked_request("/api/2.0/sql/statements", body, lambda _: ())
        assert text is not None
        assert b"canary" not in text


def test_very_many_keys_of_one_length_are_masked() -> None:
    row = {f"{number:06}a": 1 for number in range(20_000)}
    assert len(masked_value(row)) == len(row)


def test_a_flight_stream_may_begin_with_nothing() -> None:
    for read in (lambda: read_schema(b""), lambda: read_batch(b"", b"", pa.schema([]))):
        with pytest.raises(Rejection):
            read()


@pytest.mark.parametrize(
    ("statement", "masked"),
    [
        ('CREATE TABLE `it\'s` (a INT COMMENT "canary")', 'CREATE TABLE `it\'s` (a INT COMMENT "xxxxxx")'),
        ("CREATE TABLE t (a INT COMMENT 'it\\'s canary')", "CREATE TABLE t (a INT COMMENT 'xxxxxxxxxxxx')"),
        ("/* canary */\nSHOW GRANTS -- canary", f"{' ' * 12}\nSHOW GRANTS {' ' * 9}"),
        ("ALTER TABLE t 'canary", "ALTER TABLE t '"),
        ("INSERT INTO t VALUES ('canary', 424242)", "INSERT"),
        ("SELECT 424242", "SELECT"),
        ("", ""),
    ],
)
def test_a_statement_keeps_no_text_and_no_value(statement: str, masked: str) -> None:
    request = {"warehouse_id": "a1", "statement": statement, "parameters": [{"name": "p", "value": "canary"}]}
    body = masked_request("/api/2.0/sql/statements", json.dumps(request).encode(), lambda _: ())
    assert body is not None
    assert b"canary" not in body
    assert (json.loads(body)["statement"], json.loads(body)["warehouse_id"]) == (masked, "a1")
