"""OTLP's nested messages as flat rows: each has its resource and its scope.

A signal's requests are divided into records, and each record becomes a row by itself, so that one that is not valid
does not concern the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from beam_zerobus.emulator.otlp.values import attributes, enum_name, hex_id, int32, int64, record_id, variant

__all__ = ["Context", "Row", "common", "contexts", "log_row", "logs", "span_row", "spans"]

Row: TypeAlias = dict[str, Any]

_DROPPED = "dropped_attributes_count"
_PARTS = ("resource", "instrumentation_scope")


@dataclass(frozen=True, slots=True)
class Context:
    """What all records of one scope have in common.

    Attributes:
        row: The columns of the resource and of the scope.
        size: Bytes of their values, which each row repeats.
    """

    row: Row
    size: int


def contexts(resources: Any, scopes: str, schema_url: str) -> Iterator[tuple[Context, Any]]:
    """Yield each scope of a request with its context.

    Args:
        resources: The messages that group records by resource.
        scopes: The name of their field with the scopes.
        schema_url: The column of a scope's schema URL.
    """
    for group in resources:
        name, resource = None, None
        if group.HasField("resource"):
            found = group.resource
            name = _service_name(found)
            resource = {"attributes": attributes(found.attributes), _DROPPED: found.dropped_attributes_count}
        for part in getattr(group, scopes):
            scope = None
            if part.HasField("scope"):
                of = part.scope
                scope = {
                    "name": of.name,
                    "version": of.version,
                    "attributes": attributes(of.attributes),
                    _DROPPED: of.dropped_attributes_count,
                }
            row = {
                "service_name": name,
                "resource": resource,
                "resource_schema_url": group.schema_url,
                "instrumentation_scope": scope,
                schema_url: part.schema_url,
            }
            yield (
                Context(row, len(name or "") + len(part.schema_url) + len(group.schema_url) + _size(resource, scope)),
                part,
            )


def _service_name(resource: Any) -> str | None:
    for pair in resource.attributes:
        if pair.key == "service.name" and pair.value.WhichOneof("value") == "string_value":
            return pair.value.string_value
    return None


def _dropped(message: Any) -> Row:
    return {_DROPPED: int32(message.dropped_attributes_count, _DROPPED)}


def _size(*structs: Row | None) -> int:
    return sum(len(value) for struct in structs if struct for value in struct.values() if isinstance(value, str))


def common(context: Context, time_unix_nano: int) -> Row:
    """Return the columns that every signal has; the time is that of the record.

    Raises:
        Rejection: The time, or a number of the resource or the scope, is too large.
    """
    for name in _PARTS:  # here and not in `contexts`, so that it rejects the records of this scope alone
        part = context.row[name]
        if part is not None:
            int32(part[_DROPPED], f"{name}.{_DROPPED}")
    microseconds = int64(time_unix_nano, "time") // 1000
    return {"record_id": record_id(), "time": microseconds, "date": microseconds // 86_400_000_000, **context.row}


def spans(request: Any) -> Iterator[tuple[Context, Any]]:
    """Yield the spans of a request."""
    for context, part in contexts(request.resource_spans, "scope_spans", "span_schema_url"):
        for span in part.spans:
            yield context, span


def span_row(context: Context, span: Any) -> Row:
    """Return a span's row.

    Raises:
        Rejection: The span is not valid.
    """
    return {
        **common(context, span.start_time_unix_nano),
        "trace_id": hex_id(span.trace_id, "trace_id", required=True),
        "span_id": hex_id(span.span_id, "span_id", required=True),
        "trace_state": span.trace_state,
        "parent_span_id": hex_id(span.parent_span_id, "parent_span_id"),
        "flags": int32(span.flags, "flags"),
        "name": span.name,
        "kind": enum_name(span.SpanKind, span.kind),
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": int64(span.end_time_unix_nano, "end_time_unix_nano"),
        "attributes": attributes(span.attributes),
        **_dropped(span),
        "events": [_event(event) for event in span.events],
        "dropped_events_count": int32(span.dropped_events_count, "dropped_events_count"),
        "links": [_link(link) for link in span.links],
        "dropped_links_count": int32(span.dropped_links_count, "dropped_links_count"),
        "status": {"message": span.status.message, "code": enum_name(span.status.StatusCode, span.status.code)},
    }


def _event(event: Any) -> Row:
    return {
        "time_unix_nano": int64(event.time_unix_nano, "events.time_unix_nano"),
        "name": event.name,
        "attributes": attributes(event.attributes),
        **_dropped(event),
    }


def _link(link: Any) -> Row:
    return {
        "trace_id": hex_id(link.trace_id, "trace_id"),
        "span_id": hex_id(link.span_id, "span_id"),
        "trace_state": link.trace_state,
        "attributes": attributes(link.attributes),
        **_dropped(link),
        "flags": int32(link.flags, "links.flags"),
    }


def logs(request: Any) -> Iterator[tuple[Context, Any]]:
    """Yield the log records of a request."""
    for context, part in contexts(request.resource_logs, "scope_logs", "log_schema_url"):
        for record in part.log_records:
            yield context, record


def log_row(context: Context, record: Any) -> Row:
    """Return a log record's row.

    Raises:
        Rejection: The record is not valid.
    """
    from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber  # noqa: PLC0415 - its package is optional

    return {
        **common(context, record.time_unix_nano),
        "event_name": record.event_name,
        "trace_id": hex_id(record.trace_id, "trace_id"),
        "span_id": hex_id(record.span_id, "span_id"),
        "time_unix_nano": record.time_unix_nano,
        "observed_time_unix_nano": int64(record.observed_time_unix_nano, "observed_time_unix_nano"),
        "severity_number": enum_name(SeverityNumber, record.severity_number),
        "severity_text": record.severity_text,
        "body": variant(record.body),
        "attributes": attributes(record.attributes),
        **_dropped(record),
        "flags": int32(record.flags, "flags"),
    }
