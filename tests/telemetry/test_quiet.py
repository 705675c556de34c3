"""OpenTelemetry's messages about providers of ours are logged at DEBUG; the application's exporters keep theirs."""

from __future__ import annotations

import threading

import pytest

from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import open_recorder
from tests.telemetry.test_outlet import unused_port, warnings_of
from tests.telemetry.test_recorder import TABLE, send


def test_applications_own_exporters_keep_their_messages(caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricsData

    endpoint = f"http://127.0.0.1:{unused_port()}"
    options = Telemetry(endpoint=endpoint, protocol="http/protobuf", flush_timeout=0.1)
    send(open_recorder(options, table=TABLE, wire_format="proto"))
    theirs = OTLPMetricExporter(endpoint=endpoint, timeout=0.1)
    thread = threading.Thread(target=theirs.export, args=(MetricsData(resource_metrics=[]),))
    thread.start()
    thread.join()
    assert any("exporting metrics" in text or "export metrics" in text for text in warnings_of(caplog))
