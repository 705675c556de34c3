"""A row above the limit of a message fails alone, in each wire format; all others are written."""

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import MAX_CALL_BYTES, ArrowEncoder, JsonEncoder, ProtoEncoder
from beam_zerobus.encoding.arrow import MAX_ROW_BYTES
from beam_zerobus.schema import TableSchema
from tests.delivery.readings import FORMATS

DDL = "id BIGINT NOT NULL, text STRING"
LIMITS = {"proto": MAX_CALL_BYTES, "json": MAX_CALL_BYTES, "arrow": MAX_ROW_BYTES}


def batch(sizes):
    return pa.record_batch({"id": pa.array(range(len(sizes)), pa.int64()), "text": ["x" * size for size in sizes]})


@pytest.fixture(scope="module")
def texts():
    """How long a text may be in each format, in a row whose id has one digit."""
    encoders = {"proto": ProtoEncoder, "json": JsonEncoder, "arrow": ArrowEncoder}
    found = {}
    for wire_format, encoder in encoders.items():
        rows = batch([1 << 22]).cast(TableSchema.from_ddl(DDL).to_arrow())
        (payload,) = encoder(TableSchema.from_ddl(DDL)).encode(rows)
        found[wire_format] = LIMITS[wire_format] - (payload.size_bytes - (1 << 22))
    return found


@FORMATS
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sizes_round_the_limit(emulator, connect, texts, wire_format, data):
    longest = texts[wire_format]
    sizes = data.draw(st.lists(st.integers(longest - 2, longest + 3) | st.integers(0, 9), min_size=1, max_size=4))
    name = f"main.iot.t{len(emulator.stats.tables)}"
    table = emulator.create_table(name, DDL)
    result = connect(name, schema=DDL, wire_format=wire_format).send_batch(batch(sizes))
    large = [index for index, size in enumerate(sizes) if size > longest]
    assert [(error.index, error.error_type) for error in result.failed_rows] == [(n, "row_too_large") for n in large]
    assert sorted(table.to_arrow()["id"].to_pylist()) == [n for n in range(len(sizes)) if n not in large]


@FORMATS
@pytest.mark.parametrize("size", [20_000_000, 80_000_000])  # above what a record, and what a gRPC message, may have
def test_a_row_that_is_far_too_large_fails_alone(emulator, connect, wire_format, size):
    table = emulator.create_table("main.iot.air", DDL)
    writer = connect(schema=DDL, wire_format=wire_format)
    result = writer.send_batch(batch([1, 2, size, 3, 4]))
    assert [(error.index, error.error_type) for error in result.failed_rows] == [(2, "row_too_large")]
    assert "make its text, binaries, arrays or maps smaller" in result.failed_rows[0].message
    assert sorted(table.to_arrow()["id"].to_pylist()) == [0, 1, 3, 4]
    assert (writer.counters.retries, emulator.stats.streams_opened) == (0, 1)


def test_rows_that_grow_as_they_are_converted_are_split_again(emulator, connect):
    ddl = "id BIGINT NOT NULL, numbers ARRAY<DECIMAL(38, 0)>"
    table = emulator.create_table("main.iot.air", ddl)
    numbers = pa.array([[10**37] * count for count in (1, 250_000, 150_000, 2)], pa.list_(pa.decimal128(38, 0)))
    rows = pa.record_batch({"id": pa.array(range(4), pa.int64()), "numbers": numbers})
    result = connect(schema=ddl, wire_format="arrow").send_batch(rows)
    assert [(error.index, error.error_type) for error in result.failed_rows] == [(1, "row_too_large")]
    assert sorted(table.to_arrow()["id"].to_pylist()) == [0, 2, 3]
