"""OTLP: requests that are rejected whole, and the form of these answers over HTTP."""

from __future__ import annotations

import gzip
from contextlib import suppress
from typing import Any

import grpc
import pytest
import requests
from google.rpc import status_pb2

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.access.tokens import TokenIssuer

from .otlp_calls import HEADER, call_grpc, call_http, headers, request_of, span, table_for

PROTOBUF = "application/x-protobuf"


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    table_for(emulator, "traces")


@pytest.mark.parametrize(
    ("body", "changes", "status", "reason"),
    [
        (b"", {"Content-Type": "text/plain"}, 415, "application/x-protobuf"),
        (b"\xff", {}, 400, "cannot be parsed"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(b"abc", mtime=0)[:-4], {"Content-Encoding": "gzip"}, 400, "ends too early"),
        (2 * gzip.compress(b"", mtime=0), {"Content-Encoding": "gzip"}, 400, "bytes after its gzip"),
        (gzip.compress(bytes(11 << 20), mtime=0), {"Content-Encoding": "gzip"}, 429, "in smaller batches"),
        (b"", {"Content-Encoding": "zstd"}, 400, "must be gzip"),
        (b"{", {"Content-Type": "application/json"}, 400, "not OTLP in JSON"),
        (b"[1]", {"Content-Type": "application/json"}, 400, "not OTLP in JSON"),
        (b'{"traceId": "xyz"}', {"Content-Type": "application/json"}, 400, "not OTLP in JSON"),
        (b'{"resourceSpans": 5}', {"Content-Type": "application/json"}, 400, "not OTLP in JSON"),
        (b"[" * 900 + b"]" * 900, {"Content-Type": "application/json"}, 400, "not OTLP in JSON"),
    ],
)
def test_bodies_that_are_not_otlp_are_rejected(
    emulator: Emulator, body: bytes, changes: dict[str, str], status: int, reason: str
) -> None:
    answer = call_http(emulator, "traces", body, **changes)
    kind = changes.get("Content-Type", PROTOBUF)
    code, message = status_of(answer, PROTOBUF if kind == PROTOBUF else "application/json")
    assert (answer.status_code, reason in message) == (status, True), message
    assert code == (8 if status == 429 else 3)
    assert table_for(emulator, "traces").count_rows() == 0


def status_of(answer: requests.Response, kind: str) -> tuple[int, str]:
    """The `google.rpc.Status` of an answer, which is of this type."""
    assert answer.headers["Content-Type"] == kind
    if kind == PROTOBUF:
        found = status_pb2.Status.FromString(answer.content)
        return found.code, found.message
    return answer.json()["code"], answer.json()["message"]


@pytest.mark.parametrize("kind", [PROTOBUF, "application/json"])
def test_every_error_is_a_status_in_the_type_of_the_request(emulator: Emulator, kind: str) -> None:
    def send(body: bytes = b"", **changes: str) -> tuple[int, int, str]:
        answer = call_http(emulator, "traces", body, **{"Content-Type": kind} | changes)
        return answer.status_code, *status_of(answer, kind)

    for authorization in ("", "Bearer guess", "Basic YTpi"):
        status, code, message = send(authorization=authorization)
        assert (status, code, bool(message)) == (401, 16, True)
    assert send(**{HEADER: "main.otel.other"})[:2] == (403, 7)
    assert send(**headers(emulator, "main.otel.none"))[:2] == (404, 5)
    assert send(**{"Content-Length": str(11 << 20)})[:2] == (413, 8)
    assert send(**{"Content-Length": "x"})[:2] == (400, 3)
    assert send(**{"Transfer-Encoding": "chunked"})[:2] == (411, 3)
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1, code="ABORTED"),))
    assert send(b"" if kind == PROTOBUF else b"{}")[:2] == (500, 10)


def test_a_token_is_checked_once(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = TokenIssuer.check
    monkeypatch.setattr(TokenIssuer, "check", lambda issuer, text: (checked.append(text), check(issuer, text))[1])
    assert call_http(emulator, "traces", request_of("traces", span())).status_code == 200
    call_grpc(emulator, "traces", request_of("traces", span()))
    assert len(checked) == 2


@pytest.mark.parametrize("call", [call_grpc, call_http])
def test_the_page_shows_what_is_rejected(emulator: Emulator, call: Any) -> None:
    with suppress(grpc.RpcError):
        call(emulator, "traces", b"\xff")
    events = requests.get(
        f"{emulator.workspace_url}/control/activity",
        headers={"Authorization": f"Bearer {emulator.control_token}"},
        timeout=20,
    ).json()["events"]
    assert any(event["kind"] == "rejected" and "cannot be parsed" in event["text"] for event in events)
