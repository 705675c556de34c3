"""Rows that are rejected, kept, corrected and replayed arrive as if they had been sent directly."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import OAuthClientCredentials, WriteToZerobus
from beam_zerobus.schema import TableSchema
from pipelines import replay_dead_letters
from pipelines.dead_letters import KeepDeadLetters, to_json, to_record
from pipelines.replay_dead_letters import to_element
from pipelines.typed_values import exact, loads, restored

COLUMNS = """
    id INT NOT NULL, i INT, s STRING, v DECIMAL(20,2), d DOUBLE, f FLOAT, raw BINARY, at TIMESTAMP, day DATE,
    m MAP<BIGINT, STRING>, n SMALLINT, tags ARRAY<STRING>, inner STRUCT<raw: BINARY, x: DOUBLE>
"""
NAMES = TableSchema.from_ddl(COLUMNS).to_arrow().names
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "rot"


class Row(NamedTuple):
    id: int
    i: Any
    v: Any


@dataclasses.dataclass
class Data:
    id: int
    i: Any
    raw: Any


ROWS = [
    {"v": decimal.Decimal("12345678901234567.89"), "s": b"bytes", "raw": b"\x00\xff"},
    {"s": Colour.RED, "n": np.int16(-7), "d": np.float64(0.1), "f": np.float32(0.1), "at": pd.NaT, "day": pd.NA},
    {"d": math.nan, "f": math.inf, "at": NOON, "day": dt.date(1, 1, 1)},
    {"d": -math.inf, "at": Timestamp(micros=1), "m": {5: "five", -1: ""}, "tags": ("a", "b")},
    {"at": "2024-02-29T12:00:00.000001+01:00", "inner": {"raw": b"\xfe", "x": math.nan}, "tags": np.array(["x"])},
    {"s": "\\xe9 'Zoë' \U0001f30d\n", "v": "0.10", "d": 5e-324, "inner": beam.Row(raw=b"", x=-0.0)},
]


def elements(i: Any) -> list[Any]:
    """Return elements of every kind; `i` is the value that is rejected, and that takes its place."""
    dicts = [{"id": number, "i": i, **row} for number, row in enumerate(ROWS)]
    text = f'{{"id": 100, "i": {json.dumps(i)}, "v": 12345678901234567.89, "d": 1e-7}}'
    of_float = pa.array([0.1, math.nan], pa.float32())
    rows = {
        "id": pa.array([110, 111], pa.int8()),
        "f": of_float,
        "at": pa.array([NOON, None], pa.timestamp("ns", "Europe/Berlin")),
        "raw": pa.array([b"\xff", None], pa.binary(1)),
        "s": pa.array(["a", "b"]).dictionary_encode(),
        "m": pa.array([[(1, "x")], None], pa.map_(pa.int64(), pa.string())),
    }
    # The first fails as a whole, because its `i` is text.
    whole = pa.RecordBatch.from_pydict({**rows, "i": pa.array([i, i])})
    return [
        *dicts,
        beam.Row(**dicts[0] | {"id": 50}),
        Row(51, i, decimal.Decimal("0.01")),
        Data(52, i, b"\x01"),
        text,
        text.replace("100", "101").encode(),
        whole,
        pa.Table.from_batches([whole.set_column(0, "id", pa.array([112, 113]))]),
    ]


def sink(emulator, table: str) -> WriteToZerobus:
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    return WriteToZerobus(
        table,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        schema="unity_catalog",
        on_bad_rows="dead_letter",
    )


def arrived(table) -> list[str]:
    """Return the rows in a form that compares NaN."""
    return sorted(map(repr, table.to_arrow().select(NAMES).to_pylist()))


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_keep_correct_replay_is_as_if_sent_directly(zerobus, tmp_path, monkeypatch, file_format):
    direct, replayed = (zerobus.create_table(f"main.files.{name}", COLUMNS) for name in ("direct", "replayed"))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        good, bad = (
            pipeline | f"Create {i}" >> beam.Create(elements(i), reshuffle=False).with_output_types(Any)
            for i in (1, "bad")
        )
        (good | "Write" >> sink(zerobus, "main.files.direct")).failed_rows | beam.Map(fail)
        failed = (bad | "Reject" >> sink(zerobus, "main.files.replayed")).failed_rows
        failed | KeepDeadLetters(str(tmp_path / "kept"), file_format)
    assert replayed.count_rows() == 0

    def correct(row):
        if isinstance(row, str):
            return row.replace('"bad"', "1")
        return row | {"i": 1}

    monkeypatch.setattr(replay_dead_letters, "correct", correct)
    arguments = ["--input", str(tmp_path / "kept"), "--zerobus_table", "main.files.replayed"]
    assert replay_dead_letters.main([*arguments, "--dead_letters", str(tmp_path / "again")]) == 0
    assert arrived(replayed) == arrived(direct)
    assert direct.count_rows() == len(ROWS) + 9


def fail(row: Any) -> None:
    raise AssertionError(row)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs"])),
    st.binary(),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.just(dt.UTC) | st.none()).map(lambda moment: moment.replace(fold=0)),
    st.times().map(lambda time: time.replace(fold=0)),
    st.uuids(),
    st.integers(-(2**62), 2**62).map(lambda micros: Timestamp(micros=micros)),
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**62), 2**62).map(lambda nanos: np.datetime64(nanos, "ns")),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["$map", "$bytes"]), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and repr(left) == repr(right)


def letter(element: Any, file_format: str) -> dict[str, Any]:
    failed = beam.Row(element=element, error_type="wrong_type", timestamp=Timestamp(0))
    return loads(to_json(failed).encode()) if file_format == "jsonl" else to_record(failed)


@settings(deadline=None, max_examples=80)
@given(values)
def test_exact_forms_are_restored(value):
    assert same(restored(json.loads(json.dumps(exact(value)))), value)


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.text(max_size=4), values, max_size=4), st.sampled_from(["jsonl", "parquet"]))
def test_an_element_that_nobody_corrected_is_sent_as_it_was(element, file_format):
    sent = to_element(letter(element, file_format))
    assert same(json.loads(sent) if isinstance(sent, str) else sent, element)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=30) | st.text(max_size=30).map(str.encode), st.sampled_from(["jsonl", "parquet"]))
def test_json_bytes_are_sent_as_they_were(element, file_format):
    sent = to_element(letter(element, file_format))
    assert (sent.encode() if isinstance(sent, str) else sent) == element


def test_a_corrected_row_keeps_the_exact_values_of_all_other_columns():
    element = {"id": "x", "v": decimal.Decimal("1.10"), "inner": {"raw": b"\xff", "x": math.inf}, "tags": [b"a", b"b"]}
    kept = letter(element, "jsonl")
    assert kept["element"] == {
        "id": "x",
        "v": "1.10",
        "inner": {"raw": "/w==", "x": "Infinity"},
        "tags": ["YQ==", "Yg=="],
    }
    kept["element"] |= {"id": 1, "inner": {"raw": "AA==", "x": "Infinity"}, "tags": ["YQ==", "c"], "new": True}
    schema = TableSchema.from_ddl("id INT, v DECIMAL(9,2), inner STRUCT<raw: BINARY, x: DOUBLE>, tags ARRAY<STRING>")
    assert to_element(kept, schema) == {
        "id": 1,
        "v": decimal.Decimal("1.10"),
        "inner": {"raw": b"\x00", "x": math.inf},
        "tags": [b"a", "c"],
        "new": True,
    }


def test_a_row_of_a_batch_comes_back_as_it_was_also_without_a_column():
    batch = pa.RecordBatch.from_pydict(
        {
            "at": pa.array([253_402_300_800_000_000], pa.timestamp("us", "UTC")),
            "day": pa.array([3_000_000], pa.date32()),
            "fine": pa.array([1], pa.timestamp("ns")),
            "id": pa.array([bytes(16)], pa.uuid()),
            "view": pa.array(["x"], pa.string_view()),
            "colour": ["red"],
        }
    )
    for element in (batch, pa.Table.from_batches([batch])):
        kept = letter(element, "jsonl")
        assert kept["element"]["at"] == 253_402_300_800_000_000
        assert to_element(kept).equals(batch)
        del kept["element"]["colour"]
        assert to_element(kept) == {
            "at": 253_402_300_800_000_000,
            "day": 3_000_000,
            "fine": "1970-01-01T00:00:00.000000001",
            "id": bytes(16),
            "view": "x",
        }


def test_letters_of_earlier_versions_are_sent_as_json():
    assert to_element({"element": {"id": 1, "v": 1.5}}) == '{"id": 1, "v": 1.5}'
    assert to_element(loads('{"element": {"v": 12345678901234567.89}}')) == '{"v": 12345678901234567.89}'
    assert to_element({"element": '{"v": 12345678901234567.89}'}) == '{"v": 12345678901234567.89}'
    assert to_element({"element": "no JSON"}) == "no JSON"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"element": 1}\n{"element": }\n', "line 2 is not valid JSON"),
        ('{"element": 1}\n\n[1]\n', "line 3 is not a dead letter"),
    ],
)
def test_a_letter_that_cannot_be_read_fails_with_its_line(zerobus, tmp_path, capsys, text, reason):
    zerobus.create_table("main.files.readings", "id INT")
    (tmp_path / "rows.jsonl").write_text(text)
    arguments = ["--input", str(tmp_path), "--zerobus_table", "main.files.readings"]
    assert replay_dead_letters.main(arguments) == 1
    assert f"rows.jsonl, {reason}" in capsys.readouterr().out


def test_a_dead_letter_in_parquet_has_the_columns_of_the_docs(tmp_path):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        failed = beam.Row(
            element={"v": decimal.Decimal(1)},
            error_type="wrong_type",
            message="m",
            stage="batching",
            table="a.b.c",
            attempts=0,
            timestamp=Timestamp(0),
        )
        pipeline | beam.Create([failed]) | KeepDeadLetters(str(tmp_path), "parquet")
    (row,) = pq.read_table(tmp_path).to_pylist()
    assert row == {
        "element": '{"v": "1"}',
        "error_type": "wrong_type",
        "message": "m",
        "stage": "batching",
        "table": "a.b.c",
        "attempts": 0,
        "timestamp": dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        "typed": '{"v": {"$decimal": "1"}}',
    }
