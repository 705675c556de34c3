"""The rows of the table of errors that no status makes: each is made to happen, and the writer does what it says.

The SDK itself raises each error. A writer never meets some of them, because it checks its settings first and uses the
SDK as it expects: then another call of the SDK takes the place of the one that opens the stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from zerobus.sdk.sync import NonRetriableException, TableProperties, ZerobusException, ZerobusSdk

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    OAuthClientCredentials,
    RejectedError,
    Retry,
    TransientError,
    ZerobusWriter,
)
from beam_zerobus.delivery import limits, stream
from beam_zerobus.delivery.failures import FailureKind
from beam_zerobus.delivery.sdk_errors import ERRORS, ErrorRow, _read, translate
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.workspace.tokens import TokenSource
from tests.delivery.sdk_failures import DDL, FORMATS, ROWS, TABLE, RawHeaders

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
CLASSES = {
    FailureKind.TRANSIENT: TransientError,
    FailureKind.MISCONFIGURED: ConfigurationError,
    FailureKind.FORBIDDEN: RejectedError,
    FailureKind.UNAUTHENTICATED: AuthenticationError,
}


def title(row: ErrorRow) -> str:
    return row.conditions[0] + (f": {row.cause or row.sentence}" if row.sentence else "")


ROW = {title(row): row for row in ERRORS if row.number is None}
open_really = stream._open


# ---- what the service does: the fault, its row over protobuf and JSON, and over Arrow

FAULTS = {
    "wrong_ack": ("INVALID_ARGUMENT: INVALID_ACKNOWLEDGEMENT", "INVALID_STATE: INVALID_ACKNOWLEDGEMENT"),
    "wrong_answer": ("CANCELLED", "UNEXPECTED_RESPONSE"),  # the first is the row of INTERNAL
    "no_answer": ("CANCELLED", "CONNECTION_TIMEOUT"),  # and of DEADLINE_EXCEEDED
    "end": ("OK", "UNKNOWN: Server closed the stream"),
}


def fault(name: str, times: int) -> Faults:
    kind, code = ("status", "OK") if name == "end" else (name, "UNAVAILABLE")
    place = "at_stream" if name.endswith("_answer") else "at_call"
    return Faults(script=(ScriptedFault(kind, code=code, times=times, **{place: 1}),))


# ---- what a writer never does: in place of the call that opens its stream, and the rows as above


def bad_address(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    open_really(ZerobusSdk("http://", "http://"), spec, headers)


def bad_table(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    table, credentials = "main.iot.a\nb", RawHeaders({"authorization": "Bearer x"})
    tokens = TokenSource(credentials, table=table, endpoint=emulator.endpoint, workspace_url=None)
    open_really(sdk, replace(spec, table=table), stream._Headers(tokens))


def two_part_table(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    sdk_opens(replace(spec, table="main.iot"), emulator)


def no_token(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    emulator.faults = Faults(script=(ScriptedFault("token", at_token=1, times=99, http_status=503),))
    try:
        sdk_opens(spec, emulator)
    finally:
        emulator.faults = None


def sdk_opens(spec: StreamSpec, emulator: Emulator) -> None:
    """Open a stream for which the SDK fetches the token itself."""
    sdk = ZerobusSdk(emulator.endpoint, emulator.workspace_url)
    credentials = (emulator.client_id, emulator.client_secret)
    if spec.wire_format == "arrow":
        sdk.create_arrow_stream(spec.table, spec.arrow_schema, *credentials, stream._arrow_options(spec))
    else:
        sdk.create_stream(*credentials, stream._table_properties(spec), stream._record_options(spec))


def unfinished(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    opened = open_really(sdk, spec, headers)
    try:
        opened.get_unacked_batches() if spec.wire_format == "arrow" else opened.get_unacked_records()
    finally:
        opened.close()


def avro(sdk: ZerobusSdk, spec: StreamSpec, headers: Any, emulator: Emulator) -> None:
    properties = TableProperties(spec.table, avro_schema="{")  # Avro is a wire format of its own
    sdk.create_stream(table_properties=properties, headers_provider=headers)


CALLS: dict[str, tuple[Callable[..., None], str, str]] = {
    "bad_address": (bad_address, "CONNECTION: INVALID_ENDPOINT", "CONNECTION: INVALID_ENDPOINT"),
    "bad_table": (bad_table, "INVALID_TABLE_NAME", "INVALID_ARGUMENT: INVALID_HEADER"),
    "two_part_table": (two_part_table, "INVALID_TABLE_NAME", "INVALID_TABLE_NAME"),
    "no_token": (no_token, "TOKEN_FETCH", "TOKEN_FETCH"),
    "unfinished": (unfinished, "INVALID_STATE", "INVALID_STATE"),
    "avro": (avro, "AVRO_SCHEMA", "AVRO_SCHEMA"),
}

# ---- what the environment and the credentials do

SETTINGS = {
    "certificates": ("TLS", "install the package ca-certificates, or set SSL_CERT_FILE"),
    "proxy": ("INVALID_ARGUMENT: INVALID_PROXY", "the environment variables that name a proxy"),
    "token": ("INVALID_TOKEN", "rejected a new token"),
}

# ---- what other tests make happen, and what nothing does

ELSEWHERE = {
    "INTERNAL: STATUS_UNREAD": "test_an_end_whose_status_the_sdk_has_not_read_is_learned_from_a_new_stream",
    "OUT_OF_RANGE: INVALID_ACKNOWLEDGEMENT": "test_an_answer_that_is_too_large_is_a_fault_of_the_service",
    "SCHEMA_VALIDATION_FAILED": "test_a_writer_fetches_the_schema_that_does_not_match_over_arrow_at_most_twice",
    "UNAVAILABLE: Server requested graceful stream rotation": "test_a_writer_follows_a_rotation",
}
NEVER = {
    "INVALID_ENDPOINT": NonRetriableException("The specified Zerobus endpoint is in invalid format: x."),
    "INVALID_WORKSPACE_URL": NonRetriableException("Specified UC endpoint is in invalid format: x."),
    "CONNECTION": ZerobusException("Failed to open a channel: failed to load native roots for proxy connector: x."),
    "AVRO_ENCODING": NonRetriableException("Avro record encoding failed: x"),
    "NonRetriableException": NonRetriableException("new"),
    "ZerobusException": ZerobusException("new"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(memory=True) as running:
        running.create_table(TABLE, DDL)
        yield running


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows that matched what the SDK said, in order."""
    titles: list[str] = []

    def translated(error: Exception) -> Any:
        titles.append(title(next(row for row in ERRORS if row.matches(*_read(error)))))
        return translate(error)

    monkeypatch.setattr(stream, "translate", translated)
    return titles


@pytest.fixture
def opening(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Have something else done in place of the call that opens a stream."""
    return lambda call: monkeypatch.setattr(stream, "_open", lambda *arguments: call(*arguments, emulator))


@pytest.fixture
def writer(emulator: Emulator) -> Iterator[Callable[..., ZerobusWriter]]:
    """Make a writer of one retry."""
    made = []

    def make(wire_format: str, **options: Any) -> ZerobusWriter:
        settings = {
            "endpoint": emulator.endpoint,
            "workspace_url": emulator.workspace_url,
            "credentials": OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            "schema": DDL,
            "retry": Retry(max_retries=1, initial_backoff=0.01, max_backoff=0.02),
        }
        made.append(ZerobusWriter(TABLE, wire_format=wire_format, **settings | options))
        return made[-1]

    emulator.faults = None
    yield make
    for one in made:
        one.close(10)


def test_every_row_is_made_to_happen_or_said_never_to():
    tests = "".join(
        Path(__file__).with_name(f"test_{name}.py").read_text()
        for name in ("error_rows", "sdk_contract", "sdk_contract_streams")
    )
    assert all(f"def {name}(" in tests for name in ELSEWHERE.values())
    faults = {row for rows in FAULTS.values() for row in rows}
    calls = {row for _, *rows in CALLS.values() for row in rows}
    settings = {row for row, _ in SETTINGS.values()}
    by_status = {title for title, row in ROW.items() if row.source == "status"}  # test_error_rows.py
    assert faults | calls | settings | by_status | ELSEWHERE.keys() | NEVER.keys() == ROW.keys()


def test_the_page_says_which_rows_never_happen():
    listed = re.search(r"\n\nNothing makes these rows happen.*?\n\n(.*?)\n\n", PAGE.read_text(), re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", "".join(re.findall(r"^- (.*?):", listed[1], re.MULTILINE))) == list(NEVER)


def expected(rows: tuple[str, ...], wire_format: str) -> str:
    return rows[wire_format == "arrow"]


@FORMATS
@pytest.mark.parametrize("name", ["wrong_ack", "wrong_answer", "end"])
def test_a_fault_of_the_service_that_passes(emulator, writer, seen, wire_format, name):
    sends = writer(wire_format)
    before = emulator.table(TABLE).count_rows()
    emulator.faults = fault(name, times=1)
    assert sends.submit(ROWS).result(30).success
    assert emulator.table(TABLE).count_rows() == before + 2
    assert sends.counters.retries == (0 if name == "end" else 1)
    assert sum(emulator.stats.faults.values()) > 0
    assert seen[0] == expected(FAULTS[name], wire_format)


@FORMATS
def test_a_service_that_does_not_answer_once(emulator, writer, seen, monkeypatch, wire_format):
    monkeypatch.setattr(limits, "OPEN_TIMEOUT", 1.0)
    sends = writer(wire_format, retry=Retry(max_retries=9, initial_backoff=0.01, max_backoff=0.02))
    emulator.faults = fault("no_answer", times=1)
    assert sends.submit(ROWS).result(30).success
    assert sends.counters.retries >= 1
    # Over Arrow both limits of an opening end at the same time: either row may be the one.
    assert set(seen) <= set(FAULTS["no_answer"])


@FORMATS
@pytest.mark.parametrize("name", ["wrong_ack", "wrong_answer"])
def test_a_fault_of_the_service_that_stays(emulator, writer, seen, wire_format, name):
    sends = writer(wire_format)
    emulator.faults = fault(name, times=99)
    with pytest.raises(TransientError, match="failed 2 times") as raised:
        sends.submit(ROWS).result(30)
    assert raised.value.unacknowledged_rows == 2
    assert seen == [expected(FAULTS[name], wire_format)] * 2


@FORMATS
@pytest.mark.parametrize("name", CALLS)
def test_what_the_sdk_does_not_accept(writer, seen, opening, wire_format, name):
    call, *rows = CALLS[name]
    opening(call)
    assert_fails_as_the_row_says(writer(wire_format), seen, expected(tuple(rows), wire_format))


@FORMATS
@pytest.mark.parametrize("row", NEVER)
def test_what_the_sdk_might_say(writer, seen, opening, wire_format, row):
    def fails(*_: object) -> None:
        raise NEVER[row]

    opening(fails)
    assert_fails_as_the_row_says(writer(wire_format), seen, row)


@FORMATS
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_wrong(writer, seen, monkeypatch, wire_format, name):
    options: dict[str, Any] = {}
    if name == "certificates":
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    elif name == "proxy":
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", "::bad")
        options["endpoint"] = "https://unreachable.invalid:9"  # not the emulator's: the SDK reads the variable once
    else:
        options["credentials"] = RawHeaders({"authorization": "Bearer x\ny"})
    row, advice = SETTINGS[name]
    assert advice in str(assert_fails_as_the_row_says(writer(wire_format, **options), seen, row))


def assert_fails_as_the_row_says(sends: ZerobusWriter, seen: list[str], row: str) -> Exception:
    """Send; the row says which error that is, and whether it comes after a retry."""
    kind = ROW[row].kind
    with pytest.raises(CLASSES[kind], match=TABLE) as raised:
        sends.submit(ROWS).result(30)
    assert sends.counters.retries == (kind is FailureKind.TRANSIENT)
    assert set(seen) == {row}
    assert len(seen) == (2 if kind in (FailureKind.TRANSIENT, FailureKind.UNAUTHENTICATED) else 1)
    return raised.value
