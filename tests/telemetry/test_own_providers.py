"""Providers of our own follow OpenTelemetry's environment variables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from beam_zerobus.telemetry.instruments import BOUNDARIES, DURATIONS, ROWS
from tests.emulator.sdk import eventually
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import recorder_to, send


@pytest.mark.parametrize(
    ("preference", "expected"), [(None, "CUMULATIVE"), ("cumulative", "CUMULATIVE"), ("delta", "DELTA")]
)
def test_temporality_preference_applies_to_sums_and_durations(
    preference: str | None,
    expected: str,
    protocol: str,
    receive: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if preference is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    receiver = receive(protocol)
    recorder = recorder_to(receiver)
    send(recorder)
    recorder.flush()
    found = {}
    for raw in receiver.seen.raw_metrics:
        for of_resource in ExportMetricsServiceRequest.FromString(raw).resource_metrics:
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data") or "gauge")
                    found[metric.name] = AggregationTemporality.Name(data.aggregation_temporality)
    names = (ROWS.name, *(duration.name for duration in DURATIONS))
    assert {found[name] for name in names} == {f"AGGREGATION_TEMPORALITY_{expected}"}


def test_buckets_of_durations_suit_seconds(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    send(recorder)
    recorder.flush()
    for duration in DURATIONS:
        (point,) = receiver.seen.points[duration.name].values()
        assert tuple(point.bounds) == BOUNDARIES
        assert sum(point.buckets) == 1


def test_metrics_and_spans_are_exported_without_a_flush(
    receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    receiver = receive()
    recorder = recorder_to(receiver, export_interval=None)
    send(recorder)
    eventually(lambda: receiver.seen.total(ROWS.name) == 100 and len(receiver.seen.spans) == 4)
