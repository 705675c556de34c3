"""OTLP over HTTP: protobuf and JSON, with or without gzip."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import grpc
import orjson
from google.protobuf import json_format

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.http.answer import Headers, HttpAnswer
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.http.rest import http_status
from beam_zerobus.emulator.limits import MAX_RECORD_BYTES
from beam_zerobus.emulator.otlp.exports import SIGNALS, Exports
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.status import status_bytes
from beam_zerobus.emulator.wire import TABLE_HEADER

__all__ = ["EXPORT_PATHS", "HttpExports", "failure"]

_SIGNALS = {signal.path: signal for signal in SIGNALS}
EXPORT_PATHS = frozenset(_SIGNALS)
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
}
_GZIP = 16 + zlib.MAX_WBITS
# OTLP in JSON has ids in hexadecimal, unlike all other bytes. Names of members are fields, never keys of attributes.
_IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


@dataclass(frozen=True, slots=True)
class HttpExports:
    """Answers requests with OTLP.

    Attributes:
        exports: Stores the records.
    """

    exports: Exports

    def answer(self, path: str, headers: Headers, token: Token, body: bytes) -> HttpAnswer:
        """Answer a request to one of `EXPORT_PATHS`.

        Args:
            path: The path.
            headers: The headers.
            token: The client's token.
            body: The request's body, as sent.

        Raises:
            HttpError: The body's type is not one of OTLP.
            Rejection: The request is rejected.
            NoAnswerError: A fault ends the connection.
        """
        kind = _content_type(headers)
        if kind not in (_PROTOBUF, _JSON):
            raise HttpError(415, "MALFORMED_REQUEST", f"send OTLP with Content-Type {_PROTOBUF} or {_JSON}")
        response = self.exports.export(
            _SIGNALS[path],
            token=token,
            table_name=headers.get(TABLE_HEADER),
            body=_unpacked(headers.get("Content-Encoding"), body),
            parse=_from_json if kind == _JSON else None,
        )
        encoded = json_format.MessageToJson(response).encode() if kind == _JSON else response.SerializeToString()
        return HttpAnswer(content_type=kind, body=encoded)


def failure(headers: Headers, error: HttpError | Rejection) -> HttpAnswer:
    """Return an error as OTLP has it: a `google.rpc.Status` in the request's type, in JSON for a type of others."""
    if isinstance(error, HttpError):
        status = error.status
        error = Rejection(_CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT), str(error))
    else:
        status, _ = http_status(error.code)
    if _content_type(headers) == _PROTOBUF:
        return HttpAnswer(content_type=_PROTOBUF, body=status_bytes(error), status=status)
    body = orjson.dumps({"code": error.code.value[0], "message": error.message})
    return HttpAnswer(content_type=_JSON, body=body, status=status)


def _content_type(headers: Headers) -> str:
    return (headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def _unpacked(encoding: str | None, body: bytes) -> bytes:
    encoding = (encoding or "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Rejection.invalid("Content-Encoding must be gzip, or absent")
    decompressor = zlib.decompressobj(_GZIP)
    try:
        # One byte more than a request may have, which is then rejected as too large.
        unpacked = decompressor.decompress(body, MAX_RECORD_BYTES + 1)
    except zlib.error:
        raise Rejection.invalid("the body is not gzip") from None
    if not decompressor.eof and len(unpacked) <= MAX_RECORD_BYTES:
        raise Rejection.invalid("the body's gzip ends too early")
    if decompressor.unused_data:
        raise Rejection.invalid("the body has bytes after its gzip; compress it as a whole")
    return unpacked


def _from_json(kind: Any, body: bytes) -> Any:
    try:
        return json_format.ParseDict(_with_ids(orjson.loads(body)), kind(), ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.ParseError):
        raise Rejection.invalid("the request is not OTLP in JSON") from None


def _with_ids(value: Any) -> Any:
    """Return JSON with ids in Base64, as protobuf's JSON has bytes."""
    if isinstance(value, list):
        return [_with_ids(one) for one in value]
    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes.fromhex(one)).decode() if name in _IDS and one is not None else _with_ids(one)
            for name, one in value.items()
        }
    return value
