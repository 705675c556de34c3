"""Where what is told of batches goes: a `Source` gives each of them a `Trace`.

There are two kinds: `LiveSignals` goes through the interfaces of OpenTelemetry, for the application's providers;
`RawSignals` (in `raw.py`) takes a shorter way to providers of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.util.types import AttributeValue

from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.instruments import DURATIONS, make_histogram
from beam_zerobus.version import __version__

if TYPE_CHECKING:
    from beam_zerobus.telemetry.batch import BatchSpan, Child

__all__ = ["SCOPE", "Attributes", "LiveSignals", "Source", "Trace"]

Attributes = Mapping[str, AttributeValue]

SCOPE = ("beam_zerobus", __version__)
"""Name and version of what writes all this."""


class Trace(Protocol):
    """The spans and durations of a batch under way."""

    def enter(self) -> Any:
        """Make the batch's span the current one of this thread; return what `leave` takes."""
        ...

    def leave(self, token: Any) -> None:
        """Make the span current again that was."""
        ...

    def end(self, batch: BatchSpan) -> None:
        """Take a batch that has ended."""
        ...


class Source(Protocol):
    """Where the recorders of a process write to."""

    @property
    def counts(self) -> Counts:
        """The sums and levels."""
        ...

    def begin(self, batch: BatchSpan) -> Trace | None:
        """Take a batch that begins, below the caller's current span if there is one; None where nothing records."""
        ...

    def flush(self, timeout: float | None) -> None:
        """Export, waiting at most `timeout` seconds."""
        ...


class LiveSignals:
    """Spans and durations for any providers."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, counts: Counts) -> None:
        meter = meters.get_meter(*SCOPE)
        counts.observe(meter)
        self.tracer = tracers.get_tracer(*SCOPE)
        self.histograms = {duration: make_histogram(meter, duration) for duration in DURATIONS}

    def begin(self, batch: BatchSpan) -> Trace:
        """Start the span of a batch."""
        span = self.tracer.start_span(
            f"send {batch.target.table}",
            kind=SpanKind.CLIENT,
            attributes=batch.first_attributes(),
            start_time=batch.epoch + batch.started,
        )
        return _LiveTrace(self, span)


class _LiveTrace:
    """The span of a batch; its children and events are added when it ends, with the times that were noted."""

    def __init__(self, signals: LiveSignals, span: Span) -> None:
        self._signals = signals
        self._span = span
        self._context = trace.set_span_in_context(span)

    def enter(self) -> Any:
        return otel_context.attach(self._context)

    def leave(self, token: Any) -> None:
        otel_context.detach(token)

    def end(self, batch: BatchSpan) -> None:
        for child in batch.children():
            self._add(child, batch.epoch)
        for event in batch.events:
            self._span.add_event(event.name, event.attributes, batch.epoch + event.at)
        self._span.set_attributes(batch.last_attributes())
        if batch.failure is not None:
            self._span.set_status(Status(StatusCode.ERROR, batch.failure.description))
        self._span.end(batch.epoch + batch.ended)
        for duration, seconds, labels in batch.durations():
            self._signals.histograms[duration].record(seconds, dict(labels))

    def _add(self, child: Child, epoch: int) -> None:
        span = self._signals.tracer.start_span(child.name, context=self._context, start_time=epoch + child.start)
        if child.failure is not None:
            span.set_attribute("error.type", child.failure.error_type)
            span.set_status(Status(StatusCode.ERROR, child.failure.description))
        span.end(epoch + child.end)
