"""Ends a stream with a status, which carries a `google.rpc.ErrorInfo` where a schema does not fit."""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc
from google.protobuf import any_pb2

from beam_zerobus.emulator.rejection import Rejection

__all__ = ["end_failed", "end_stream", "status_bytes"]

_LOG = logging.getLogger(__name__)

_DETAILS = "grpc-status-details-bin"
_DOMAIN = "zerobus.databricks.com"
_REASON = "SCHEMA_VALIDATION_FAILED"
_NUMBER = "8001"


def end_stream(context: grpc.ServicerContext, rejection: Rejection) -> NoReturn:
    """End a stream with the status of a rejection, and with its details where it has causes."""
    if rejection.causes:
        context.set_trailing_metadata(((_DETAILS, status_bytes(rejection)),))
    context.abort(rejection.code, rejection.message)
    raise AssertionError("abort always raises")


def end_failed(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End a call on which the emulator itself failed; the client gets a status then, too."""
    _LOG.error("the emulator failed on a call", exc_info=error)
    context.abort(grpc.StatusCode.INTERNAL, f"the emulator failed: {type(error).__name__}")
    raise AssertionError("abort always raises")


def status_bytes(rejection: Rejection) -> bytes:
    """Return a serialized `google.rpc.Status`: code = 1, message = 2, details = 3, an ErrorInfo if there are causes."""
    code = bytes((1 << 3, rejection.code.value[0]))
    status = code + _field(2, rejection.message.encode())
    return status + _field(3, _error_info(rejection)) if rejection.causes else status


def _error_info(rejection: Rejection) -> bytes:
    metadata = {"causes": ",".join(rejection.causes), "error_code": _NUMBER}
    # ErrorInfo: reason = 1, domain = 2, metadata = 3, a map from string to string.
    info = _field(1, _REASON.encode()) + _field(2, _DOMAIN.encode())
    for key, value in metadata.items():
        info += _field(3, _field(1, key.encode()) + _field(2, value.encode()))
    detail: bytes = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info).SerializeToString()
    return detail


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes((number << 3 | 2,)) + bytes(size) + content
