"""Who may call the gateway, and what of a caller's headers is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pyarrow import flight

from beam_zerobus.gateway.results import Failure
from beam_zerobus.logs import get_logger
from beam_zerobus.workspace.secret import Secret

__all__ = ["BearerToken", "TraceParent", "TraceParents"]

_log = get_logger(__name__)


class BearerToken(flight.ServerMiddlewareFactory):
    """Rejects every call without the gateway's token."""

    def __init__(self, token: Secret) -> None:
        super().__init__()
        self._token = token

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> None:
        """Check the header ``authorization: Bearer <token>``."""
        given = [str(value) for value in _header(headers, "authorization")]
        if any(value[:7].lower() == "bearer " and Secret(value[7:]) == self._token for value in given):
            return
        _log.warning("A call (%s) was rejected: its token is %s", info.method, "wrong" if given else "missing")
        raise Failure(
            "UNAUTHENTICATED", "The gateway does not know this token: send its token as 'authorization: Bearer <token>'"
        ).as_error()


class TraceParent(flight.ServerMiddleware):
    """The trace that a call belongs to."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context


class TraceParents(flight.ServerMiddlewareFactory):
    """Reads the header ``traceparent`` of each call, as W3C Trace Context defines it."""

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> TraceParent:  # noqa: ARG002
        """Return the call's trace."""
        carrier = {name: str(values[0]) for name in ("traceparent", "tracestate") if (values := _header(headers, name))}
        return TraceParent(TraceContextTextMapPropagator().extract(carrier))


def _header(headers: Mapping[str, list[str]], name: str) -> list[str]:
    return next((list(values) for key, values in headers.items() if key.lower() == name), [])
