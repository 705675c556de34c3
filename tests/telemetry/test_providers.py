"""Which providers are used: the application's, also late ones; ours; or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.telemetry.receiver import Receiver
from tests.telemetry.scripts import run


def test_global_providers_are_used() -> None:
    found = run("""
        spans, reader = install()
        send(open_recorder(None, table="a.b.c", wire_format="proto"))
        send(open_recorder(Telemetry(), table="a.b.c", wire_format="proto"))
        print(json.dumps([
            [span.name for span in spans.get_finished_spans()],
            total(reader, "beam_zerobus.rows"),
            threading.active_count(),
        ]))
    """)
    assert found == [["encode", "send a.b.c", "encode", "send a.b.c"], 20, 1]


def test_providers_installed_later_are_found_and_get_every_count() -> None:
    found = run("""
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        recorder.stream_opened()
        send(recorder)
        spans, reader = install()
        time.sleep(0.15)
        send(recorder)
        send(recorder)
        print(json.dumps([
            [span.name for span in spans.get_finished_spans()], total(reader, "beam_zerobus.rows"),
            total(reader, "beam_zerobus.streams_open"), total(reader, "beam_zerobus.encode_duration"),
        ]))
    """)
    assert found == [["encode", "send a.b.c"] * 2, 30, 1, 2]


def test_metrics_without_tracing() -> None:
    found = run("""
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        send(open_recorder(None, table="a.b.c", wire_format="proto"))
        print(json.dumps([total(reader, "beam_zerobus.rows"), total(reader, "beam_zerobus.encode_duration")]))
    """)
    assert found == [10, 1]


def test_nothing_is_set_up_without_options() -> None:
    found = run("""
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        send(recorder)
        recorder.flush()
        recorder.close()
        print(json.dumps([threading.active_count(), "grpc" in sys.modules, type(trace.get_tracer_provider()).__name__]))
    """)
    assert found == [1, False, "ProxyTracerProvider"]


def test_own_providers_replace_no_global_one(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    found = run(
        """
        recorder = open_recorder(Telemetry(endpoint=sys.argv[1]), table="a.b.c", wire_format="proto")
        send(recorder)
        print(json.dumps([type(trace.get_tracer_provider()).__name__, type(metrics.get_meter_provider()).__name__]))
        """,
        receiver.endpoint,
    )
    assert found == ["ProxyTracerProvider", "_ProxyMeterProvider"]
    assert receiver.seen.total("beam_zerobus.rows") == 10


def test_environment_sets_up_providers(protocol: str, receive: Callable[..., Receiver]) -> None:
    receiver = receive(protocol)
    run(
        """
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        send(recorder)
        recorder.close()
        print("null")
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_HEADERS="api-key=s3cret",
        OTEL_SERVICE_NAME="ingest",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
    )
    assert receiver.seen.total("beam_zerobus.rows") == 10
    (span,) = receiver.seen.named("send a.b.c")
    assert span.resource["service.name"] == "ingest"
    assert span.resource["deployment.environment"] == "test"
    assert receiver.seen.headers[0]["api-key"] == "s3cret"


def test_options_come_before_the_environment(receive: Callable[..., Receiver]) -> None:
    asked, other = receive("http/protobuf"), receive()
    run(
        """
        recorder = open_recorder(
            Telemetry(endpoint=sys.argv[1], protocol="http/protobuf", service_name="mine",
                      resource_attributes={"deployment.environment": "prod"}), table="a.b.c", wire_format="proto")
        send(recorder)
        recorder.close()
        print("null")
        """,
        asked.endpoint,
        OTEL_EXPORTER_OTLP_ENDPOINT=other.endpoint,
        OTEL_SERVICE_NAME="ingest",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
    )
    assert other.seen.requests == 0
    resource = asked.seen.spans[0].resource
    assert resource["service.name"] == "mine"
    assert resource["deployment.environment"] == "prod"


def test_instrumented_program_with_environment_is_not_exported_twice(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    found = run(
        """
        spans, reader = install()
        send(open_recorder(None, table="a.b.c", wire_format="proto"))
        print(json.dumps(total(reader, "beam_zerobus.rows")))
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
    )
    assert found == 10
    assert receiver.seen.requests == 0


@pytest.mark.parametrize(
    "environment", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}]
)
def test_standard_switches(environment: dict[str, str], receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    found = run(
        """
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        send(recorder)
        recorder.close()
        print(json.dumps(threading.active_count()))
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        **environment,
    )
    assert found == 1
    assert receiver.seen.requests == 0


HIDE_EXTRA = """
        sys.modules["opentelemetry.exporter.otlp.proto.grpc"] = None
"""


def test_missing_extra_is_named() -> None:
    found = run(
        HIDE_EXTRA
        + """
        try:
            open_recorder(Telemetry(endpoint="http://127.0.0.1:1"), table="a.b.c", wire_format="proto")
        except ConfigurationError as error:
            print(json.dumps(str(error)))
        """
    )
    assert "pip install '.[otlp]' in a clone of beam_zerobus" in found


def test_environment_meant_for_others_only_warns() -> None:
    found = run(
        HIDE_EXTRA
        + """
        messages = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logging.getLogger().addHandler(handler)
        for _ in range(3):
            send(open_recorder(None, table="a.b.c", wire_format="proto"))
        print(json.dumps(messages))
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://user:s3cret@127.0.0.1:1",
    )
    (message,) = found
    assert ".[otlp]" in message
    assert "s3cret" not in message


def test_setting_the_sdk_cannot_read_only_warns() -> None:
    found = run(
        """
        messages = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logging.getLogger("beam_zerobus").addHandler(handler)
        for _ in range(3):
            send(open_recorder(Telemetry(endpoint="http://127.0.0.1:1"), table="a.b.c", wire_format="proto"))
        print(json.dumps(messages))
        """,
        OTEL_EXPORTER_OTLP_TIMEOUT="soon",
    )
    (message,) = found
    assert message.startswith("Recording telemetry failed")


def test_providers_that_raise_do_no_harm() -> None:
    found = run("""
        class Broken(TracerProvider):
            def get_tracer(self, *args, **kwargs):
                raise RuntimeError("broken")
        messages = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logging.getLogger("beam_zerobus").addHandler(handler)
        trace.set_tracer_provider(Broken())
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        for _ in range(10):
            send(recorder)
        print(json.dumps(messages))
    """)
    assert len(found) == 1


def test_processors_that_raise_do_no_harm() -> None:
    found = run("""
        class Broken(SimpleSpanProcessor):
            def __init__(self):
                pass
            def on_start(self, *args, **kwargs):
                raise RuntimeError("broken")
            on_end = on_start
        spans, reader = install()
        trace.get_tracer_provider().add_span_processor(Broken())
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        for _ in range(10):
            send(recorder)
        print(json.dumps(total(reader, "beam_zerobus.rows")))
    """)
    assert found == 100


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = run(
        """
        try:
            open_recorder(Telemetry(output_dir=sys.argv[1]), table="a.b.c", wire_format="proto")
        except ConfigurationError as error:
            print(json.dumps(str(error)))
        """,
        str(tmp_path / "file"),
    )
    assert "Telemetry.output_dir" in found
