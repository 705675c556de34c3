"""The span of a batch, as the application's own providers see it."""

from __future__ import annotations

from functools import partial

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from beam_zerobus.logs import get_logger
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.live_spans import Failure, LiveSpan, Signals


class Sampled:
    """Real providers that keep every span."""

    def __init__(self, *, bulk: int = 1) -> None:
        self.exported = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exported))
        self.signals = Signals(self.provider, MeterProvider(), Counts(), bulk=bulk)

    def begin(self) -> LiveSpan:
        return LiveSpan(self.signals, "send a.b.c", {"rows": 1}, 1_000)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.exported.get_finished_spans()]


@pytest.fixture
def sampled() -> Sampled:
    return Sampled()


def test_a_span_has_the_time_and_the_parent_of_its_batch_whenever_it_is_started(sampled: Sampled) -> None:
    with sampled.provider.get_tracer("app").start_as_current_span("request") as request:
        span = sampled.begin()
    span.child("encode", 1_100, 1_200, None)
    span.end({"outcome": "acknowledged"}, 1_300, None)
    _, child, parent = sampled.exported.get_finished_spans()
    assert (parent.start_time, parent.end_time, parent.parent) == (1_000, 1_300, request.get_span_context())
    assert parent.attributes == {"rows": 1, "outcome": "acknowledged"}
    assert (child.start_time, child.end_time, child.parent) == (1_100, 1_200, parent.context)


def test_the_current_span_has_the_ids_of_the_batch(sampled: Sampled) -> None:
    span = sampled.begin()
    token = span.enter()
    seen = trace.get_current_span().get_span_context()
    with sampled.provider.get_tracer("app").start_as_current_span("fetch a token"):
        pass
    span.leave(token)
    span.end({}, 1_300, None)
    below, parent = sampled.exported.get_finished_spans()
    assert seen == below.parent == parent.context
    assert trace.get_current_span().get_span_context() == INVALID_SPAN_CONTEXT


def test_a_tracer_that_raises_does_no_harm_to_code_that_asks_for_ids(sampled: Sampled) -> None:
    def fail(*_: object, **__: object) -> None:
        get_logger("beam_zerobus.some_module").warning("broken")  # which asks for the ids, too
        raise RuntimeError("broken")

    sampled.signals.tracer.start_span = fail  # type: ignore[method-assign,assignment]
    span = sampled.begin()
    token = span.enter()
    assert trace.get_current_span().get_span_context() == INVALID_SPAN_CONTEXT
    span.leave(token)


def test_a_failure_marks_the_span_and_its_child(sampled: Sampled) -> None:
    span = sampled.begin()
    span.child("encode", 1_100, 1_200, Failure("TypeError", "described"))
    span.end({}, 1_300, Failure("TypeError", "described"))
    child, parent = sampled.exported.get_finished_spans()
    assert child.attributes == {"error.type": "TypeError"}
    assert {span.status.description for span in (child, parent)} == {"described"}
    assert not any(span.status.is_ok for span in (child, parent))


def test_spans_of_several_batches_are_ended_together() -> None:
    sampled = Sampled(bulk=3)
    for number in range(4):
        sampled.signals.end_later(partial(sampled.begin().end, {}, 1_300, None))
        assert len(sampled.names) == (3 if number >= 2 else 0)
    sampled.signals.end_all()
    sampled.signals.end_all()
    assert sampled.names == ["send a.b.c"] * 4
