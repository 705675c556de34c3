"""Metrics as rows: one for each data point, its values in the struct of the metric's kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beam_zerobus.emulator.otlp.rows import Context, Row, common, contexts
from beam_zerobus.emulator.otlp.values import attributes, enum_name, hex_id, int32, int64, number

__all__ = ["metric_row", "metrics"]


def metrics(request: Any) -> Iterator[tuple[Context, Any, Any]]:
    """Yield the data points of a request, each with its metric; the context has the metric's columns."""
    for context, part in contexts(request.resource_metrics, "scope_metrics", "metric_schema_url"):
        for metric in part.metrics:
            kind = metric.WhichOneof("data")
            if kind is None:
                continue
            row = {
                "name": metric.name,
                "description": metric.description,
                "unit": metric.unit,
                "metric_type": kind,
                "metadata": attributes(metric.metadata),
            }
            of_metric = Context(context.row | row, context.size + sum(map(len, row.values())))
            for point in getattr(metric, kind).data_points:
                yield of_metric, metric, point


def metric_row(context: Context, metric: Any, point: Any) -> Row:
    """Return a data point's row.

    Raises:
        Rejection: The data point is not valid.
    """
    kind = context.row["metric_type"]
    values = {"attributes": attributes(point.attributes), "flags": int32(point.flags, "flags")}
    values |= _VALUES[kind](getattr(metric, kind), point)
    return {
        **common(context, point.time_unix_nano),
        "start_time_unix_nano": int64(point.start_time_unix_nano, "start_time_unix_nano"),
        "time_unix_nano": point.time_unix_nano,
        kind: values,
    }


def _gauge(_: Any, point: Any) -> Row:
    return {"value": _value(point), "exemplars": _exemplars(point)}


def _sum(data: Any, point: Any) -> Row:
    return {**_gauge(data, point), **_temporality(data), "is_monotonic": data.is_monotonic}


def _histogram(data: Any, point: Any) -> Row:
    return {
        **_distribution(point),
        "bucket_counts": _counts(point.bucket_counts),
        "explicit_bounds": [number(bound) for bound in point.explicit_bounds],
        **_temporality(data),
    }


def _exponential_histogram(data: Any, point: Any) -> Row:
    return {
        **_distribution(point),
        "scale": point.scale,
        "zero_count": int64(point.zero_count, "zero_count"),
        "positive_bucket": _buckets(point, "positive"),
        "negative_bucket": _buckets(point, "negative"),
        "zero_threshold": number(point.zero_threshold),
        **_temporality(data),
    }


def _summary(_: Any, point: Any) -> Row:
    quantiles = [{"quantile": number(one.quantile), "value": number(one.value)} for one in point.quantile_values]
    return {"count": int64(point.count, "count"), "sum": number(point.sum), "quantile_values": quantiles}


_VALUES = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponential_histogram": _exponential_histogram,
    "summary": _summary,
}


def _value(point: Any) -> float | str | None:
    kind = point.WhichOneof("value")
    return None if kind is None else number(float(getattr(point, kind)))


def _distribution(point: Any) -> Row:
    optional = {name: number(getattr(point, name)) for name in ("sum", "min", "max") if point.HasField(name)}
    return {"count": int64(point.count, "count"), **optional, "exemplars": _exemplars(point)}


def _temporality(data: Any) -> Row:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import (  # noqa: PLC0415 - its package is optional
        AggregationTemporality,
    )

    return {"aggregation_temporality": enum_name(AggregationTemporality, data.aggregation_temporality)}


def _counts(counts: Any) -> list[int]:
    return [int64(count, "bucket_counts") for count in counts]


def _buckets(point: Any, name: str) -> Row | None:
    if not point.HasField(name):
        return None
    buckets = getattr(point, name)
    return {"offset": buckets.offset, "bucket_counts": _counts(buckets.bucket_counts)}


def _exemplars(point: Any) -> list[Row]:
    return [
        {
            "time_unix_nano": int64(exemplar.time_unix_nano, "exemplars.time_unix_nano"),
            "value": _value(exemplar),
            "span_id": hex_id(exemplar.span_id, "span_id"),
            "trace_id": hex_id(exemplar.trace_id, "trace_id"),
            "filtered_attributes": attributes(exemplar.filtered_attributes),
        }
        for exemplar in point.exemplars
    ]
