"""What we rely on in the SDK: each error is made to happen at a real server, and the SDK's class and text are compared.

Runs with the SDK that is installed; `sdk_matrix.py` runs it with the oldest and the newest that we allow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
from zerobus.sdk.sync import NonRetriableException, ZerobusException

from beam_zerobus import ConfigurationError, ConversionError, OAuthClientCredentials, RejectedError
from beam_zerobus.delivery import limits
from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.delivery.sdk_errors import _STATUSES, ERRORS
from beam_zerobus.delivery.stream import Stream, open_stream
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.encoding import make_encoder
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.tokens import TokenSource
from tests.delivery.scripted_server import Dialogue, Script, ScriptedServer

TABLE = "main.iot.air"
COMPATIBILITY = Path(__file__).parents[2] / "docs" / "compatibility.md"
DDL = "id BIGINT NOT NULL"
SCHEMA = TableSchema.from_ddl(DDL)
ROWS = pa.record_batch({"id": pa.array([1, 2], pa.int64())})
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
PLACES = pytest.mark.parametrize("place", ["opening", "open"])
FINAL = ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "OUT_OF_RANGE", "UNIMPLEMENTED", "NOT_FOUND")
WORDS = {status: words for words, status in _STATUSES.items()}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(memory=True) as running:
        running.create_table(TABLE, DDL)
        yield running


def spec(wire_format: str, table: str = TABLE) -> StreamSpec:
    encoder = make_encoder(wire_format, SCHEMA)
    return StreamSpec(
        table=table,
        wire_format=wire_format,
        descriptor=encoder.descriptor if wire_format == "proto" else None,
        arrow_schema=encoder.schema if wire_format == "arrow" else None,
    )


class RawHeaders(Credentials):
    """Headers that no check of ours has seen."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = {name: Secret(value) for name, value in headers.items()}

    def identity(self) -> str | None:
        return None

    def request_headers(self, workspace_url, form):
        return self._headers, 0.0


def open_to(
    service: Emulator | ScriptedServer | str,
    wire_format: str,
    *,
    table: str = TABLE,
    headers: dict[str, str] | None = None,
    path: str = "",
) -> Stream:
    endpoint = service if isinstance(service, str) else service.endpoint
    workspace_url = None
    credentials = RawHeaders(headers or {"authorization": "Bearer x"})
    if isinstance(service, Emulator):
        workspace_url = service.workspace_url
        credentials = OAuthClientCredentials(client_id=service.client_id, client_secret=service.client_secret)
    tokens = TokenSource(credentials, table=table, endpoint=endpoint, workspace_url=workspace_url)
    return open_stream(spec(wire_format, table), endpoint=endpoint + path, workspace_url=workspace_url, tokens=tokens)


def send(stream: Stream, wire_format: str) -> int:
    return max(stream.send(payload.records) for payload in make_encoder(wire_format, SCHEMA).encode(ROWS))


@contextmanager
def failing() -> Iterator[list[tuple[StreamFailure, str, type]]]:
    """Expect a failure; collect it with the SDK's text and class."""
    seen: list[tuple[StreamFailure, str, type]] = []
    with pytest.raises(StreamFailure) as raised:
        yield seen
    said = raised.value.__context__
    seen.append((raised.value, str(said), type(said)))


def fail(service: Emulator | ScriptedServer, wire_format: str) -> tuple[StreamFailure, str, type]:
    """Open a stream, send a call, and wait; return the failure that ends this."""
    with failing() as seen:
        stream = open_to(service, wire_format)
        offset = send(stream, wire_format)
        for _ in range(20):
            if stream.wait(offset):
                break
    return seen[0]


def scripted(script: Script, wire_format: str) -> tuple[StreamFailure, str, type]:
    with ScriptedServer(script) as server:
        return fail(server, wire_format)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def expected_texts(place: str, wire_format: str, status: str, message: str) -> tuple[str, ...]:
    """Return the SDK's texts for a status, which are what `translate` relies on.

    For a rejected call there are two: which one it is depends on the task of the SDK that reads the status first.
    """
    said = f"code: '{WORDS[status]}'" + (f", message: {quoted(message)}" if message else "")
    if place == "opening":
        return (f"Failed to create stream: {said}.",)
    if status == "INVALID_ARGUMENT" and wire_format != "arrow":
        return f"Invalid argument: {message}.", f"Stream is closed: {said}"
    return (f"Stream is closed: {said}",)


def injected(place: str, status: str, message: str, causes: tuple[str, ...] = ()) -> Faults:
    where = {"at_stream": 1} if place == "opening" else {"at_call": 1}
    kind = "reject" if place == "opening" else "status"
    return Faults(script=(ScriptedFault(kind, code=status, message=message, causes=causes, **where),))


def statuses() -> Iterator[tuple[str, str, int]]:
    """Yield every gRPC status, message and row of the table that belong together."""
    for index, row in enumerate(ERRORS):
        if row.source in ("status", "number"):
            for status in row.conditions:
                if row.number is not None:
                    yield status, f"Error {row.number}: the words after it are free", index
                elif status != "OK":
                    yield status, 'no "number" \\ here\nat all', index
                    yield status, "", index


@FORMATS
@PLACES
@pytest.mark.parametrize("case", list(statuses()), ids=str)
def test_each_status_has_its_row(emulator, wire_format, place, case):
    status, message, index = case
    emulator.faults = injected(place, status, message)
    failure, text, error_class = fail(emulator, wire_format)
    assert text in expected_texts(place, wire_format, status, message)
    assert error_class is (NonRetriableException if status in FINAL else ZerobusException)
    row = ERRORS[index]
    assert (failure.kind, failure.cause) == (row.kind, status)
    assert (failure.blocked, failure.schema_changed) == (row.blocked, row.schema_changed)
    assert failure.while_opening is (place == "opening")
    assert str(failure) == (message or f"{status}, without a message")


@FORMATS
@PLACES
@pytest.mark.parametrize("number", [6002, 6006, 8001])
@pytest.mark.parametrize(
    "case",
    [
        ("NOT_FOUND", FailureKind.NOT_FOUND),
        ("INVALID_ARGUMENT", FailureKind.REJECTED),
        ("UNAVAILABLE", FailureKind.TRANSIENT),
    ],
)
def test_a_number_within_a_name_or_a_value_is_not_an_error_number(emulator, wire_format, place, case, number):
    status, kind = case
    emulator.faults = injected(place, status, f"Table 'main.iot.site_{number}' or value {number}: Error {number}: no")
    failure, _, _ = fail(emulator, wire_format)
    assert (failure.kind, failure.blocked, failure.schema_changed) == (kind, False, False)


@FORMATS
@PLACES
@pytest.mark.parametrize("number", [6002, 6006, 8001])
def test_no_number_changes_a_missing_table(emulator, wire_format, place, number):
    emulator.faults = injected(place, "NOT_FOUND", f"Error {number}: no such table")
    failure, _, _ = fail(emulator, wire_format)
    assert (failure.kind, failure.blocked, failure.schema_changed) == (FailureKind.NOT_FOUND, False, False)


@FORMATS
@pytest.mark.parametrize("number", ["", "Error 8001: "])
@pytest.mark.parametrize(
    "causes",
    [
        ("FIELD_NOT_IN_TABLE",),
        ("MISSING_REQUIRED_COLUMN",),
        ("FIELD_OUT_OF_ORDER",),
        ("TYPE_INCOMPATIBLE",),
        ("FIELD_COUNT_MISMATCH", "FIELD_NOT_IN_TABLE"),
        ("SOMETHING_NEW",),
    ],
)
def test_error_info_at_opening_is_a_changed_schema_over_arrow(emulator, wire_format, causes, number):
    message = f"{number}Arrow Flight schema validation failed"
    emulator.faults = injected("opening", "INVALID_ARGUMENT", message, causes)
    failure, text, error_class = fail(emulator, wire_format)
    assert error_class is NonRetriableException
    assert failure.kind is FailureKind.REJECTED
    if wire_format == "arrow":
        assert text == f"Arrow schema does not match the target table: {message}."
        assert (failure.cause, failure.schema_changed) == ("SCHEMA_VALIDATION_FAILED", True)
    else:  # the SDK reads no details there: only the number tells
        assert text in expected_texts("opening", wire_format, "INVALID_ARGUMENT", message)
        assert (failure.cause, failure.schema_changed) == ("INVALID_ARGUMENT", bool(number))


def test_the_sdk_is_the_one_that_is_meant():
    """Other tests say nothing of an SDK that was not loaded; `sdk_matrix.py` names the one that it means."""
    installed = version("databricks-zerobus-ingest-sdk")
    assert os.environ.get("EXPECTED_SDK", installed) == installed
    assert installed in COMPATIBILITY.read_text()


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
    assert text == (
        "Stream is in invalid state: Acknowledgement claims 99 records, but only 2 records were submitted"
        if wire_format == "arrow"
        else "Invalid argument: Invalid durability ACK offset 99; expected -1..=1."
    )
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "INVALID_ACKNOWLEDGEMENT")


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_a_negative_acknowledgement_is_a_fault_of_the_service(wire_format):
    failure, text, _ = scripted(acknowledging(-5, 0), wire_format)
    assert text == "Invalid argument: Invalid durability ACK offset -5; expected -1..=1."
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


@FORMATS
def test_a_stream_closed_without_error_is_a_rotation(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        yield dialogue.ready()
        dialogue.read()
        time.sleep(0.3)  # the client waits for its acknowledgement then

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
            stream.wait(offset)
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
@pytest.mark.parametrize(
    ("status", "kind"), [("DEADLINE_EXCEEDED", FailureKind.TRANSIENT), ("INVALID_ARGUMENT", FailureKind.REJECTED)]
)
def test_a_service_that_says_what_the_sdk_says_of_a_wait_has_ended_the_stream(emulator, wire_format, status, kind):
    emulator.faults = injected("open", status, "Waiting for acknowledgement timed out")
    failure, text, _ = fail(emulator, wire_format)
    assert text in expected_texts("open", wire_format, status, "Waiting for acknowledgement timed out")
    assert failure.kind is kind


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
def test_a_rejection_right_after_the_headers_is_found_out(wire_format):
    def script(dialogue: Dialogue) -> Iterator[bytes]:
        dialogue.end("UNAUTHENTICATED", "no such token")
        yield from ()

    causes = []
    with ScriptedServer(script) as server:
        for _ in range(10):  # 4 of 10 show as INTERNAL where nobody asks again
            failure, _, _ = fail(server, wire_format)
            causes.append(failure.cause)
    assert causes.count("UNAUTHENTICATED") >= 9


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
    assert stream.wait(send(stream, wire_format))


@FORMATS
@pytest.mark.parametrize("message", ["", "Error 6002: so it is"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("NOT_FOUND", ConfigurationError),
        ("PERMISSION_DENIED", RejectedError),
        ("UNIMPLEMENTED", RejectedError),
        ("INVALID_ARGUMENT", ConversionError),
    ],
)
def test_a_writer_does_not_retry_what_is_final(emulator, connect, wire_format, message, status, error):  # noqa: PLR0917
    fault = ScriptedFault("reject", at_stream=1, times=99, code=status, message=message)
    emulator.faults = Faults(script=(fault,))
    before = emulator.stats.faults.get("reject", 0)
    with pytest.raises(error, match=TABLE):
        connect(wire_format=wire_format, schema=DDL).send_batch(ROWS)
    assert emulator.stats.faults.get("reject", 0) - before == 1


def test_a_writer_fetches_the_schema_that_does_not_match_over_arrow_at_most_twice(emulator, connect):
    fault = ScriptedFault(
        "reject",
        at_stream=1,
        times=99,
        code="INVALID_ARGUMENT",
        message="Arrow Flight schema validation failed",
        causes=("FIELD_NOT_IN_TABLE",),
    )
    emulator.faults = Faults(script=(fault,))
    before = emulator.stats.faults.get("reject", 0)
    with pytest.raises(ConversionError, match="Arrow Flight schema validation failed"):
        connect(wire_format="arrow", schema="unity_catalog").send_batch(ROWS)
    assert 1 <= emulator.stats.faults.get("reject", 0) - before <= 2
