"""OpenTelemetry's messages about providers of ours are logged at DEBUG; the application's exporters keep theirs."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.telemetry.receiver import Receiver
from tests.telemetry.test_export_thread import warnings_of
from tests.telemetry.test_recorder import recorder_to, send


def test_applications_own_exporters_keep_their_messages(
    receive: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricsData

    receiver = receive("http/protobuf", "reject")
    send(recorder_to(receiver))
    OTLPMetricExporter(endpoint=receiver.endpoint).export(MetricsData(resource_metrics=[]))
    assert any("export metrics" in text for text in warnings_of(caplog))


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_messages_about_our_exporters_are_logged_at_debug(
    level: int, receive: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level, "beam_zerobus")
    receiver = receive("http/protobuf", "reject", reason="not with k3y-of-a-client")
    recorder = recorder_to(receiver)
    send(recorder)
    recorder.flush()
    records = [record for record in caplog.records if record.name.endswith("telemetry.quiet")]
    assert {record.levelname for record in records} == ({"DEBUG"} if level == logging.DEBUG else set())
    assert not any("k3y" in record.getMessage() for record in records)
    assert not any(record.name.startswith("opentelemetry") for record in caplog.records)
