"""Persistent streams, in development at the service: created, resumed after what was committed, and retired."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.streams.persistent import PersistentStreams
from beam_zerobus.emulator.wire import PersistentRequest, PersistentResponse, RetireStream

from .otlp_calls import HEADER
from .payloads import descriptor
from .sdk import RawStream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL"


@pytest.fixture(params=["memory"])
def emulator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulator]:
    directory = tmp_path if request.param == "delta" else None
    with Emulator(directory, directory is None, check_rows=True, in_development=True) as running:
        running.create_table(TABLE, DDL)
        yield running


class Persistent(RawStream):
    """A persistent stream without an SDK; there is none in Python."""

    def __init__(self, emulator: Emulator, resume: str | None = None, *, record_type: int = 2) -> None:
        super().__init__(emulator, TABLE, emulator.issue_token(TABLE), "PersistentStream")
        request = PersistentRequest()
        if resume is None:
            create = request.create_stream.create_stream
            create.table_name, create.record_type = TABLE, record_type
            create.descriptor_proto = descriptor(DDL) if record_type == 1 else b""
        else:
            request.resume_stream.stream_id, request.resume_stream.record_type = resume, record_type
            request.resume_stream.descriptor_proto = descriptor(DDL) if record_type == 1 else b""
        self.send(request)

    def receive(self) -> Any:
        return PersistentResponse.FromString(next(self.call))

    def insert(self, offset: int, *ids: int, wait: bool = True, as_proto: bool = False) -> None:
        request = PersistentRequest()
        request.ingest_record_batch.offset_id = offset
        if as_proto:
            request.ingest_record_batch.proto_encoded_batch.records.extend(bytes((8, one)) for one in ids)
        else:
            request.ingest_record_batch.json_batch.records.extend(f'{{"id": {one}}}' for one in ids)
        self.send(request)
        if wait:
            assert self.receive().ingest_record_response.durability_ack_up_to_offset == offset


def retire(emulator: Emulator, stream_id: str, table: str = TABLE) -> None:
    metadata = [("authorization", f"Bearer {emulator.issue_token(TABLE)}"), (HEADER, TABLE)]
    request = RetireStream(table_name=table, stream_id=stream_id)
    with grpc.insecure_channel(emulator.endpoint.removeprefix("http://")) as channel:
        method = channel.unary_unary("/databricks.zerobus.Zerobus/RetireStream")
        method(request.SerializeToString(), metadata=metadata, timeout=20)


def ids(emulator: Emulator) -> list[int]:
    return sorted(emulator.table(TABLE).to_arrow()["id"].to_pylist())


def closed(emulator: Emulator) -> None:
    eventually(lambda: emulator.stats.streams_open == 0)


@pytest.mark.parametrize("as_proto", [False, True])
def test_a_stream_is_resumed_after_what_was_committed(emulator: Emulator, as_proto: bool) -> None:
    kind = 1 if as_proto else 2
    with Persistent(emulator, record_type=kind) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
        for offset in range(3):
            stream.insert(offset, 10 * offset, 10 * offset + 1, as_proto=as_proto)
    closed(emulator)
    with Persistent(emulator, stream_id, record_type=kind) as stream:
        assert stream.receive().resume_stream_response.last_committed_offset == 2
        stream.insert(3, 30, as_proto=as_proto)
    closed(emulator)
    with Persistent(emulator, stream_id, record_type=kind) as stream:
        assert stream.receive().resume_stream_response.last_committed_offset == 3
        stream.insert(3, 30, wait=False, as_proto=as_proto)
        assert stream.end() == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "offset 3 instead of 4: offsets go up by one from 4",
        )
    assert ids(emulator) == [0, 1, 10, 11, 20, 21, 30]


def test_a_new_stream_has_nothing_committed(emulator: Emulator) -> None:
    with Persistent(emulator) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
    closed(emulator)
    with Persistent(emulator, stream_id) as stream:
        response = stream.receive()
        assert response.HasField("resume_stream_response")
        assert not response.resume_stream_response.HasField("last_committed_offset")
        stream.insert(0, 1)
    assert ids(emulator) == [1]


@pytest.mark.parametrize("emulator", ["delta"], indirect=True)
def test_what_was_stored_without_an_acknowledgement_is_committed_also_after_a_restart(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults = Faults(script=(ScriptedFault("drop", at_call=2, after_storing=True),))
    with Persistent(emulator) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
        stream.insert(0, 1)
        stream.insert(1, 2, wait=False)
        assert stream.end()[0] is grpc.StatusCode.UNAVAILABLE
    emulator.stop()
    with Emulator(tmp_path, in_development=True) as again, Persistent(again, stream_id) as stream:
        assert stream.receive().resume_stream_response.last_committed_offset == 1
        stream.insert(2, 3)
        assert ids(again) == [1, 2, 3]


@pytest.mark.parametrize("emulator", ["delta"], indirect=True)
def test_a_stream_whose_file_cannot_be_written_ends_with_a_status(emulator: Emulator) -> None:
    path = emulator.table(TABLE).path
    assert path is not None
    with Persistent(emulator) as stream:
        stream.receive()
        shutil.rmtree(path / "_zerobus" / "streams")
        (path / "_zerobus" / "streams").write_text("")
        stream.insert(0, 1, wait=False)
        code, message = stream.end()
        assert (code, ".json writable" in message) == (grpc.StatusCode.INTERNAL, True)
    with Persistent(emulator) as stream:
        code, message = stream.end()
        assert (code, ".json writable" in message) == (grpc.StatusCode.INTERNAL, True)


@pytest.mark.parametrize("emulator", ["delta"], indirect=True)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"committed": 0}',
        b'{"committed": "0", "retired": false}',
        b'{"committed": -2, "retired": false}',
        b'{"committed": 0, "retired": 1}',
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(emulator: Emulator, content: bytes, tmp_path: Path) -> None:
    with Persistent(emulator) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
        stream.insert(0, 1)
    emulator.stop()
    (file,) = tmp_path.rglob(f"{stream_id}.json")
    file.write_bytes(content)
    with Emulator(tmp_path, in_development=True) as again:
        with Persistent(again, stream_id) as stream:
            assert stream.end() == (
                grpc.StatusCode.DATA_LOSS,
                f"the file of stream {stream_id} is damaged: remove {file}, and create another stream",
            )
        with pytest.raises(grpc.RpcError) as raised:
            retire(again, stream_id)
        assert raised.value.code() is grpc.StatusCode.DATA_LOSS
        file.unlink()
        with Persistent(again, stream_id) as stream:
            assert stream.end()[0] is grpc.StatusCode.NOT_FOUND
        with Persistent(again) as stream:
            stream.receive()
            stream.insert(0, 2)
        assert ids(again) == [1, 2]


@pytest.mark.parametrize("emulator", ["delta"], indirect=True)
def test_a_file_that_cannot_be_read_or_written_is_named(emulator: Emulator, tmp_path: Path) -> None:
    with Persistent(emulator) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
    closed(emulator)
    (file,) = tmp_path.rglob(f"{stream_id}.json")
    file.with_suffix(".new").mkdir()
    with pytest.raises(grpc.RpcError, match=r"cannot be written: .*; make .*\.json writable") as raised:
        retire(emulator, stream_id)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    emulator.stop()
    file.unlink()
    file.mkdir()
    with Emulator(tmp_path, in_development=True) as again, Persistent(again, stream_id) as stream:
        code, message = stream.end()
        assert (code, f"make {file} readable" in message) == (grpc.StatusCode.INTERNAL, True)


def test_nothing_is_committed_after_a_call_that_is_not_stored(emulator: Emulator) -> None:
    streams = PersistentStreams()
    stream = streams.create(emulator.table(TABLE))
    for _ in range(3):
        streams.storing(stream)
    for offset in (0, None, 2):
        streams.stored(stream, offset)
    streams.leave(stream)
    assert streams.resume(stream.stream_id, emulator.table(TABLE)).committed == 0


def test_a_dropped_table_is_freed_with_its_streams(emulator: Emulator) -> None:
    streams = PersistentStreams()
    table = weakref.ref(emulator.table(TABLE))
    streams.create(emulator.table(TABLE))
    emulator.drop_table(TABLE)
    eventually(lambda: gc.collect() >= 0 and table() is None)


def test_a_stream_has_one_client_at_a_time(emulator: Emulator) -> None:
    with Persistent(emulator) as first:
        stream_id = first.receive().create_stream_response.stream_id
        with Persistent(emulator, stream_id) as second:
            code, message = second.end()
            assert (code, "still open" in message) == (grpc.StatusCode.ABORTED, True)
        first.insert(0, 1)


def test_a_retired_stream_is_never_resumed(emulator: Emulator) -> None:
    with Persistent(emulator) as stream:
        stream_id = stream.receive().create_stream_response.stream_id
        stream.insert(0, 1)
    closed(emulator)
    for _ in range(2):
        retire(emulator, stream_id)
    with Persistent(emulator, stream_id) as stream:
        code, message = stream.end()
        assert (code, "was retired" in message) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("stream_id", ["", "../../secret", "12345678-1234-1234-1234-123456789abc"])
def test_an_unknown_stream_is_not_found(emulator: Emulator, stream_id: str) -> None:
    with Persistent(emulator, stream_id) as stream:
        assert stream.end()[0] is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as raised:
        retire(emulator, stream_id)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_wrong_beginnings_are_rejected(emulator: Emulator) -> None:
    with Persistent(emulator, record_type=4) as stream:
        code, message = stream.end()
        assert (code, "cannot carry Avro" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE), "PersistentStream") as stream:
        stream.send(PersistentRequest(ingest_record={"offset_id": 0}))
        assert "create_stream or resume_stream" in stream.end()[1]
    with pytest.raises(grpc.RpcError) as raised:
        retire(emulator, "x", table="main.iot.other")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_it_is_not_served_unless_asked_for() -> None:
    with Emulator(memory=True) as emulator:
        emulator.create_table(TABLE, DDL)
        with Persistent(emulator) as stream:
            assert stream.end()[0] is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as raised:
            retire(emulator, "x")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
