"""JSON through the sink, the real SDK and the emulator into a Delta table, in each wire format."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zerobus.sdk.shared import ZerobusException

from beam_zerobus import ZerobusWriter
from beam_zerobus.batching.elements import element_converter
from beam_zerobus.emulator import Emulator
from beam_zerobus.schema import TableSchema
from beam_zerobus.variant import VARIANT_TYPE
from tests.emulator.sdk import FORMATS, Stream
from tests.variant.documents import DOCUMENTS, VALUES, Literal, exact

DDL = "id BIGINT NOT NULL, v VARIANT, a ARRAY<VARIANT>, p STRUCT<x: VARIANT>"
TABLE = "main.iot.documents"

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "v": st.none() | DOCUMENTS,
            "a": st.lists(DOCUMENTS, max_size=3),
            "p": st.fixed_dictionaries({"x": st.none() | DOCUMENTS}),
        }
    ),
    min_size=5,
    max_size=30,
)


def batch(rows: list[dict[str, Any]], ddl: str = DDL) -> pa.RecordBatch:
    converted = element_converter("row", TableSchema.from_ddl(ddl))(rows)
    assert converted.rejected == ()
    return converted.batch


def exact_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "v": exact(row["v"]),
        "a": [exact(text) for text in row["a"]],
        "p": exact(row["p"]["x"]),
    }


def stored(emulator: Emulator, table: str) -> list[dict[str, Any]]:
    return sorted(emulator.table(table).to_arrow().to_pylist(), key=lambda row: row["id"])


@pytest.fixture
def tables(emulator: Emulator) -> None:
    """One table for each wire format."""
    for wire_format in FORMATS:
        emulator.create_table(f"{TABLE}_{wire_format}", DDL)


@pytest.fixture
def writers(tables: None, connect: Callable[..., ZerobusWriter]) -> dict[str, ZerobusWriter]:
    """A writer to each of them."""
    return {
        wire_format: connect(f"{TABLE}_{wire_format}", schema=DDL, wire_format=wire_format) for wire_format in FORMATS
    }


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, times=st.sampled_from([1, 1, 20]))
def test_json_reads_back_as_it_was_sent_in_every_format(
    emulator: Emulator, writers: dict[str, ZerobusWriter], rows: list[dict[str, Any]], times: int
) -> None:
    for wire_format, writer in writers.items():
        first = emulator.table(f"{TABLE}_{wire_format}").count_rows()
        sent = [row | {"id": first + index} for index, row in enumerate(rows * times)]
        assert writer.send_batch(batch(sent)).success
        arrived = stored(emulator, f"{TABLE}_{wire_format}")[first:]
        assert list(map(exact_row, arrived)) == list(map(exact_row, sent))


@pytest.mark.hostile
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_json_through_pipelines_reads_back_in_every_format(
    emulator: Emulator, tables: None, sink: Any, run: Any, rows: list[dict[str, Any]]
) -> None:
    for wire_format in FORMATS:
        table = f"{TABLE}_{wire_format}"
        first = emulator.table(table).count_rows()
        sent = [row | {"id": first + index} for index, row in enumerate(rows)]
        run(
            lambda pipeline, sent=sent, table=table, wire_format=wire_format: (
                pipeline | beam.Create(sent, reshuffle=False) | sink(table, wire_format=wire_format)
            )
        )
        arrived = stored(emulator, table)[first:]
        assert list(map(exact_row, arrived)) == list(map(exact_row, sent))


def plain(value: Any) -> Any:
    """Return a value without what Python's json does not write."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return 0 if isinstance(value, Literal) else value


@pytest.mark.parametrize("wire_format", FORMATS)
def test_python_values_through_a_pipeline(emulator: Emulator, sink: Any, run: Any, wire_format: str) -> None:
    emulator.create_table(TABLE, "id BIGINT NOT NULL, v VARIANT")
    values = [{"a": [1, 2.5, None, {"é": True}], "b": "x" * 100}, [], {}, 1e300, -0.0, 2**64, 10**38 - 1, True, None]
    rows = [{"id": index, "v": values[index % len(values)]} for index in range(300)]
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(rows, reshuffle=False)
            | sink(TABLE, schema="id BIGINT NOT NULL, v VARIANT", wire_format=wire_format)
        )
    )
    arrived = stored(emulator, TABLE)
    assert [row["v"] and json.loads(row["v"]) for row in arrived] == [row["v"] for row in rows]
    assert [row["v"] is None for row in arrived] == [row["v"] is None for row in rows]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES.map(plain), min_size=5, max_size=30))
def test_python_values_as_rows(emulator: Emulator, writers: dict[str, ZerobusWriter], values: list[Any]) -> None:
    for wire_format, writer in writers.items():
        table = f"{TABLE}_{wire_format}"
        first = emulator.table(table).count_rows()
        # A str is JSON text already; in a list it is a value.
        sent = [{"id": first + index, "v": [value]} for index, value in enumerate(values)]
        assert writer.send_batch(batch(sent)).success
        arrived = stored(emulator, table)[first:]
        expected = [json.loads(json.dumps([value]), parse_float=Decimal) for value in values]
        assert [json.loads(row["v"], parse_float=Decimal) for row in arrived] == expected


@pytest.mark.parametrize("wire_format", FORMATS)
def test_sql_null_is_not_json_null(emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str) -> None:
    emulator.create_table(TABLE, "id BIGINT NOT NULL, v VARIANT")
    writer = connect(TABLE, schema="id BIGINT NOT NULL, v VARIANT", wire_format=wire_format)
    rows = [{"id": 0, "v": None}, {"id": 1, "v": "null"}, {"id": 2}, {"id": 3, "v": [None]}]
    assert writer.send_batch(batch(rows, "id BIGINT NOT NULL, v VARIANT")).success
    assert [row["v"] for row in stored(emulator, TABLE)] == [None, "null", None, "[null]"]


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("bad", ["{", "NaN", '{"a":1,"a":2}', '"\\ud800"', ""])
def test_bad_json_fails_alone(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str, bad: str
) -> None:
    emulator.create_table(TABLE, "id BIGINT NOT NULL, v VARIANT")
    writer = connect(TABLE, schema="id BIGINT NOT NULL, v VARIANT", wire_format=wire_format)
    rows = [{"id": index, "v": bad if index == 13 else '{"a":[1.50]}'} for index in range(40)]
    result = writer.send_batch(pa.RecordBatch.from_pylist(rows))
    (failed,) = result.failed_rows
    assert failed.index == 13
    assert "VARIANT" in failed.message
    assert "'v'" in failed.message
    assert [row["id"] for row in stored(emulator, TABLE)] == [index for index in range(40) if index != 13]


def test_a_batch_of_nothing_but_bad_json(emulator: Emulator, connect: Callable[..., ZerobusWriter]) -> None:
    emulator.create_table(TABLE, "v VARIANT")
    result = connect(TABLE, schema="v VARIANT", wire_format="arrow").send_batch(
        pa.RecordBatch.from_pylist([{"v": "{"}] * 20)
    )
    assert result.failed_count == 20
    assert emulator.table(TABLE).count_rows() == 0


def test_a_number_beyond_variant_is_inexact_over_arrow_and_kept_as_text_otherwise(
    emulator: Emulator, connect: Callable[..., ZerobusWriter]
) -> None:
    for wire_format in FORMATS:
        table = f"{TABLE}_{wire_format}"
        emulator.create_table(table, "id BIGINT NOT NULL, v VARIANT")
        writer = connect(table, schema="id BIGINT NOT NULL, v VARIANT", wire_format=wire_format)
        result = writer.send_batch(pa.RecordBatch.from_pylist([{"id": 0, "v": "1"}, {"id": 1, "v": "1" * 39}]))
        if wire_format == "arrow":
            assert result.errors_by_type() == {"inexact": 1}
        else:
            assert [row["v"] for row in stored(emulator, table)] == ["1", "1" * 39]


@pytest.mark.parametrize("data", [b"", b"\x03", b"\x05\xff", b"\xff" * 20])
def test_malformed_variants_end_the_call_and_store_nothing(emulator: Emulator, data: bytes) -> None:
    schema = TableSchema.from_ddl("id BIGINT NOT NULL, v VARIANT")
    emulator.create_table(TABLE, schema)
    good, bad = ({"metadata": b"\x11\0\0", "value": value} for value in (b"\x0c\x01", data))
    first, second = (
        pa.RecordBatch.from_arrays([pa.array(ids), pa.array(values, VARIANT_TYPE)], schema=schema.to_arrow())
        for ids, values in (([1, 2], [good, None]), ([3, 4], [good, bad]))
    )
    stream = Stream(emulator, TABLE, schema, "arrow")
    stream.wait(stream.send_records(first))
    stream.send_records(second)
    with pytest.raises(ZerobusException, match="column 'v' is VARIANT and has a value that"):
        stream.flush()
    assert stored(emulator, TABLE) == [{"id": 1, "v": "1"}, {"id": 2, "v": None}]
