"""ALTER TABLE while the writer runs."""

import pyarrow as pa
import pytest

from beam_zerobus import ConversionError, Retry, TransientError
from beam_zerobus.emulator import Faults, ScriptedFault
from beam_zerobus.writer import current_conversion
from tests.delivery.readings import QUICK, ids


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", "id BIGINT NOT NULL, size INT")


@pytest.fixture
def fetches(monkeypatch):
    """What was fetched from Unity Catalog, as DDL."""
    fetched = []

    def fetch(*arguments, **options):
        schema = real(*arguments, **options)
        fetched.append(schema.to_ddl())
        return schema

    real = current_conversion.fetch_table_schema
    monkeypatch.setattr(current_conversion, "fetch_table_schema", fetch)
    return fetched


def widen(table):
    table.drop_column("size")
    table.add_column("size BIGINT")


def sized(start, count=10):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64()), "size": range(count)})


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_it_is_fetched_once_and_everything_in_flight_converted_again(emulator, table, connect, fetches, wire_format):
    emulator.faults = Faults(ack_delay=0.1)
    writer = connect(schema="unity_catalog", wire_format=wire_format)
    assert writer.send_batch(sized(0)).success
    widen(table)
    submissions = [writer.submit(sized(10 + n * 10)) for n in range(20)]
    assert all(submission.result(30).success for submission in submissions)
    written = table.to_arrow().to_pylist()
    assert sorted(row["id"] for row in written) == list(range(210))
    assert {row["size"] for row in written if row["id"] >= 10} == set(range(10))
    assert fetches == ["id BIGINT NOT NULL, size INT", "id BIGINT NOT NULL, size BIGINT"]


def unexplained(times):
    """Reject streams without a reason that the SDK reads, as over Arrow where it reads no details."""
    return Faults(script=(ScriptedFault("reject", at_stream=1, times=times, code="INVALID_ARGUMENT", message="no"),))


@pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
def test_a_stream_rejected_without_a_reason_is_opened_with_the_schema_as_it_is_now(
    emulator, table, connect, fetches, wire_format
):
    writer = connect(schema="unity_catalog", wire_format=wire_format)
    writer.resolve_schema()
    widen(table)
    emulator.faults = unexplained(1)
    assert writer.send_batch(sized(0)).success
    assert ids(emulator) == list(range(10))
    assert fetches == ["id BIGINT NOT NULL, size INT", "id BIGINT NOT NULL, size BIGINT"]


@pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
def test_a_stream_rejected_without_a_reason_fails_where_the_schema_has_not_changed(
    emulator, connect, fetches, wire_format
):
    writer = connect(schema="unity_catalog", wire_format=wire_format)
    emulator.faults = unexplained(99)
    with pytest.raises(ConversionError, match=r"table main\.iot\.air: no\. It is the table's own, .* endpoint and"):
        writer.send_batch(sized(0))
    assert emulator.stats.faults["reject"] == 1
    assert len(fetches) == 2


def test_where_nothing_has_changed_it_is_fetched_once_for_all_that_is_in_flight(emulator, connect, fetches):
    writer = connect(schema="unity_catalog", retry=Retry(max_retries=99, initial_backoff=0.05, max_backoff=0.1))
    writer.resolve_schema()
    emulator.kill()
    submissions = [writer.submit(sized(n, 1)) for n in range(8)]
    said = "Error 8001: schema validation failed"
    faults = (ScriptedFault("status", at_call=1, times=99, code="INVALID_ARGUMENT", message=said),)
    emulator.faults = Faults(script=faults)
    emulator.start()
    rejected = [error for submission in submissions for error in submission.result(30).failed_rows]
    assert [said in error.message for error in rejected] == [True] * 8
    assert len(fetches) == 2


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_rows_in_flight_that_no_longer_fit_fail_and_the_others_are_written(emulator, table, connect, wire_format):
    emulator.faults = Faults(ack_delay=0.1)
    writer = connect(schema="unity_catalog", wire_format=wire_format)
    assert writer.send_batch(sized(0)).success
    table.drop_column("size")
    rows = pa.record_batch({"id": pa.array(range(10, 16), pa.int64()), "size": [None, 1, None, None, 4, None]})
    with_size = writer.submit(rows)
    plain = writer.submit(pa.record_batch({"id": pa.array([20, 21], pa.int64())}))
    result = with_size.result(30)
    assert [(error.index, error.error_type, error.stage) for error in result.failed_rows] == [
        (1, "unknown_field", "schema"),
        (4, "unknown_field", "schema"),
    ]
    assert all("column 'size' is not in the table" in error.message for error in result.failed_rows)
    assert plain.result(30).success
    assert ids(emulator) == [*range(11), 12, 13, 15, 20, 21]
    assert writer.in_flight_bytes == 0
    with pytest.raises(ConversionError, match="column 'size' is not in the table"):
        writer.submit(rows)


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_rows_in_flight_whose_column_has_another_type_now_fail(emulator, table, connect, wire_format):
    emulator.faults = Faults(ack_delay=0.1)
    writer = connect(schema="unity_catalog", wire_format=wire_format)
    assert writer.send_batch(sized(0)).success
    table.drop_column("size")
    table.add_column("size BOOLEAN")
    result = writer.submit(sized(10)).result(30)
    assert [error.index for error in result.failed_rows] == list(range(10))
    assert all("column 'size'" in error.message for error in result.failed_rows)
    assert ids(emulator) == list(range(10))


def test_unity_catalog_may_be_away_just_then(emulator, table, connect, monkeypatch):
    writer = connect(schema="unity_catalog", retry=QUICK)
    assert writer.send_batch(sized(0)).success
    widen(table)
    real, tries = current_conversion.fetch_table_schema, iter(range(100))

    def fetch(*arguments, **options):
        if next(tries) < QUICK.max_retries:
            raise TransientError("Unity Catalog is away", cause="UNITY_CATALOG_503")
        return real(*arguments, **options)

    monkeypatch.setattr(current_conversion, "fetch_table_schema", fetch)
    assert writer.send_batch(sized(10)).success
    assert ids(emulator) == list(range(20))
    assert next(tries) == QUICK.max_retries + 1


def test_unity_catalog_that_stays_away_is_tried_as_often_as_retry_says(table, connect, monkeypatch):
    writer = connect(schema="unity_catalog", retry=QUICK)
    assert writer.send_batch(sized(0)).success
    widen(table)
    tries = iter(range(100))

    def fetch(*_arguments, **_options):
        next(tries)
        raise TransientError("Unity Catalog is away", cause="UNITY_CATALOG_503")

    monkeypatch.setattr(current_conversion, "fetch_table_schema", fetch)
    with pytest.raises(TransientError, match="UNITY_CATALOG_503") as raised:
        writer.send_batch(sized(10))
    assert raised.value.unacknowledged_rows == 10
    assert next(tries) == QUICK.max_retries + 1


def test_a_batch_that_is_encoded_again_has_its_size_once(table, connect):
    writer = connect(schema="unity_catalog", wire_format="arrow")
    assert writer.send_batch(sized(0)).success
    widen(table)
    again = writer.send_batch(sized(10))
    assert again.attempts == 2
    assert again.batch_size_bytes == writer.send_batch(sized(20)).batch_size_bytes
