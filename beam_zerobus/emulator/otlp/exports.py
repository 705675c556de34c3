"""`Exports`: what is common to OTLP over gRPC and over HTTP, from a request's bytes to its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import grpc
import pyarrow as pa
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES
from beam_zerobus.emulator.otlp.metrics import metric_row, metrics
from beam_zerobus.emulator.otlp.rows import Row, log_row, logs, span_row, spans
from beam_zerobus.emulator.otlp.tables import check_columns
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import RowRequest
from beam_zerobus.emulator.rows import JsonReader
from beam_zerobus.emulator.wire import TABLE_HEADER
from beam_zerobus.options.extras import install_extra

__all__ = ["SIGNALS", "Exports", "Signal"]

_MAX_RECORDS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One of the signals of OpenTelemetry.

    Attributes:
        name: ``"traces"``, ``"logs"`` or ``"metrics"``.
        package: The protobuf package of its service.
        message: What the names of its messages begin with.
        rejected: The field of a partial success that counts rejected records.
        records: Yields the records of a request, each with its context first.
        row: Returns the row of a record; raises `Rejection`.
    """

    name: str
    package: str
    message: str
    rejected: str
    records: Callable[[Any], Iterator[tuple[Any, ...]]]
    row: Callable[..., Row]

    @property
    def path(self) -> str:
        """The path over HTTP."""
        return f"/v1/{self.name}"

    @property
    def service(self) -> str:
        """The full name of the gRPC service."""
        return f"opentelemetry.proto.collector.{self.package}.v1.{self.package.capitalize()}Service"

    def messages(self) -> tuple[Any, Any]:
        """Return the classes of request and response.

        Raises:
            Rejection: UNIMPLEMENTED: their package is not installed.
        """
        name = f"opentelemetry.proto.collector.{self.package}.v1.{self.package}_service_pb2"
        try:
            module = import_module(name)
        except ImportError:
            raise Rejection(
                grpc.StatusCode.UNIMPLEMENTED,
                "this emulator cannot take OTLP: its package opentelemetry-proto is not installed; "
                + install_extra("emulator,otlp"),
            ) from None
        message = f"Export{self.message}Service"
        return getattr(module, f"{message}Request"), getattr(module, f"{message}Response")


SIGNALS = (
    Signal(name="traces", package="trace", message="Trace", rejected="rejected_spans", records=spans, row=span_row),
    Signal(name="logs", package="logs", message="Logs", rejected="rejected_log_records", records=logs, row=log_row),
    Signal(
        name="metrics",
        package="metrics",
        message="Metrics",
        rejected="rejected_data_points",
        records=metrics,
        row=metric_row,
    ),
)


@dataclass(frozen=True, slots=True)
class Exports:
    """Takes requests of every signal.

    Attributes:
        host: The state shared with streams.
    """

    host: Host

    def export(
        self,
        signal: Signal,
        *,
        token: Token,
        table_name: str | None,
        body: bytes,
        parse: Callable[[Any, bytes], Any] | None = None,
    ) -> Any:
        """Store the valid records of a request; return the response message, which counts the others.

        Args:
            signal: What kind of request it is.
            token: The client's token.
            table_name: The header with the table's name.
            body: The request.
            parse: Makes a message of a class from bytes; None for protobuf.

        Raises:
            Rejection: The request is rejected whole.
            NoAnswerError: A fault ends the connection.
        """
        if not table_name:
            raise Rejection.invalid(f"the header {TABLE_HEADER} is missing")
        table = self.host.writable_table(token, table_name)
        request_class, response_class = signal.messages()
        if len(body) > MAX_RECORD_BYTES:
            raise _too_large(f"has {len(body)} bytes; it may have {MAX_RECORD_BYTES}")
        records = list(_bounded(signal.records((parse or _from_bytes)(request_class, body))))
        check_columns(signal.name, table.name, table.schema)
        response = response_class()
        request = RowRequest.arrived(self.host, table, len(records), len(body), body)
        reader = JsonReader(request.schema)
        chunks, reason = _accepted(signal, records, reader, request.check)
        stored = sum(chunk.num_rows for chunk in chunks)
        if reason is not None:
            if not stored:
                raise reason
            setattr(response.partial_success, signal.rejected, len(records) - stored)
            response.partial_success.error_message = reason.message
        request.store(pa.concat_batches(chunks or [reader.read_rows([])]))
        return response


def _from_bytes(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Rejection.invalid("the request cannot be parsed") from None


def _bounded(records: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield records; each row repeats its resource and scope, so that a small request could be very many bytes."""
    size = 0
    for count, record in enumerate(records, start=1):
        size += record[0].size
        if count > _MAX_RECORDS or size > MAX_MESSAGE_BYTES:
            raise _too_large(f"has more than {_MAX_RECORDS} records, or its rows more than {MAX_MESSAGE_BYTES} bytes")
        yield record


def _too_large(what: str) -> Rejection:
    return Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the request {what}; export in smaller batches")


def _accepted(
    signal: Signal, records: Sequence[tuple[Any, ...]], reader: JsonReader, check: Callable[[pa.RecordBatch], None]
) -> tuple[list[pa.RecordBatch], Rejection | None]:
    """Return the rows of the records that are valid, and why the first of the others is not."""
    rows: list[Row] = []
    first: Rejection | None = None
    for record in records:
        try:
            rows.append(signal.row(*record))
        except Rejection as rejection:
            first = first or rejection
    chunks, reason = _divide(rows, reader, check)
    return chunks, first or reason


def _divide(
    rows: list[Row], reader: JsonReader, check: Callable[[pa.RecordBatch], None]
) -> tuple[list[pa.RecordBatch], Rejection | None]:
    """Read rows, in halves where the table rejects one."""
    if not rows:
        return [], None
    try:
        chunk = reader.read_rows(rows)
        check(chunk)
    except Rejection as rejection:
        if len(rows) == 1:
            return [], rejection
        middle = len(rows) // 2
        (before, first), (after, second) = (_divide(half, reader, check) for half in (rows[:middle], rows[middle:]))
        return before + after, first or second
    return [chunk], None
