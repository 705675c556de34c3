"""What OpenTelemetry's own exporters send is read back equal: traces, logs and metrics, over gRPC, HTTP and TLS."""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from beam_zerobus.emulator import Emulator

from .otlp_calls import exporter, table_for

RESOURCE = Resource({"service.name": "shop", "replicas": 3}, "https://example.com/resource")
ATTRIBUTES: dict[str, Any] = {"s": "é", "b": True, "i": -(2**63), "f": 0.5, "list": ["a", "b"], "numbers": [1, 2]}
SECURE = [pytest.param(protocol, True, marks=pytest.mark.hostile) for protocol in ("grpc", "http")]


@pytest.mark.parametrize(("protocol", "tls"), [("grpc", False), ("http", False), *SECURE])
def test_what_an_exporter_sends_is_read_back_equal(protocol: str, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tls=tls) as emulator:
        if tls:  # the machine's own variable would count more than the exporter's argument
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_file))
        check_spans(emulator, protocol)
        check_logs(emulator, protocol)
        check_metrics(emulator, protocol)


def rows(emulator: Emulator, signal: str) -> list[dict[str, Any]]:
    found = table_for(emulator, signal).to_arrow().to_pylist()
    for row in found:
        assert row["service_name"] == "shop"
        assert json.loads(row["resource"]["attributes"]) == dict(RESOURCE.attributes)
        assert row["resource_schema_url"] == RESOURCE.schema_url
        scope = row["instrumentation_scope"]
        assert (scope["name"], scope["version"], json.loads(scope["attributes"])) == ("scope", "1.2", {"x": 1})
        assert row["date"] == row["time"].date()
    return sorted(found, key=lambda row: row["record_id"])


def moment(nanoseconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=nanoseconds // 1000)


def hexadecimal(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


def check_spans(emulator: Emulator, protocol: str) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    sender = exporter(emulator, "traces", protocol)
    for one in (kept, sender):
        provider.add_span_processor(SimpleSpanProcessor(one))
    tracer = provider.get_tracer("scope", "1.2", "https://example.com/scope", {"x": 1})
    far = SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1))
    with (
        tracer.start_as_current_span("outer", kind=SpanKind.SERVER, attributes=ATTRIBUTES, links=[Link(far, {"l": 1})]),
        tracer.start_as_current_span("inner") as inner,
    ):
        inner.add_event("happened", {"e": "x"}, timestamp=1_700_000_000_000_000_007)
        inner.set_status(Status(StatusCode.ERROR, "broke"))
    provider.shutdown()
    sent = sorted(kept.get_finished_spans(), key=lambda span: span.name)
    found = sorted(rows(emulator, "traces"), key=lambda row: row["name"])
    assert len(found) == len(sent) == 2
    for row, span in zip(found, sent, strict=True):
        assert row["name"] == span.name
        assert row["trace_id"] == hexadecimal(span.context.trace_id, 32)
        assert row["span_id"] == hexadecimal(span.context.span_id, 16)
        assert row["parent_span_id"] == (None if span.parent is None else hexadecimal(span.parent.span_id, 16))
        assert (row["start_time_unix_nano"], row["end_time_unix_nano"]) == (span.start_time, span.end_time)
        assert row["time"] == moment(span.start_time)
        assert row["kind"] == f"SPAN_KIND_{span.kind.name}"
        assert row["status"] == {
            "code": f"STATUS_CODE_{span.status.status_code.name}",
            "message": span.status.description or "",
        }
        assert json.loads(row["attributes"]) == json.loads(json.dumps(dict(span.attributes)))
        events = [(one["name"], one["time_unix_nano"], json.loads(one["attributes"])) for one in row["events"]]
        assert events == [(one.name, one.timestamp, dict(one.attributes)) for one in span.events]
        links = [(one["trace_id"], one["span_id"], json.loads(one["attributes"])) for one in row["links"]]
        assert links == [
            (hexadecimal(one.context.trace_id, 32), hexadecimal(one.context.span_id, 16), dict(one.attributes))
            for one in span.links
        ]
        assert row["span_schema_url"] == "https://example.com/scope"


def check_logs(emulator: Emulator, protocol: str) -> None:
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter(emulator, "logs", protocol)))
    logger = provider.get_logger("scope", "1.2", "https://example.com/scope", {"x": 1})
    body = {"text": "sold", "prices": [1, 2.5], "more": {"paid": True}}
    logger.emit(
        timestamp=1_700_000_000_000_000_009,
        observed_timestamp=1_700_000_000_000_000_010,
        severity_number=SeverityNumber.WARN2,
        severity_text="careful",
        body=body,
        attributes=ATTRIBUTES,
        event_name="sale",
    )
    provider.shutdown()
    (row,) = rows(emulator, "logs")
    assert row["time"] == moment(1_700_000_000_000_000_009)
    assert (row["time_unix_nano"], row["observed_time_unix_nano"]) == (
        1_700_000_000_000_000_009,
        1_700_000_000_000_000_010,
    )
    assert (row["severity_number"], row["severity_text"]) == ("SEVERITY_NUMBER_WARN2", "careful")
    assert (json.loads(row["body"]), json.loads(row["attributes"])) == (body, ATTRIBUTES)
    assert (row["event_name"], row["trace_id"], row["span_id"]) == ("sale", None, None)
    assert row["log_schema_url"] == "https://example.com/scope"


def check_metrics(emulator: Emulator, protocol: str) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("scope", "1.2", "https://example.com/scope", {"x": 1})
    meter.create_counter("sales", "1", "how many").add(3, {"till": 1})
    meter.create_gauge("heat", "C").set(-1.5)
    for value in (1, 30, 10_000_000):
        meter.create_histogram("took").record(value)
    data = reader.get_metrics_data()
    exporter(emulator, "metrics", protocol).export(data)
    provider.shutdown()
    points = {
        metric.name: (metric, metric.data.data_points[0])
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    found = {row["name"]: row for row in rows(emulator, "metrics")}
    assert set(found) == set(points) == {"sales", "heat", "took"}
    for name, (metric, point) in points.items():
        row = found[name]
        assert (row["unit"], row["description"]) == (metric.unit or "", metric.description or "")
        assert row["time_unix_nano"] == point.time_unix_nano
        assert row["time"] == moment(point.time_unix_nano)
    sales, heat, took = (found[name] for name in ("sales", "heat", "took"))
    assert (sales["metric_type"], sales["sum"]["value"], sales["gauge"]) == ("sum", 3.0, None)
    assert json.loads(sales["sum"]["attributes"]) == {"till": 1}
    assert sales["sum"]["aggregation_temporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
    assert sales["sum"]["is_monotonic"] is True
    assert (heat["metric_type"], heat["gauge"]["value"]) == ("gauge", -1.5)
    point = points["took"][1]
    histogram = took["histogram"]
    assert took["metric_type"] == "histogram"
    assert (histogram["count"], histogram["sum"]) == (3, 10_000_031)
    assert (histogram["min"], histogram["max"]) == (1, 10_000_000)
    assert histogram["bucket_counts"] == list(point.bucket_counts)
    assert histogram["explicit_bounds"] == list(point.explicit_bounds)


def test_an_exporter_reports_what_the_emulator_rejects(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    sender = exporter(emulator, "traces", "http")
    table_for(emulator, "traces").revoke("MODIFY")
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(sender))
    with caplog.at_level(logging.ERROR):
        provider.get_tracer("scope").start_span("lost").end()
    provider.shutdown()
    assert "403" in caplog.text
    assert table_for(emulator, "traces").count_rows() == 0
