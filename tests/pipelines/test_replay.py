"""Keep and replay is an identity: random elements of every kind, through the emulator.

Rows that a strict table rejects are kept, and sent again to a table that takes them. What is then in the table, and
what is rejected all the same, is what sending the elements there directly gives.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_zerobus import KeepDeadLetters, OAuthClientCredentials, WriteToZerobus
from beam_zerobus.programs import replay_dead_letters
from beam_zerobus.sink.dead_letters import RawText
from beam_zerobus.sink.rows_of_file import RowsOfFile
from tests.schema.strategies import leaf_cases
from tests.sink.test_letters_come_back import Colour, values


class Tuple(NamedTuple):
    id: int
    i: Any
    x: Any


@dataclasses.dataclass
class Data:
    id: int
    i: Any
    x: Any


# For each type values that were once changed or lost on the way, and others at its edges.
SEEN: dict[str, list[Any]] = {
    "DECIMAL(10,2)": ["12345678.90", "1e99999999999999999999", 10**8, 0.5],
    "STRING": [b"bytes", Colour.RED, pd.NA, RawText(b"\xe9"), "\\xe9", "\ud800"],
    "DOUBLE": [np.float32(0.1), math.nan, math.inf, -0.0, 5e-324, 10**400],
    "BIGINT": [np.int16(-7), np.uint64(2**64 - 1), 2**63, 5.0, True],
    "MAP<BIGINT, STRING>": [{5: "five"}, {"5": "five"}, [(5, "five")], {-1: ""}],
    "TIMESTAMP": ["9999-12-31T23:59:59.999999-01:00", 253_402_300_800_000_000, pd.NaT, pd.Timestamp(0, tz="UTC")],
    "TIMESTAMP_NTZ": [np.datetime64("10000-01-01", "us"), np.datetime64(1, "ns"), "0001-01-01"],
    "BINARY": [b"\x00\xff", bytearray(b"a"), "YWI="],
    "DATE": [3_000_000, "0001-01-01"],
    "VARIANT": ['{"a":1.50}', {"a": [1, None]}, math.inf],
    "ARRAY<STRING>": [("a", "b"), np.array(["x"]), [b"\xff"], [None]],
    "STRUCT<raw: BINARY, y: DOUBLE>": [{"raw": b"\xfe", "y": math.nan}, beam.Row(raw=b"", y=-0.0)],
}
JSON = [*("1", "-0", "1.50", "1e400", "9" * 5_000, '"a"', '"YWI="', "null", '{"5":"five"}', '["a"]', "?")]
ROWS: dict[str, Callable[[int, Any, Any], Any]] = {
    "dict": lambda id_, i, x: {"id": id_, "i": i, "x": x},
    "Row": lambda id_, i, x: beam.Row(id=id_, i=i, x=x),
    "NamedTuple": Tuple,
    "dataclass": Data,
}
PLACE = ("in.file", "row", range(9))
numbers = itertools.count()


def table_of(values: list[Any], arrow_type: pa.DataType) -> pa.Table:
    ids = [next(numbers) for _ in values]
    return pa.table({"id": ids, "i": ["bad"] * len(ids), "x": pa.array(values, arrow_type)})


@st.composite
def elements(draw, ddl: str) -> list[Any]:
    """Elements of several kinds, in all of whose rows `i` is text."""
    value = st.sampled_from(SEEN[ddl]) | st.sampled_from(SEEN[ddl]) | values
    row = st.builds(lambda make, x: make(next(numbers), "bad", x), st.sampled_from([*ROWS.values()]), value)
    text = st.sampled_from(JSON).map(lambda x: f'{{"id": {next(numbers)}, "i": "bad", "x": {x}}}')
    of_file = st.lists(row, min_size=1, max_size=3) | st.lists(text.map(str.encode), min_size=1, max_size=3)
    kinds = [row, text, text.map(str.encode), of_file.map(lambda rows: RowsOfFile(rows, *PLACE))]
    for case in [case for case in leaf_cases if str(case.delta_type) == ddl]:
        fitting = case.good if case.bad is None else case.good | case.bad.map(lambda bad: bad[0])
        table = st.lists(st.none() | fitting, min_size=1, max_size=4).map(
            lambda found, case=case: table_of(found, case.arrow_type)
        )
        kinds.append(
            table.flatmap(lambda table: st.sampled_from([table, table.to_batches()[0], RowsOfFile(table, *PLACE)]))
        )
    return draw(st.lists(st.sampled_from(kinds).flatmap(lambda kind: kind), min_size=1, max_size=8))


def letters(directory: Path) -> list[str]:
    """Return what was rejected, and why."""
    texts = [file.read_text() for file in directory.glob("*")]
    found = [json.loads(line) for text in texts for line in text.split("\n") if line]
    return sorted(json.dumps([letter["element"], letter["error_type"]]) for letter in found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [1, pytest.param(40, marks=pytest.mark.hostile)])
def test_what_is_kept_and_replayed_is_as_if_sent_directly(zerobus, examples):
    credentials = OAuthClientCredentials(client_id=zerobus.client_id, client_secret=zerobus.client_secret)
    tables = itertools.count()
    arrived = 0

    @settings(
        deadline=None,
        max_examples=examples,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.data(), st.sampled_from([*SEEN]), st.sampled_from(["proto", "arrow", "json"]))
    def check(data: st.DataObject, ddl: str, wire_format: str) -> None:
        nonlocal arrived
        sent = data.draw(elements(ddl))
        prefix = f"main.files.t{next(tables)}"
        strict = zerobus.create_table(f"{prefix}_strict", f"id BIGINT, i INT, x {ddl}")
        direct, replayed = (
            zerobus.create_table(f"{prefix}_{name}", f"id BIGINT, i STRING, x {ddl}") for name in ("direct", "replayed")
        )
        with tempfile.TemporaryDirectory() as directory:
            with beam.Pipeline(runner=FnApiRunner()) as pipeline:
                rows = pipeline | beam.Create([0]) | beam.FlatMap(lambda _: sent).with_output_types(Any)
                for table, name in ((direct, "direct"), (strict, "strict")):
                    sink = WriteToZerobus(
                        table.name,
                        endpoint=zerobus.endpoint,
                        workspace_url=zerobus.workspace_url,
                        credentials=credentials,
                        wire_format=wire_format,
                        on_bad_rows="dead_letter",
                    )
                    failed = (rows | name >> sink).failed_rows
                    failed | f"Keep {name}" >> KeepDeadLetters(f"{directory}/{name}")
            assert strict.count_rows() == 0
            arguments = ["--input", f"{directory}/strict", "--zerobus_table", replayed.name]
            arguments += ["--zerobus_wire_format", wire_format, "--dead_letters", f"{directory}/replayed"]
            assert replay_dead_letters.main(arguments) == 0
            assert sorted(map(repr, replayed.to_arrow().to_pylist())) == sorted(
                map(repr, direct.to_arrow().to_pylist())
            )
            assert letters(Path(directory, "replayed")) == letters(Path(directory, "direct"))
            arrived += direct.count_rows()

    check()
    assert arrived > examples // 2 or examples == 1  # not all were rejected twice; a single one may be
