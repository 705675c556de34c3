"""Streams of every wire format, from the real SDK into real Delta tables."""

import threading

import grpc
import pytest
from deltalake import DeltaTable

from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.emulator.wire import Request

from .sdk import FORMATS, RawStream, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


def ids(emulator: Emulator, table: str = TABLE) -> list[int]:
    return sorted(emulator.table(table).to_arrow().column("id").to_pylist())


@pytest.mark.parametrize("wire_format", FORMATS)
def test_rows_are_on_disk_when_they_are_acknowledged(emulator: Emulator, wire_format: str) -> None:
    table = emulator.create_table(TABLE, DDL)
    with Stream(emulator, TABLE, DDL, wire_format) as stream:
        for start in range(0, 50, 5):
            stream.wait(stream.send([{"id": i, "name": f"n{i}" if i % 2 else None} for i in range(start, start + 5)]))
            # Opened anew, so that nothing but the files counts.
            on_disk = DeltaTable(table.path).to_pyarrow_table().sort_by("id").to_pylist()
            assert on_disk == [{"id": i, "name": f"n{i}" if i % 2 else None} for i in range(start + 5)]
    assert table.count_rows() == 50


def test_single_records_and_batches_mix(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    with Stream(emulator, TABLE, DDL, "json") as stream:
        stream.sdk_stream.ingest_record_offset('{"id": 1}')
        stream.send_records(['{"id": 2}', '{"id": 3}'])
        stream.sdk_stream.ingest_record_offset('{"id": 4}')
        stream.flush()
    assert ids(emulator) == [1, 2, 3, 4]
    with Stream(emulator, TABLE, DDL, "proto") as stream:
        (payload,) = stream.encoder.encode(emulator.table(TABLE).to_arrow().combine_chunks().to_batches()[0])
        stream.sdk_stream.ingest_record_offset(payload.records[0])
        stream.flush()
    assert len(ids(emulator)) == 5


def test_many_streams_share_commits(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, DDL)
    calls, streams = 40, 4

    def load(number: int) -> None:
        with Stream(emulator, TABLE, DDL, FORMATS[number % 3]) as stream:
            for call in range(calls):
                stream.send([{"id": number * calls + call}])
            stream.flush()

    threads = [threading.Thread(target=load, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(emulator) == list(range(streams * calls))
    assert DeltaTable(table.path).version() < streams * calls, "calls that wait together must share a commit"
    assert emulator.stats.streams_opened == streams
    eventually(lambda: emulator.stats.streams_open == 0)
    assert emulator.stats.tables[TABLE].rows_acknowledged == streams * calls


def test_stats_count_and_calls_are_recorded(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    with Stream(emulator, TABLE, DDL, "json") as stream:
        stream.send_records(['{"id": 1}', '{"id": 2}'])
        stream.flush()
        stats = emulator.stats
        assert (stats.streams_opened, stats.streams_open, stats.tokens_issued) == (1, 1, 1)
    with Stream(emulator, TABLE, DDL, "arrow") as stream:
        stream.send([{"id": 3}])
        stream.flush()
    eventually(lambda: emulator.stats.streams_open == 0)
    stats = emulator.stats
    counts = stats.tables[TABLE]
    assert (counts.calls, counts.rows_received, counts.rows_acknowledged) == (2, 3, 3)
    assert counts.bytes_received > 18
    first, second = stats.calls
    assert first.records == ('{"id": 1}', '{"id": 2}')
    assert second.records.column("id").to_pylist() == [3]
    assert [(s.wire_format, s.calls, s.acknowledged_offset, s.end) for s in stats.streams] == [
        ("json", 1, 0, "closed"),
        ("arrow", 1, 0, "closed"),
    ]
    assert '"id"' not in repr(first), "rows must not show in a repr"


@pytest.mark.parametrize("wire_format", FORMATS)
def test_memory_keeps_rows_without_checking_them(wire_format: str) -> None:
    with Emulator(memory=True) as emulator:
        table = emulator.create_table(TABLE, DDL)
        with Stream(emulator, TABLE, DDL, wire_format) as stream:
            stream.send([{"id": i, "name": "x"} for i in range(100)])
            stream.flush()
        assert table.count_rows() == 100
        assert table.path is None
        assert sorted(table.to_arrow().column("id").to_pylist()) == list(range(100))
        assert table.to_arrow().num_rows == 100


def test_discard_counts_only() -> None:
    with Emulator(discard=True) as emulator:
        table = emulator.create_table(TABLE, DDL)
        with Stream(emulator, TABLE, DDL) as stream:
            stream.send([{"id": i} for i in range(100)])
            stream.flush()
        assert table.count_rows() == 100
        assert table.to_arrow().num_rows == 0


def test_a_directory_is_opened_again_with_its_tables(tmp_path) -> None:
    ddl = "id BIGINT NOT NULL COMMENT 'key', v VARIANT, tags ARRAY<VARIANT>"
    with Emulator(tmp_path, client_id="c", client_secret="s") as emulator:
        table = emulator.create_table(TABLE, ddl)
        table.add_column("late STRING")
        table.drop_column("v")
        with Stream(emulator, TABLE, table.schema, "json") as stream:
            stream.send([{"id": 1, "tags": ["{}"], "late": "x"}])
            stream.flush()
        schema = table.schema
    assert [column.number for column in schema.columns] == [1, 3, 4], "dropped columns leave a gap"
    with Emulator(tmp_path, client_id="c", client_secret="s") as emulator:
        assert emulator.table(TABLE).schema == schema
        assert emulator.table(TABLE).to_arrow().to_pylist() == [{"id": 1, "tags": ["{}"], "late": "x"}]
        with Stream(emulator, TABLE, schema) as stream:
            stream.send([{"id": 2}])
            stream.flush()
        assert ids(emulator) == [1, 2]


def test_offsets_must_go_up_by_one(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        assert stream.receive().create_stream_response.stream_id
        stream.send_json(0, '{"id": 0}')
        stream.send_json(2, '{"id": 2}')
        code, message = stream.end()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "offset 2 instead of 1" in message
    assert ids(emulator) == [0], "what was good before is stored and was acknowledged"
    assert emulator.stats.streams[0].acknowledged_offset == 0


def test_headers_are_sent_before_any_request(emulator: Emulator) -> None:
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        assert stream.call.initial_metadata()  # returns, though nothing was sent


def test_a_status_is_never_joined_with_the_headers(emulator: Emulator) -> None:
    """The official SDK reads no details of a status that is; gRPC joins it with headers that have no entry."""
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        assert stream.end()[0] is grpc.StatusCode.NOT_FOUND
        assert dict(stream.call.initial_metadata()).keys() == {"x-zerobus-emulator"}


def test_a_wrong_token_is_rejected_instead_of_headers(emulator: Emulator) -> None:
    """After headers the official SDK sends its first message, and often fails with that before it reads the status."""
    with RawStream(emulator, TABLE, "guess") as stream:
        assert stream.end()[0] is grpc.StatusCode.UNAUTHENTICATED
        assert not stream.call.initial_metadata()


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([b"\xff\xff"], "cannot be parsed"),
        ([Request(ingest_record={"offset_id": 0, "json_record": "{}"})], "first message"),
        ([Request(create_stream={"table_name": TABLE, "record_type": 9})], "record_type 9"),
        ([Request(create_stream={"table_name": "a.b.other", "record_type": 2})], "names table 'a.b.other'"),
        ([Request(create_stream={"table_name": TABLE, "record_type": 2})] * 2, "send only ingest_record"),
        (
            [
                Request(create_stream={"table_name": TABLE, "record_type": 2}),
                Request(ingest_record={"offset_id": 0, "proto_encoded_record": b""}),
            ],
            "cannot carry proto",
        ),
        (
            [
                Request(create_stream={"table_name": TABLE, "record_type": 2}),
                Request(
                    ingest_record_batch={
                        "offset_id": 0,
                        "json_batch": {"records": ["{}", " " * (10 << 20) + '{"id":1}']},
                    }
                ),
            ],
            "record 1 has 10485768 bytes",
        ),
    ],
)
def test_requests_against_the_rules_are_rejected(emulator: Emulator, requests: list, reason: str) -> None:
    emulator.create_table(TABLE, DDL)
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        for request in requests:
            stream.send(request)
        code, message = stream.end()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in message
    assert emulator.table(TABLE).count_rows() == 0


def test_a_client_that_vanishes_leaves_no_stream(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    for _ in range(20):
        with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
            stream.create(TABLE)
            stream.receive()
            stream.send_json(0, '{"id": 0}')
    eventually(lambda: emulator.stats.streams_open == 0)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("stream ")])


def test_stop_acknowledges_what_has_arrived() -> None:
    with Emulator(faults=Faults(ack_delay=0.5)) as emulator:
        emulator.create_table(TABLE, DDL)
        stream = Stream(emulator, TABLE, DDL)
        offset = stream.send([{"id": 1}])
        eventually(lambda: emulator.stats.tables[TABLE].calls == 1)
        emulator.stop()
        stream.wait(offset)
        assert ids(emulator) == [1]
        assert emulator.stats.streams[0].end == "UNAVAILABLE"
