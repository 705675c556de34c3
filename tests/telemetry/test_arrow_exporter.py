"""Spans and metrics in Arrow files."""

from __future__ import annotations

import logging
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import arrow_exporter as telemetry_files
from beam_zerobus.telemetry import open_recorder, providers
from tests.emulator.sdk import eventually
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import TABLE, send


def read(directory: Path) -> pa.Table:
    """Read all files of a directory, also one that is being written, as pyarrow does: an IPC stream each."""
    tables = []
    for path in sorted(directory.glob("*.arrow")):
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            batches = []
            with suppress(pa.ArrowInvalid):  # the end of a file that is still open
                batches.extend(stream)
            tables.append(pa.Table.from_batches(batches, stream.schema))
    return pa.concat_tables(tables)


def test_files_hold_what_was_sent(tmp_path: Path) -> None:
    recorder = open_recorder(Telemetry(output_dir=tmp_path, flush_timeout=30), table=TABLE, wire_format="proto")
    for _ in range(20):
        send(recorder)
    send(recorder, error=ValueError("no"))
    recorder.flush()

    spans = read(tmp_path / "otlp" / "traces")
    assert spans.schema == telemetry_files.SPAN_SCHEMA
    assert spans.num_rows == 84
    rows = spans.to_pylist()
    parents = [row for row in rows if row["name"] == f"send {TABLE}"]
    assert len(parents) == 21
    for parent in parents:
        children = [row["name"] for row in rows if row["parent_span_id"] == parent["span_id"]]
        assert sorted(children) == ["encode", "send", "wait"]
        assert parent["start_time"] <= parent["end_time"]
        assert dict(parent["attributes"])["messaging.batch.message_count"] == "100"
        assert dict(parent["resource"])["service.name"] == "beam_zerobus"
    (failed,) = [parent for parent in parents if parent["status"] == "ERROR"]
    assert failed["status_message"] == "ValueError"
    assert [event["name"] for event in failed["events"]] == ["exception"]

    points = read(tmp_path / "otlp" / "metrics")
    assert points.schema == telemetry_files.METRIC_SCHEMA
    latest = {(row["name"], tuple(row["attributes"])): row for row in points.to_pylist()}
    assert sum(row["value"] for (name, _), row in latest.items() if name == "beam_zerobus.rows") == 2100
    (latency,) = [row for (name, _), row in latest.items() if name == "beam_zerobus.ack_latency"]
    assert latency["count"] == 20
    assert sum(latency["bucket_counts"]) == 20
    assert len(latency["bucket_bounds"]) + 1 == len(latency["bucket_counts"])


def test_end_of_the_process_closes_the_files(tmp_path: Path) -> None:
    recorder = open_recorder(Telemetry(output_dir=tmp_path), table=TABLE, wire_format="proto")
    send(recorder)
    providers.shutdown()
    for signal in ("traces", "metrics"):
        (path,) = (tmp_path / "otlp" / signal).glob("*.arrow")
        assert pa.ipc.open_stream(path).read_all().num_rows
    assert not list((tmp_path / "otlp").glob(".*.lock"))


def test_file_of_an_earlier_process_is_rotated(tmp_path: Path) -> None:
    options = Telemetry(output_dir=tmp_path)
    send(open_recorder(options, table=TABLE, wire_format="proto"))
    providers.shutdown()
    recorder = open_recorder(options, table=TABLE, wire_format="proto")
    send(recorder)
    recorder.close()
    assert len(list((tmp_path / "otlp" / "traces").glob("*.arrow"))) == 2
    assert read(tmp_path / "otlp" / "traces").num_rows == 8


def test_files_and_receiver_have_the_same_spans(tmp_path: Path) -> None:
    with Receiver("grpc") as receiver:
        options = Telemetry(output_dir=tmp_path, endpoint=receiver.endpoint, flush_timeout=30.0)
        recorder = open_recorder(options, table=TABLE, wire_format="proto")
        for _ in range(50):
            send(recorder)
        recorder.flush()
        written = read(tmp_path / "otlp" / "traces")["span_id"].to_pylist()
        assert len(written) == 200
        assert set(written) == {span.span_id for span in receiver.seen.spans}


def test_files_beside_a_receiver_that_hangs(tmp_path: Path) -> None:
    with Receiver("grpc", "hang") as receiver:
        options = Telemetry(output_dir=tmp_path, endpoint=receiver.endpoint, flush_timeout=2.0)
        recorder = open_recorder(options, table=TABLE, wire_format="proto")
        send(recorder)
        recorder.flush()
        recorder.flush()
        traces = tmp_path / "otlp" / "traces"
        eventually(lambda: traces.exists() and list(traces.glob("*.arrow")))
        send(recorder)
        recorder.flush()
        eventually(lambda: read(traces).num_rows == 8)
        providers.shutdown()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
def test_a_removed_directory_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = open_recorder(Telemetry(output_dir=tmp_path / "t"), table=TABLE, wire_format="proto")
    send(recorder)
    recorder.flush()
    shutil.rmtree(tmp_path / "t")
    for _ in range(5):
        send(recorder)
        recorder.flush()
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert str(tmp_path) in warned[0].getMessage()
