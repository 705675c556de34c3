"""What we rely on in the SDK, beside statuses: ends of streams, servers that hang, settings that it does not accept.

Each is made to happen at a real server, as in `test_sdk_contract.py`; `sdk_matrix.py` runs both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from zerobus.sdk.sync import NonRetriableException, ZerobusException

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.status import end_stream
from beam_zerobus.emulator.wire import PutResult
from tests.delivery.scripted_server import Dialogue, Script, ScriptedServer
from tests.delivery.sdk_failures import (
    DDL,
    FORMATS,
    TABLE,
    WORDS,
    expected_texts,
    fail,
    failing,
    is_acknowledged,
    open_to,
    scripted,
    send,
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(memory=True) as running:
        running.create_table(TABLE, DDL)
        yield running


def acknowledging(offset: int, rows: int) -> Script:
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        yield dialogue.acknowledgement(offset, rows)
        dialogue.wait()

    return script


@FORMATS
def test_an_acknowledgement_out_of_range_is_a_fault_of_the_service(wire_format):
    failure, text, error_class = scripted(acknowledging(99, 99), wire_format)
    assert error_class is NonRetriableException
    if wire_format == "arrow":
        message = "Acknowledgement claims 99 records, but only 2 records were submitted"
        assert text == f"Stream is in invalid state: {message}"
    else:
        message = "Invalid durability ACK offset 99; expected -1..=1"
        assert text in expected_texts("open", wire_format, "INVALID_ARGUMENT", message)
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "INVALID_ACKNOWLEDGEMENT")


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_a_negative_acknowledgement_is_a_fault_of_the_service(wire_format):
    failure, text, _ = scripted(acknowledging(-5, 0), wire_format)
    message = "Invalid durability ACK offset -5; expected -1..=1"
    assert text in expected_texts("open", wire_format, "INVALID_ARGUMENT", message)
    assert failure.kind is FailureKind.TRANSIENT


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_an_acknowledgement_without_offset_is_a_fault_of_the_service(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        yield dialogue.nothing()
        dialogue.wait()

    failure, text, _ = scripted(script, wire_format)
    assert text in expected_texts("open", wire_format, "INTERNAL", "Missing ack offset in server response")
    assert failure.kind is FailureKind.TRANSIENT


def test_an_answer_that_is_too_large_is_a_fault_of_the_service():
    """Over Arrow; the other formats say INTERNAL, "Unexpected response from server"."""

    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        yield PutResult(app_metadata=bytes(6 << 20)).SerializeToString()
        dialogue.wait()

    failure, text, error_class = scripted(script, "arrow")
    assert error_class is NonRetriableException
    message = "Error, decoded message length too large: found 6291461 bytes, the limit is: 4194304 bytes"
    assert text in expected_texts("open", "arrow", "OUT_OF_RANGE", message)
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "INVALID_ACKNOWLEDGEMENT")


@FORMATS
def test_a_stream_closed_without_error_is_a_rotation(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()

    failure, text, _ = scripted(script, wire_format)
    status, message = (
        ("UNKNOWN", "Server closed the stream")
        if wire_format == "arrow"
        else ("OK", "Stream closed by server without errors.")
    )
    assert text in expected_texts("open", wire_format, status, message)
    assert failure.kind is FailureKind.ROTATION


@FORMATS
def test_a_call_after_the_end_hides_the_cause_and_the_stream_tells_it(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        dialogue.end("NOT_FOUND", "the table is gone")

    with ScriptedServer(script) as server:
        stream = open_to(server, wire_format)
        offset = send(stream, wire_format)
        with pytest.raises(StreamFailure, match="the table is gone"):
            is_acknowledged(stream, offset)
        with failing() as seen:
            send(stream, wire_format)
        failure, text, _ = seen[0]
        assert text in [
            said
            for message in ("Stream closed", "Stream is closing or closed")
            for said in expected_texts("open", wire_format, "INTERNAL", message)
        ]
        assert stream.find_cause(failure).kind is FailureKind.NOT_FOUND


@FORMATS
def test_waiting_ends_after_a_second_and_is_no_failure(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        dialogue.wait()

    with ScriptedServer(script) as server:
        stream = open_to(server, wire_format)
        assert stream.wait(send(stream, wire_format)) is False


@FORMATS
def test_a_server_that_acknowledges_nothing(wire_format, monkeypatch):
    monkeypatch.setattr(limits, "ACK_TIMEOUT", 0.5)

    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.wait()

    failure, text, _ = scripted(script, wire_format)
    assert text in expected_texts("open", wire_format, "DEADLINE_EXCEEDED", "Server ack timeout")
    assert failure.kind is FailureKind.TRANSIENT


@FORMATS
def test_a_server_that_does_not_open_the_stream(wire_format, monkeypatch):
    monkeypatch.setattr(limits, "OPEN_TIMEOUT", 0.5)

    def script(dialogue: Dialogue) -> Iterator[bytes]:
        dialogue.wait()
        yield from ()

    failure, text, _ = scripted(script, wire_format)
    assert failure.kind is FailureKind.TRANSIENT
    if wire_format == "arrow" and text.startswith("Connection timeout"):  # both limits end at the same time
        assert text == "Connection timeout: Timed out waiting for server setup confirmation (500ms)"
    else:
        assert text in expected_texts("opening", wire_format, "DEADLINE_EXCEEDED", "Stream creation timed out")


@FORMATS
def test_a_first_answer_that_opens_nothing(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        dialogue.read()
        yield dialogue.acknowledgement(5, 5)
        dialogue.wait()

    failure, text, error_class = scripted(script, wire_format)
    assert failure.kind is FailureKind.TRANSIENT
    assert error_class is ZerobusException
    if wire_format == "arrow":
        assert text == "Unexpected response from server. Response: Expected ready signal, got ack for offset 5"
        assert failure.cause == "UNEXPECTED_RESPONSE"
    else:
        assert failure.cause == "INTERNAL"
        assert str(failure).startswith("Unexpected response from server while opening stream")


@FORMATS
def test_details_of_a_rejection_without_headers_are_not_read(wire_format):
    """A bug of the SDK, hence any rejection at opening may be one of the schema (`decisions`)."""
    rejection = Rejection.invalid("Arrow Flight schema validation failed", causes=("FIELD_NOT_IN_TABLE",))

    def script(dialogue: Dialogue) -> Iterator[bytes]:
        if dialogue.arrow:  # over the others the SDK sends nothing before it receives headers
            dialogue.read()
        end_stream(dialogue.context, rejection)
        yield b""

    with ScriptedServer(script, with_headers=False) as server:
        failure, text, error_class = fail(server, wire_format)
    assert text in expected_texts("opening", wire_format, "INVALID_ARGUMENT", rejection.message)
    assert error_class is NonRetriableException
    assert (failure.cause, failure.while_opening) == ("INVALID_ARGUMENT", True)


@pytest.mark.contract
@FORMATS
def test_a_rejection_right_after_the_headers_is_found_out(wire_format):
    """Where the SDK does not read it, 5 of 10 times, and 8 of 10 on a busy machine, it is asked up to eight times."""

    def script(dialogue: Dialogue) -> Iterator[bytes]:
        dialogue.end("UNAUTHENTICATED", "no such token")
        yield from ()

    causes = []
    with ScriptedServer(script) as server:
        for _ in range(10):
            before = server.streams
            failure, _, _ = fail(server, wire_format)
            causes.append(failure.cause)
            assert failure.cause == "UNAUTHENTICATED" or (failure.cause, server.streams - before) == ("INTERNAL", 8)
    assert "UNAUTHENTICATED" in causes


@FORMATS
def test_a_connection_that_is_refused(wire_format):
    with failing() as seen:
        open_to("http://127.0.0.1:9", wire_format)
    failure, text, error_class = seen[0]
    assert error_class is ZerobusException
    assert text.startswith(
        f"Failed to create stream: code: '{WORDS['UNAVAILABLE']}', message: \"tcp connect error\", source: "
    )
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "UNAVAILABLE")
    assert str(failure) == "tcp connect error"


SETTINGS = {
    "endpoint": (
        {"path": "/a b"},
        ("Failed to open a channel: invalid URI.", "Failed to open a channel: invalid uri character."),
        FailureKind.MISCONFIGURED,
    ),
    "token": (
        {"headers": {"authorization": "Bearer x\ny"}},
        ("Specified UC token is in invalid format: authorization token is not a valid HTTP header value.",),
        FailureKind.UNAUTHENTICATED,
    ),
    "table": (
        {"table": "main.iot.a\nb"},
        (
            "Specified UC table name is invalid: failed to parse metadata value.",
            "Invalid argument: Failed to add table name header: External error: failed to parse metadata value.",
        ),
        FailureKind.MISCONFIGURED,
    ),
}


@FORMATS
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_the_sdk_does_not_accept(wire_format, setting):
    options, texts, kind = SETTINGS[setting]
    with failing() as seen:
        open_to("http://127.0.0.1:9", wire_format, **options)
    failure, text, _ = seen[0]
    assert text in texts
    assert failure.kind is kind


@FORMATS
@pytest.mark.parametrize("proxy", ["::bad", "http://["])
def test_a_proxy_that_is_no_url(monkeypatch, wire_format, proxy):
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with failing() as seen:
        open_to("https://unreachable.invalid:9", wire_format)  # an address of its own: the SDK reads the variable once
    failure, text, _ = seen[0]
    assert text == "Invalid argument: failed to parse proxy URL: invalid authority."
    assert (failure.kind, failure.cause) == (FailureKind.MISCONFIGURED, "INVALID_PROXY")


@FORMATS
def test_a_server_without_tls_behind_an_https_address(emulator, wire_format):
    with failing() as seen:
        open_to(emulator.endpoint.replace("http:", "https:"), wire_format)
    failure, text, _ = seen[0]
    assert text.startswith(
        f"Failed to create stream: code: '{WORDS['UNAVAILABLE']}', message: \"received corrupt message"
    )
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "UNAVAILABLE")


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_a_call_that_is_too_large_is_rejected_and_the_stream_lives(emulator, wire_format):
    emulator.faults = Faults()
    stream = open_to(emulator, wire_format)
    record = b"x" * 10_500_000 if wire_format == "proto" else "x" * 10_500_000
    with failing() as seen:
        stream.send([record])
    failure, text, error_class = seen[0]
    assert error_class is NonRetriableException
    assert text.startswith("Invalid argument: Ingest payload too large: 10500000 bytes")
    assert failure.kind is FailureKind.REJECTED
    assert stream.find_cause(failure) is failure
    assert is_acknowledged(stream, send(stream, wire_format))
