"""Lists and maps of text without a single text: their offsets once made the SDK panic, over Arrow."""

import pyarrow as pa
import pytest

DDL = "id BIGINT NOT NULL, a ARRAY<STRING>, m MAP<STRING, STRING>, s STRUCT<x: ARRAY<BINARY>>, v ARRAY<VARIANT>"
TEXTS = pa.list_(pa.large_string())
BATCHES = {
    "missing": {"id": [1, 2]},
    "null": {"id": [1, 2], "a": pa.nulls(2, TEXTS), "m": pa.nulls(2, pa.map_(pa.large_string(), pa.large_string()))},
    "empty": {"id": [1, 2], "a": pa.array([[], None], TEXTS)},
    "in a struct": {"id": [1, 2], "s": pa.nulls(2, pa.struct({"x": pa.list_(pa.large_binary())}))},
    "a slice": {"id": [1, 2], "a": pa.array([["x"], [], None], TEXTS).slice(1)},
}


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("columns", BATCHES.values(), ids=BATCHES)
def test_rows_without_any_text_are_written(emulator, connect, wire_format, columns):
    table = emulator.create_table("main.iot.air", DDL)
    assert connect(wire_format=wire_format).send_batch(pa.record_batch(columns)).success
    assert table.to_arrow()["id"].to_pylist() == [1, 2]
