"""Failures made to happen at a real server through the real SDK, for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest

from beam_zerobus import OAuthClientCredentials
from beam_zerobus.delivery.failures import StreamFailure
from beam_zerobus.delivery.sdk_errors import _STATUSES
from beam_zerobus.delivery.stream import Stream, open_stream
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.encoding import make_encoder
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.tokens import TokenSource
from tests.delivery.scripted_server import Script, ScriptedServer

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL"
SCHEMA = TableSchema.from_ddl(DDL)
ROWS = pa.record_batch({"id": pa.array([1, 2], pa.int64())})
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
PLACES = pytest.mark.parametrize("place", ["opening", "open"])
WORDS = {status: words for words, status in _STATUSES.items()}


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


def is_acknowledged(stream: Stream, offset: int) -> bool:
    """Wait for a call's acknowledgement, longer than a slice: a busy machine may take more than a second."""
    return any(stream.wait(offset) for _ in range(20))


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
        is_acknowledged(stream, send(stream, wire_format))
    return seen[0]


def scripted(script: Script, wire_format: str) -> tuple[StreamFailure, str, type]:
    with ScriptedServer(script) as server:
        return fail(server, wire_format)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def expected_texts(place: str, wire_format: str, status: str, message: str) -> tuple[str, ...]:
    """Return the SDK's texts for a status, which are what `translate` relies on.

    For an invalid argument on an open stream there are two, whether the service or the SDK itself found it: which one
    it is depends on the task of the SDK that reads it first.
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
