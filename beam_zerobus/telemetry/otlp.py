"""Spans as OTLP messages: what OpenTelemetry's encoder makes of them, in a quarter of the time.

Its encoder makes twenty protobuf objects for the four spans of a batch that went well, and does so while rows are sent.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Final

from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

__all__ = ["encode_spans", "with_quick_encoder"]

_KINDS: Final = {
    SpanKind.INTERNAL: trace_pb2.Span.SPAN_KIND_INTERNAL,
    SpanKind.CLIENT: trace_pb2.Span.SPAN_KIND_CLIENT,
}
_PLAIN_TYPES: Final = frozenset({str, int})
_UNSET: Final = trace_pb2.Status()


@cache  # like an import, it is run once
def with_quick_encoder(exporter_module: str) -> ModuleType:
    """Return a module of an OTLP exporter of spans whose exporters encode with `encode_spans`.

    It is a copy of our own: the one that everybody imports stays as it is. OpenTelemetry's exporters of all versions
    since 1.30 take their encoder from a global name of their module, and have no other way in.

    Args:
        exporter_module: ``"opentelemetry.exporter.otlp.proto.http.trace_exporter"``, or gRPC's.

    Raises:
        ImportError: It is not installed.
    """
    spec = importlib.util.find_spec(exporter_module)
    if spec is None or spec.loader is None:
        raise ImportError(f"No module named {exporter_module!r}", name=exporter_module)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.encode_spans = encode_spans  # type: ignore[attr-defined]
    return module


def encode_spans(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return spans of one resource and one scope as a request; equal to what OpenTelemetry's encoder returns.

    Args:
        spans: At least one.
    """
    request = trace_encoder.encode_spans(spans[:1])
    encoded = request.resource_spans[0].scope_spans[0].spans
    for span in spans[1:]:
        if _is_plain(span):
            _add_plain(span, encoded.add())
        else:
            encoded.extend(trace_encoder.encode_spans([span]).resource_spans[0].scope_spans[0].spans)
    return request


def _is_plain(span: ReadableSpan) -> bool:
    """Tell a span as of a batch that went well from those with more to encode."""
    return (
        span.status.is_unset
        and not span.events
        and not span.links
        and not span.context.trace_state
        and not (span.parent is not None and span.parent.is_remote)
        and span.kind in _KINDS
        and (not span.attributes or _PLAIN_TYPES.issuperset(map(type, span.attributes.values())))
    )


def _add_plain(span: ReadableSpan, encoded: trace_pb2.Span) -> None:
    own, parent = span.context, span.parent
    if span.attributes:  # messages that are joined as bytes are merged
        encoded.MergeFromString(b"".join([_attribute(key, value) for key, value in span.attributes.items()]))
    encoded.trace_id = own.trace_id.to_bytes(16, "big")
    encoded.span_id = own.span_id.to_bytes(8, "big")
    if parent is not None:
        encoded.parent_span_id = parent.span_id.to_bytes(8, "big")
    encoded.name = span.name
    encoded.kind = _KINDS[span.kind]
    encoded.start_time_unix_nano = span.start_time or 0
    encoded.end_time_unix_nano = span.end_time or 0
    encoded.status.CopyFrom(_UNSET)
    encoded.flags = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK


@lru_cache(maxsize=1_024)
def _attribute(key: str, value: str | int) -> bytes:
    """Return a span with nothing but this attribute, serialized; most attributes are the same for each batch.

    Without the attribute, as OpenTelemetry does, where protobuf cannot hold the value.
    """
    try:
        any_value = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    except ValueError:
        return b""
    return trace_pb2.Span(attributes=[KeyValue(key=key, value=any_value)]).SerializeToString()
