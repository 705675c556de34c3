"""Spans and metrics in Arrow IPC streams, for machines without a collector.

``{output_dir}/otlp/traces/spans-{host}-{pid}.arrow`` and ``.../metrics/metrics-{host}-{pid}.arrow``, rotated like debug
files. The operating system has each export, so the files are readable up to the last one.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.rotated_files.destination import (
    RotatedFilesOptions,
    open_destination,
)
from beam_zerobus.rotated_files.destination import check_directory as check_local_directory
from beam_zerobus.rotated_files.growing import ByteFile
from beam_zerobus.rotated_files.layout import Folder
from beam_zerobus.rotated_files.names import file_base
from beam_zerobus.rotated_files.paths import is_remote

__all__ = ["METRIC_SCHEMA", "SPAN_SCHEMA", "MetricFiles", "SpanFiles", "check_directory"]

_ROOT = "otlp"
_SUFFIX = ".arrow"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_MAX_FILE_BYTES = 64 << 20
_UPLOAD_INTERVAL = 5.0
_EXIT_TIMEOUT = 1.0

_Pairs: TypeAlias = "list[tuple[str, str]]"

_TIME = pa.timestamp("ns", "UTC")
_ATTRIBUTES = pa.map_(pa.string(), pa.string())
_ORIGIN: Final = (pa.field("scope_name", pa.string()), pa.field("resource", _ATTRIBUTES))

SPAN_SCHEMA: Final = pa.schema(
    [
        pa.field("trace_id", pa.string(), nullable=False),
        pa.field("span_id", pa.string(), nullable=False),
        pa.field("parent_span_id", pa.string()),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("start_time", _TIME, nullable=False),
        pa.field("end_time", _TIME, nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("status_message", pa.string()),
        pa.field("attributes", _ATTRIBUTES, nullable=False),
        pa.field(
            "events",
            pa.list_(pa.struct([("time", _TIME), ("name", pa.string()), ("attributes", _ATTRIBUTES)])),
            nullable=False,
        ),
        *_ORIGIN,
    ]
)
"""A row is a span. Attributes have text values; a value of another type is its JSON."""

METRIC_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("start_time", _TIME),
        pa.field("time", _TIME, nullable=False),
        pa.field("attributes", _ATTRIBUTES, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("count", pa.int64()),
        pa.field("sum", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("bucket_bounds", pa.list_(pa.float64())),
        pa.field("bucket_counts", pa.list_(pa.int64())),
        *_ORIGIN,
    ]
)
"""A row is a data point, cumulative since `start_time`: a sum or level has ``value``, a histogram the other columns."""


def check_directory(output_dir: str | os.PathLike[str]) -> None:
    """Make the directory, check that it can be written, and load what writing needs.

    Raises:
        ConfigurationError: It cannot be made or written.
    """
    pa.array([])  # the first call imports pandas, if installed: it takes seconds, which an ending process does not have
    if is_remote(output_dir):
        return  # checked with the first export, on the worker, where Beam is imported
    try:
        check_local_directory(output_dir, _ROOT)
    except OSError as error:
        raise _cannot_write(output_dir, error) from error


def _cannot_write(output_dir: str | os.PathLike[str], error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"Telemetry.output_dir={os.fspath(output_dir)!r} cannot be written: {type(error).__name__}: {error}; "
        "name a directory that this user may write"
    )


class _ArrowFiles:
    """The Arrow files of one signal.

    Invariant, under the one lock: nothing is written after `close`.
    """

    def __init__(self, output_dir: str | os.PathLike[str], signal: str, name: str, schema: pa.Schema) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._schema = schema
        self._folder = Folder(name=signal, suffix=_SUFFIX)
        try:
            self._destination = open_destination(
                RotatedFilesOptions(output_dir=output_dir, root=_ROOT),
                base=file_base(name, f"{socket.gethostname()}-{os.getpid()}"),
                folders=(self._folder,),
                clock=time.time,
            )
        except OSError as error:
            raise _cannot_write(output_dir, error) from error
        self._file: ByteFile | None = None
        self._uploaded_at = time.monotonic()

    def append(self, rows: list[dict[str, Any]]) -> bool:
        """Write rows; False after `close`."""
        with self._lock:
            if self._closed:
                return False
            if rows:
                self._destination.files.check_in_place()
                self._write(pa.RecordBatch.from_pylist(rows, self._schema).serialize())
            if self._destination.needs_flushing and time.monotonic() - self._uploaded_at >= _UPLOAD_INTERVAL:
                self._destination.prepare_flush()()
                self._uploaded_at = time.monotonic()
            return True

    def close(self) -> None:
        """End the files, unless another thread still writes them at the end of the process."""
        if not self._lock.acquire(timeout=_EXIT_TIMEOUT):
            return
        try:
            if not self._closed:
                self._closed = True
                self._end()
        finally:
            self._lock.release()

    def _write(self, message: pa.Buffer) -> None:
        files = self._destination.files
        if self._file is not None and self._file.size + len(message) + len(_END_OF_STREAM) > _MAX_FILE_BYTES:
            self._file = None
            files.rotate()
        if self._file is None:
            # An IPC stream is its schema, its batches and an end, one after the other.
            header = self._schema.serialize().to_pybytes()
            path = files.layout.path(self._folder, _SUFFIX)
            self._file = files.add(ByteFile(path, header=header, trailer=_END_OF_STREAM))
        self._file.append([memoryview(message)])

    def _end(self) -> None:
        try:
            self._destination.files.close()
            if self._destination.needs_flushing:
                self._destination.prepare_flush()()
        finally:
            self._destination.close()


class SpanFiles(SpanExporter):
    """Writes spans as rows of `SPAN_SCHEMA`."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self._files = _ArrowFiles(output_dir, "traces", "spans", SPAN_SCHEMA)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans to the current file."""
        resource = _as_pairs(spans[0].resource.attributes) if spans else []  # a provider has one resource
        written = self._files.append([_span_row(span, resource) for span in spans])
        return SpanExportResult.SUCCESS if written else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """End the file."""
        self._files.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Do nothing: the operating system has each export already."""
        return True


class MetricFiles(MetricExporter):
    """Writes data points as rows of `METRIC_SCHEMA`."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._files = _ArrowFiles(output_dir, "metrics", "metrics", METRIC_SCHEMA)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **_: Any,
    ) -> MetricExportResult:
        """Append the data points to the current file."""
        written = self._files.append(_metric_rows(metrics_data))
        return MetricExportResult.SUCCESS if written else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:  # noqa: ARG002
        """End the file."""
        self._files.close()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Do nothing: the operating system has each export already."""
        return True


def _span_row(span: ReadableSpan, resource: _Pairs) -> dict[str, Any]:
    context = span.context
    assert context is not None  # noqa: S101  only a span that was never started has none
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "parent_span_id": trace.format_span_id(span.parent.span_id) if span.parent is not None else None,
        "name": span.name,
        "kind": span.kind.name,
        "start_time": span.start_time,
        "end_time": span.end_time,
        "status": span.status.status_code.name,
        "status_message": span.status.description,
        "attributes": _as_pairs(span.attributes),
        "events": [
            {"time": event.timestamp, "name": event.name, "attributes": _as_pairs(event.attributes)}
            for event in span.events
        ],
        "scope_name": span.instrumentation_scope.name if span.instrumentation_scope is not None else None,
        "resource": resource,
    }


def _metric_rows(metrics_data: MetricsData) -> list[dict[str, Any]]:
    return [
        {
            "name": metric.name,
            "unit": metric.unit or "",
            "description": metric.description or "",
            "kind": _kind(metric),
            "start_time": point.start_time_unix_nano,
            "time": point.time_unix_nano,
            "attributes": _as_pairs(point.attributes),
            **_values(point),
            "scope_name": of_scope.scope.name,
            "resource": resource,
        }
        for of_resource in metrics_data.resource_metrics
        for resource in (_as_pairs(of_resource.resource.attributes),)
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint | HistogramDataPoint)
    ]


def _kind(metric: Metric) -> str:
    if isinstance(metric.data, Histogram):
        return "histogram"
    return "sum" if isinstance(metric.data, Sum) and metric.data.is_monotonic else "level"


def _values(point: NumberDataPoint | HistogramDataPoint) -> dict[str, Any]:
    if isinstance(point, NumberDataPoint):
        return {"value": float(point.value)}
    return {
        "count": point.count,
        "sum": float(point.sum),
        "min": point.min,
        "max": point.max,
        "bucket_bounds": list(point.explicit_bounds),
        "bucket_counts": list(point.bucket_counts),
    }


def _as_pairs(attributes: Mapping[str, Any] | None) -> _Pairs:
    return [(name, value if isinstance(value, str) else _as_json(value)) for name, value in (attributes or {}).items()]


def _as_json(value: object) -> str:
    return str(value) if type(value) is int else json.dumps(value, default=list)  # most are integers, and JSON is slow
