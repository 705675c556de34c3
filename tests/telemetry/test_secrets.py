"""No token, secret or value of a row is in a span, metric or log line, whatever fails or repeats it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import (
    DebugFiles,
    OAuthClientCredentials,
    Retry,
    StaticHeaders,
    Telemetry,
    WriteToZerobus,
    ZerobusError,
    ZerobusWriter,
)
from beam_zerobus.emulator import Emulator, Faults, RejectRows, ScriptedFault
from beam_zerobus.sink import failed_rows
from tests.emulator.sdk import eventually
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.people"
DDL = "id BIGINT NOT NULL, name STRING, age TINYINT"
QUICK = Retry(max_retries=1, initial_backoff=0.01)
VALUE = "Ada Lovelace"
OTHER = "Grace Hopper"  # three letters may be in the random bytes of an id
API_KEY = "k3y-of-the-receiver"
WRONG_SECRET = "s3cret-that-is-wrong"
REPEATED = f"cannot take {VALUE} with Bearer t0ken-of-a-client"


def rows(name: str = VALUE, age: int = 36) -> pa.RecordBatch:
    return pa.record_batch({"id": [1, 2], "name": [name, OTHER], "age": pa.array([age, 5], pa.int64())})


class Listener(logging.Handler):
    """Keeps every line of the core's loggers, tracebacks included, down to DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("beam_zerobus.emulator"):  # the service's own
            self.lines.append(f"{record.name}: {self.format(record)}")


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)


@pytest.fixture
def listener() -> Iterator[Listener]:
    logger, listener = logging.getLogger("beam_zerobus"), Listener()
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    yield listener
    logger.removeHandler(listener)
    logger.setLevel(level)


@pytest.fixture
def expect_silence(
    emulator: Emulator, receive: Callable[..., Receiver], listener: Listener, capfd: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """Return a function that runs something with telemetry and searches all that was reported for secrets."""

    def check(do: Callable[[Telemetry], object], *further: str) -> None:
        receiver = receive()
        telemetry = Telemetry(endpoint=receiver.endpoint, headers={"api-key": API_KEY}, flush_timeout=30.0)
        do(telemetry)
        output = capfd.readouterr()
        reported = [*receiver.seen.raw, *(line.encode() for line in (*listener.lines, output.out, output.err))]
        assert receiver.seen.raw
        for secret in (VALUE, OTHER, emulator.client_secret, API_KEY, WRONG_SECRET, "t0ken", "Bearer", *further):
            assert [text for text in reported if secret.encode() in text] == [], secret

    return check


FAULTS = {
    "the stream ends": ScriptedFault("status", at_call=1, times=9, code="INTERNAL", message=REPEATED),
    "the stream ends once": ScriptedFault("status", at_call=1, code="UNAVAILABLE", message=REPEATED),
    "rows rejected": ScriptedFault("status", at_call=1, times=9, code="INVALID_ARGUMENT", message=REPEATED),
    "no such table": ScriptedFault("reject", at_stream=1, times=9, code="NOT_FOUND", message=REPEATED),
    "a grant is missing": ScriptedFault("reject", at_stream=1, times=9, code="PERMISSION_DENIED", message=REPEATED),
    "schema rejected": ScriptedFault("reject", at_stream=1, times=9, code="INVALID_ARGUMENT", message=REPEATED),
    "tokens rejected": ScriptedFault("reject", at_stream=1, times=9, code="UNAUTHENTICATED", message=REPEATED),
    "tokens expired": ScriptedFault("status", at_call=1, times=9, code="UNAUTHENTICATED", message=REPEATED),
    "no tokens": ScriptedFault("token", at_token=1, times=9, http_status=401),
    "tokens later": ScriptedFault("token", at_token=1, http_status=503),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_service_that_repeats_what_it_got(
    fault: str, wire_format: str, emulator: Emulator, connect: Callable[..., ZerobusWriter], expect_silence: Any
) -> None:
    emulator.faults = Faults(script=(FAULTS[fault],))

    def send(telemetry: Telemetry) -> None:
        writer = connect(TABLE, schema=DDL, retry=QUICK, wire_format=wire_format, telemetry=telemetry)
        with suppress(ZerobusError):
            writer.send_batch(rows())
        writer.flush_telemetry()

    expect_silence(send)


def test_rows_that_do_not_fit(
    connect: Callable[..., ZerobusWriter], expect_silence: Callable[..., None], tmp_path: Path
) -> None:
    def send(telemetry: Telemetry) -> None:
        writer = connect(TABLE, schema=DDL, telemetry=telemetry, debug_files=DebugFiles(output_dir=tmp_path))
        assert writer.send_batch(rows(age=4711)).failed_count == 1
        with pytest.raises(ZerobusError):
            writer.send_batch(pa.record_batch({"id": [VALUE], "name": [VALUE], "age": [VALUE]}))
        writer.flush_telemetry()

    expect_silence(send, "4711")


@pytest.mark.parametrize(
    "credentials",
    [
        OAuthClientCredentials(client_id="somebody", client_secret=WRONG_SECRET),
        StaticHeaders(headers={"authorization": f"Bearer {WRONG_SECRET}"}),
    ],
)
def test_wrong_credentials(
    credentials: Any, connect: Callable[..., ZerobusWriter], expect_silence: Callable[..., None]
) -> None:
    def send(telemetry: Telemetry) -> None:
        writer = connect(TABLE, schema=DDL, retry=QUICK, telemetry=telemetry, credentials=credentials)
        with pytest.raises(ZerobusError):
            writer.send_batch(rows())
        writer.flush_telemetry()

    expect_silence(send)


def test_dead_letters_of_a_pipeline(
    emulator: Emulator, expect_silence: Callable[..., None], monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    failed_rows.failure_log.forget()  # logs the next row at once
    emulator.faults = Faults(
        script=(ScriptedFault("status", at_call=1, code="INVALID_ARGUMENT", message=REPEATED),),
        reject_rows=(RejectRows(column="name", value=VALUE),),
    )

    def write(telemetry: Telemetry) -> None:
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            (
                pipeline
                | beam.Create([{"id": n, "name": VALUE, "age": n} for n in (1, 2, 4711)])
                | WriteToZerobus(
                    TABLE,
                    endpoint=emulator.endpoint,
                    workspace_url=emulator.workspace_url,
                    credentials=OAuthClientCredentials(
                        client_id=emulator.client_id, client_secret=emulator.client_secret
                    ),
                    schema=DDL,
                    on_bad_rows="dead_letter",
                    telemetry=telemetry,
                )
            )

    expect_silence(write, "4711")
    assert any("rows rejected" in line for line in listener.lines)


@pytest.mark.parametrize("mode", ["unauthenticated", "unavailable"])
def test_a_receiver_that_repeats_what_it_got(
    mode: str,
    protocol: str,
    connect: Callable[..., ZerobusWriter],
    receive: Callable[..., Receiver],
    listener: Listener,
) -> None:
    receiver = receive(protocol, mode, reason=f"not with api-key {API_KEY}")
    telemetry = Telemetry(
        endpoint=receiver.endpoint, protocol=protocol, headers={"api-key": API_KEY}, flush_timeout=5.0
    )
    writer = connect(TABLE, schema=DDL, telemetry=telemetry)
    assert writer.send_batch(rows()).success
    writer.flush_telemetry()
    assert receiver.seen.requests
    # The exporter logs its failure after the receiver has seen the request.
    eventually(lambda: any("beam_zerobus.telemetry.quiet" in line for line in listener.lines))
    for secret in (API_KEY, VALUE, "Bearer"):
        assert [line for line in listener.lines if secret in line] == []
