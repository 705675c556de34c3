"""What a recorder writes spans and durations to: `Signals`.

There are two kinds: `LiveSignals` goes through the interfaces of OpenTelemetry, for the application's providers;
`RawSignals` (in `raw.py`) takes a shorter way to providers of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from beam_zerobus.telemetry.counts import Counts, Labels
from beam_zerobus.telemetry.instruments import DURATIONS, Instrument, make_histogram
from beam_zerobus.version import __version__

__all__ = ["SCOPE", "Attributes", "BatchSpans", "LiveSignals", "Signals"]

Attributes = Mapping[str, AttributeValue]

SCOPE = ("beam_zerobus", __version__)
"""Name and version of what writes all this."""


class BatchSpans(Protocol):
    """The span of a batch and its children. Times are nanoseconds since the epoch, failures are their descriptions."""

    context: Context

    def child(self, name: str, start: int, end: int, error_type: str | None, failure: str | None) -> None:
        """Add a child that is over."""
        ...

    def event(self, name: str, attributes: Attributes) -> None:
        """Add an event to the batch's span."""
        ...

    def end(self, attributes: Attributes, failure: str | None, end: int) -> None:
        """End the batch's span."""
        ...


class Signals(Protocol):
    """Where spans and durations go; counts are read from `Counts` instead."""

    def start(self, name: str, attributes: Attributes, start: int) -> BatchSpans:
        """Start the span of a batch, below the current one."""
        ...

    def record(self, duration: Instrument, seconds: float, labels: Labels) -> None:
        """Add to a histogram."""
        ...


class LiveSignals:
    """Spans and durations for any providers."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, counts: Counts) -> None:
        meter = meters.get_meter(*SCOPE)
        counts.observe(meter)
        self._tracer = tracers.get_tracer(*SCOPE)
        self._histograms = {duration: make_histogram(meter, duration) for duration in DURATIONS}

    def start(self, name: str, attributes: Attributes, start: int) -> BatchSpans:
        """Start a span."""
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start)
        return _LiveSpans(self._tracer, span)

    def record(self, duration: Instrument, seconds: float, labels: Labels) -> None:
        """Record."""
        self._histograms[duration].record(seconds, dict(labels))


class _LiveSpans:
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self.context = trace.set_span_in_context(span)

    def child(self, name: str, start: int, end: int, error_type: str | None, failure: str | None) -> None:
        child = self._tracer.start_span(name, context=self.context, start_time=start)
        if error_type is not None:
            child.set_attribute("error.type", error_type)
            child.set_status(Status(StatusCode.ERROR, failure))
        child.end(end)

    def event(self, name: str, attributes: Attributes) -> None:
        self._span.add_event(name, attributes)

    def end(self, attributes: Attributes, failure: str | None, end: int) -> None:
        self._span.set_attributes(attributes)
        if failure is not None:
            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end(end)
