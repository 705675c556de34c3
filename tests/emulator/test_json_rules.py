"""JSON records: the rescue column, and the keys of maps."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from zerobus.sdk.sync import ZerobusException

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import JsonReader
from beam_zerobus.encoding import JsonEncoder
from beam_zerobus.schema import TableSchema

from .sdk import Stream

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, size INT, place STRUCT<x: INT>, _rescued VARIANT"


@pytest.fixture
def rescuing(emulator: Emulator):
    return emulator.create_table(TABLE, DDL, rescue_column="_rescued")


def rows_of(table) -> list[dict]:
    found = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    return [row | {"_rescued": row["_rescued"] and json.loads(row["_rescued"])} for row in found]


def test_what_does_not_fit_is_in_the_rescue_column(emulator: Emulator, rescuing) -> None:
    with Stream(emulator, TABLE, DDL, "json") as stream:
        stream.send_records(
            [
                '{"id": 1, "size": 7}',
                '{"id": 2, "size": "large", "more": [1, {"a": null}]}',
                '{"id": 3, "place": {"x": 1, "y": 2}, "size": 3}',
                '{"id": 4, "place": {"x": 1}, "ID": 4}',
            ]
        )
        stream.flush()
    empty = {"size": None, "place": None, "_rescued": None}
    assert rows_of(rescuing) == [
        {**empty, "id": 1, "size": 7},
        {**empty, "id": 2, "_rescued": {"size": "large", "more": [1, {"a": None}]}},
        {**empty, "id": 3, "size": 3, "_rescued": {"place": {"x": 1, "y": 2}}},
        {**empty, "id": 4, "place": {"x": 1}, "_rescued": {"ID": 4}},
    ]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"id": 1, "_rescued": "{}"}', r"'_rescued' is the rescue column, which a record must not set \(record 1\)"),
        ('{"id": 1, "_rescued": null}', "'_rescued' is the rescue column"),
        ('{"size": 1}', "'id' is NOT NULL"),
        ('{"id": "one"}', "'id' is BIGINT"),
        ("[]", "record 1 is not a JSON object"),
    ],
)
def test_what_a_rescue_column_does_not_take_is_rejected(emulator: Emulator, rescuing, record: str, reason: str) -> None:
    stream = Stream(emulator, TABLE, DDL, "json")
    stream.send_records(['{"id": 0}', record])
    with pytest.raises(ZerobusException, match=reason):
        stream.flush()
    assert rescuing.count_rows() == 0


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_only_json_is_rescued(emulator: Emulator, rescuing, wire_format: str) -> None:
    with pytest.raises(ZerobusException, match="'more' is in the stream's"):
        Stream(emulator, TABLE, "id BIGINT NOT NULL, more STRING", wire_format)


def test_the_rescue_column_is_known_after_a_restart_and_is_not_dropped(tmp_path) -> None:
    with Emulator(tmp_path) as emulator:
        table = emulator.create_table(TABLE, DDL, rescue_column="_rescued")
        table.add_column("late INT")
        with pytest.raises(ValueError, match="'_rescued' of table main.iot.air cannot be dropped"):
            table.drop_column("_rescued")
    with Emulator(tmp_path) as emulator:
        with Stream(emulator, TABLE, DDL, "json") as stream:
            stream.send_records(['{"id": 1, "new": true}'])
            stream.flush()
        assert rows_of(emulator.table(TABLE))[0]["_rescued"] == {"new": True}


BEYOND = {
    "FLOAT": ("1e300", "-1e300", "3.4028236e38", "1" + "0" * 39, "1e999", "-1e999"),
    "DOUBLE": ("1e999", "-1e999", "1" + "0" * 309, "1" * 5000),
    "INT": ("2147483648", "1e300", "1e999", "1" + "0" * 400),
    "TIMESTAMP": ("1e999",),
    "STRING": ("1e999",),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BEYOND.items() for text in texts])
def test_a_number_out_of_range_is_the_fault_of_its_row(kind: str, text: str) -> None:
    for ddl, value, path in (
        (kind, text, "x"),
        (f"ARRAY<{kind}>", f"[null, {text}]", "x.element"),
        (f"STRUCT<y: {kind}>", f'{{"y": {text}}}', "x.y"),
        (f"MAP<STRING, {kind}>", f'{{"k": {text}}}', "x.value"),
    ):
        reader = JsonReader(TableSchema.from_ddl(f"x {ddl}, _rescued VARIANT"))
        with pytest.raises(Rejection, match=rf"column '{path}' is {kind} and has a value .* \(record 1\)"):
            reader.read(['{"x": null}', f'{{"x": {value}}}'])
        rescuing = JsonReader(TableSchema.from_ddl(f"x {ddl}, _rescued VARIANT"), "_rescued")
        (row,) = rescuing.read([f'{{"x": {value}}}']).to_pylist()
        assert (row["x"], json.loads(row["_rescued"], parse_int=float)) == (
            None,
            {"x": json.loads(value, parse_int=float)},
        )


@pytest.mark.parametrize("text", ["1e300", "3.4028235e38"])
def test_a_float_key_is_in_range(text: str) -> None:
    reader = JsonReader(TableSchema.from_ddl("m MAP<FLOAT, INT>"))
    if text == "1e300":
        with pytest.raises(Rejection, match=r"column 'm.key' is FLOAT"):
            reader.read([f'{{"m": {{"{text}": 1}}}}'])
    else:
        assert reader.read([f'{{"m": {{"{text}": 1}}}}']).num_rows == 1


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_infinity_by_its_name_is_a_value(kind: str) -> None:
    rows = JsonReader(TableSchema.from_ddl(f"x {kind}")).read(['{"x": "-Infinity"}', '{"x": 1e-400}'])
    assert rows.to_pylist() == [{"x": float("-inf")}, {"x": 0.0}]


@pytest.mark.parametrize(
    "text", ['{"x": 1e999, "s": "\\ud800"}', '{"x": 1e999, "y": NaN}', '{"x": 1e999', "[" * 100_000]
)
def test_what_is_not_json_beside_such_a_number_is_not_json(text: str) -> None:
    with pytest.raises(Rejection, match="record 0 is not JSON"):
        JsonReader(TableSchema.from_ddl("x DOUBLE, s STRING")).read([text])


KEYS = {
    "TINYINT": -128,
    "BIGINT": -(2**63),
    "FLOAT": 1.5,
    "DOUBLE": float("inf"),
    "BOOLEAN": True,
    "STRING": 'a "b"',
    "BINARY": b"\0\xff",
    "DECIMAL(5,2)": Decimal("-1.50"),
    "DECIMAL(38,0)": Decimal(10**37),
    "DATE": dt.date(1, 1, 1),
    "TIMESTAMP": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "TIMESTAMP_NTZ": dt.datetime(2020, 1, 1, 0, 0, 0, 5),
}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_map_reads_back(key: str) -> None:
    schema = TableSchema.from_ddl(f"m MAP<{key}, INT>")
    sent = pa.RecordBatch.from_pylist([{"m": [(KEYS[key], 1)]}, {"m": []}, {}], schema.to_canonical_arrow())
    (payload,) = JsonEncoder(schema).encode(sent)
    assert JsonReader(schema).read(payload.records).equals(sent)


def test_keys_of_decimals_and_timestamps_through_the_sdk(emulator: Emulator) -> None:
    ddl = "prices MAP<DECIMAL(5,2), INT>, hours MAP<TIMESTAMP_NTZ, INT>"
    table = emulator.create_table(TABLE, ddl)
    sent = {"prices": [(Decimal("1.10"), 1)], "hours": [(dt.datetime(2024, 2, 29, 12), 2)]}
    with Stream(emulator, TABLE, ddl, "json") as stream:
        stream.send([sent])
        stream.flush()
    assert table.to_arrow().to_pylist() == [sent]


@pytest.mark.parametrize("ddl", ["m MAP<INT, TIMESTAMP_NTZ>", "a ARRAY<STRUCT<m: MAP<TIMESTAMP_NTZ, INT>>>"])
def test_a_table_may_get_timestamps_without_zone_inside_a_map(tmp_path, ddl: str) -> None:
    with Emulator(tmp_path) as emulator:
        emulator.create_table(TABLE, f"day DATE, {ddl}", partitioned_by=("day",))
        emulator.create_table("main.iot.later", "id INT").add_column(ddl)
    with Emulator(tmp_path) as emulator:
        assert emulator.table(TABLE).to_arrow().schema.names == ["day", ddl[0]]
        assert emulator.table("main.iot.later").to_arrow().schema.names == ["id", ddl[0]]
        assert emulator.table(TABLE).layout.partitioned_by == ("day",)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("INT", "1.0"),
        ("INT", "one"),
        ("INT", "true"),
        ("TINYINT", "128"),
        ("BOOLEAN", "1"),
        ("DECIMAL(5,2)", "1.001"),
        ("DECIMAL(5,2)", "x"),
        ("TIMESTAMP_NTZ", "2020-01-01T00:00:00"),
        ("TIMESTAMP_NTZ", str(2**62)),
        ("DATE", "2020-01-01"),
        ("DOUBLE", "x"),
        ("BINARY", "!"),
    ],
)
def test_a_key_that_does_not_fit_is_rejected(key: str, text: str) -> None:
    with pytest.raises(Rejection, match="column 'm.key' (is|has)") as rejected:
        JsonReader(TableSchema.from_ddl(f"m MAP<{key}, INT>")).read([json.dumps({"m": {text: 1}})])
    assert text not in rejected.value.message


@pytest.mark.parametrize(
    ("key", "texts", "reason"),
    [
        ("INT", ["null"], "has a null key"),
        ("INT", ["1", " 1"], "has a key twice"),
        ("DECIMAL(4, 2)", ["1.5", "1.50"], "has a key twice"),
        ("BINARY", ["AA==", "AB=="], "has a key twice"),
        ("DOUBLE", ["0.0", "-0.0"], "has a key twice"),
    ],
)
def test_maps_without_a_key_or_with_one_twice(key: str, texts: list[str], reason: str) -> None:
    good, bad = ({"m": dict.fromkeys(keys, 1)} for keys in ([], texts))
    with pytest.raises(Rejection, match=rf"column 'm' {reason} in the map \(record 1\)"):
        JsonReader(TableSchema.from_ddl(f"m MAP<{key}, INT>")).read([json.dumps(good), json.dumps(bad)])
