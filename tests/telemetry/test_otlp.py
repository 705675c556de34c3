"""The quick encoder of spans beside OpenTelemetry's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from beam_zerobus.telemetry import otlp
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import recorder_to, send

RESOURCE = Resource({"service.name": "worker", "process.pid": 7}, schema_url="https://example.com/resource")
SCOPE = InstrumentationScope("beam_zerobus", "1.0")

times = st.integers(0, 2**64 - 1)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(TraceFlags.SAMPLED)),
    st.sampled_from([None, TraceState(), TraceState([("vendor", "value")])]),
)
# Texts hold lone surrogates and integers exceed 64 bits: protobuf takes neither.
values = st.one_of(
    st.text(),
    st.integers(),
    st.integers(-3, 3),
    st.booleans(),
    st.floats(allow_nan=False),
    st.lists(st.integers(0, 9), max_size=2),
)
attributes = st.none() | st.dictionaries(st.sampled_from(["messaging.system", "rows", "größe", ""]), values)
spans = st.builds(
    lambda context, parent, name, kind, attributes, events, links, status, start, end: ReadableSpan(
        name,
        context,
        parent,
        RESOURCE,
        attributes,
        events,
        links,
        kind,
        status=status,
        start_time=start,
        end_time=end,
        instrumentation_scope=SCOPE,
    ),
    contexts,
    st.none() | contexts,
    st.sampled_from(["encode", "send main.iot.größe", ""]),
    st.sampled_from(SpanKind),
    attributes,
    st.lists(st.builds(Event, st.just("retry"), attributes, times), max_size=1),
    st.lists(st.builds(Link, contexts), max_size=1),
    st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "rejected")]),
    times,
    times,
)


@given(st.lists(spans, min_size=1, max_size=4))
def test_a_request_equals_the_one_of_opentelemetrys_encoder(spans: list[ReadableSpan]) -> None:
    assert otlp.encode_spans(spans) == trace_encoder.encode_spans(spans)


def test_exporters_of_ours_take_the_quick_encoder_and_those_of_others_do_not(
    protocol: str, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[ReadableSpan] = []
    add_plain = otlp._add_plain

    def note(span: ReadableSpan, *args: Any) -> None:
        encoded.append(span)
        add_plain(span, *args)

    monkeypatch.setattr(otlp, "_add_plain", note)
    receiver = receive(protocol)
    recorder = recorder_to(receiver)
    for _ in range(3):
        send(recorder)
    recorder.flush()

    assert len(receiver.seen.spans) == 12
    assert len(encoded) == 11  # the first of an export brings resource and scope, from the other encoder
    package = {"grpc": "grpc", "http/protobuf": "http"}[protocol]
    imported = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter")
    assert imported.encode_spans is trace_encoder.encode_spans
