"""`FlightService`: the calls of Arrow Flight that the gateway answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from opentelemetry import context as otel_context
from pyarrow import flight

from beam_zerobus.errors import ConfigurationError, ZerobusError
from beam_zerobus.gateway.calls import Calls
from beam_zerobus.gateway.dead_letters import DeadLetters
from beam_zerobus.gateway.idle import IdleWatch
from beam_zerobus.gateway.put import PutCall
from beam_zerobus.gateway.results import Failure, as_flight_errors
from beam_zerobus.gateway.security import BearerToken, TraceParents
from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.gateway.sign_in import SignIn
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.writer.shared import SharedWriters
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["FlightService"]

_TRACE = "trace"
_ONLY_WRITES = Failure(
    "UNIMPLEMENTED", "The gateway only writes: send batches with DoPut, and read a table with Databricks' own clients"
)
_ACTIONS = {
    "check": "body: a table's name; its schema is fetched with the gateway's credentials, no row is written",
    "flush": "body: a table's name; returns when every batch that was sent to it before has an outcome",
    "health": "whether calls are accepted, how many are running, and whether Databricks accepts the credentials",
}


class FlightService(flight.FlightServerBase):
    """Answers DoPut, which writes, GetSchema, GetFlightInfo and the actions check, flush and health.

    Args:
        settings: The gateway's.
        dead_letters: Keeps the rows that failed.
    """

    def __init__(self, settings: GatewaySettings, dead_letters: DeadLetters) -> None:
        self._settings = settings
        self._writers = SharedWriters()
        self._dead_letters = dead_letters
        self._calls = Calls(max_calls=settings.max_calls, max_clients=settings.max_clients)
        middleware: dict[str, flight.ServerMiddlewareFactory] = {_TRACE: TraceParents()}
        if isinstance(settings.token, Secret):
            middleware["token"] = BearerToken(settings.token)
        tls = settings.tls_certificate is not None
        super().__init__(
            f"grpc{'+tls' if tls else ''}://{_in_url(settings.host)}:{settings.port}",
            tls_certificates=[(_read(settings.tls_certificate), _read(settings.tls_key))] if tls else None,
            verify_client=settings.tls_client_ca is not None,
            root_certificates=_read(settings.tls_client_ca),
            middleware=middleware,
        )
        self._sign_in = SignIn(settings.all_configs().items())
        self._idle = IdleWatch(self._calls.running, self._calls.others, port=self.port, timeout=settings.idle_timeout)

    @property
    def running_calls(self) -> int:
        """Calls that write at the moment."""
        return len(self._calls)

    def drain(self, timeout: float) -> bool:
        """Accept nothing new, and wait until all calls have ended; False where some have not after `timeout`."""
        return self._calls.drain(timeout)

    def close(self) -> None:
        """Close all streams to Zerobus, what was accepted is delivered first; and end no more idle calls."""
        self._sign_in.close()
        self._idle.close()
        self._writers.close()

    # The calls of Arrow Flight.

    @as_flight_errors()
    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Write a client's batches; each gets its result as JSON, in order."""
        call = PutCall(
            context.peer(),
            reader,
            writer,
            settings=self._settings,
            dead_letters=self._dead_letters,
            stopping=lambda: self._calls.stopping,
        )
        with self._calls.entered(call), self._writer_of(_table_of(descriptor)) as table, _traced(context):
            call.run(table)

    @as_flight_errors()
    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Return the table's schema from Unity Catalog."""
        with self._calls.entered_beside(context.peer()):
            return flight.SchemaResult(self._schema_of(_table_of(descriptor)))

    @as_flight_errors()
    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Return the table's schema; the gateway only writes, so there are no endpoints to read from."""
        with self._calls.entered_beside(context.peer()):
            return flight.FlightInfo(self._schema_of(_table_of(descriptor)), descriptor, [], -1, -1)

    def list_flights(self, context: Any, criteria: Any) -> Any:  # noqa: ARG002
        """Reject the call."""
        raise _ONLY_WRITES.as_error()

    def do_get(self, context: Any, ticket: Any) -> Any:  # noqa: ARG002
        """Reject the call."""
        raise _ONLY_WRITES.as_error()

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> Any:  # noqa: ARG002
        """Reject the call."""
        raise _ONLY_WRITES.as_error()

    def list_actions(self, context: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the actions."""
        return list(_ACTIONS.items())

    @as_flight_errors()
    def do_action(self, context: Any, action: Any) -> list[bytes]:
        """Run an action; its result is one JSON object."""
        body = action.body.to_pybytes().decode("utf-8", "replace") if action.body is not None else ""
        with self._calls.entered_beside(context.peer()):
            return [json.dumps(self._content_of(action, body)).encode()]

    def _content_of(self, action: Any, body: str) -> dict[str, Any]:
        match action.type:
            case "health":
                return self.health()
            case "check":
                return {"table": body, "columns": self._schema_of(body).names}
            case "flush":
                with self._writer_of(body) as writer, suppress(ZerobusError):  # each failure is in its client's results
                    writer.flush()
                return {"table": body, "flushed": True}
            case _:
                known = ", ".join(_ACTIONS)
                raise Failure("INVALID_ARGUMENT", f"There is no action {action.type!r}: use {known}").as_error()

    def health(self) -> dict[str, Any]:
        """Return the gateway's health."""
        return {
            "status": "stopping" if self._calls.stopping else "serving",
            "calls": len(self._calls),
            "credentials": self._sign_in.state,
        }

    @contextmanager
    def _writer_of(self, table: str) -> Iterator[ZerobusWriter]:
        self._calls.check_serving()
        try:
            config = self._settings.writer_config(table)
        except ConfigurationError as error:
            raise Failure("INVALID_ARGUMENT", str(error)).as_error() from None
        with self._writers.acquire(config) as lease:
            yield lease.writer

    def _schema_of(self, table: str) -> pa.Schema:
        with self._writer_of(table) as writer:
            return writer.resolve_schema().to_arrow()


@contextmanager
def _traced(context: Any) -> Iterator[None]:
    """Make the client's span the parent of what happens in the block."""
    token = otel_context.attach(context.get_middleware(_TRACE).context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _table_of(descriptor: Any) -> str:
    """Return the table that a descriptor names: a path of one part, or of catalog, schema and table."""
    if descriptor.descriptor_type != flight.DescriptorType.PATH or not descriptor.path:
        raise Failure(
            "INVALID_ARGUMENT", "The descriptor names no table: give the path 'catalog.schema.table'"
        ).as_error()
    return ".".join(part.decode("utf-8", "replace") for part in descriptor.path)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
