"""Spans and durations of batches, through OpenTelemetry's interfaces, for the application's providers and for ours."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Final, NamedTuple, Protocol, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)
from opentelemetry.util.types import AttributeValue

from beam_zerobus.telemetry.counts import Counts, Labels
from beam_zerobus.telemetry.instruments import DURATIONS, Instrument, make_histogram
from beam_zerobus.version import __version__

__all__ = ["Attributes", "Failure", "LiveSpan", "Signals", "Source"]

Attributes: TypeAlias = "Mapping[str, AttributeValue]"

_SCOPE: Final = ("beam_zerobus", __version__)


class Failure(NamedTuple):
    """An error, described without secrets or values of rows."""

    error_type: str
    description: str


class Source(Protocol):
    """Where the recorders of a process write to."""

    @property
    def counts(self) -> Counts:
        """The sums and levels."""
        ...

    @property
    def signals(self) -> Signals | None:
        """The spans and durations; None where nothing records."""
        ...

    def flush(self, timeout: float | None) -> None:
        """Export, and wait at most `timeout` seconds."""
        ...


class Signals:
    """The tracer and the histograms of a pair of providers, which also read the counts.

    Args:
        tracers: Gives the tracer.
        meters: Gives the meter.
        counts: What the meter reads.
        bulk: Batches whose spans are ended together. Between two batches the processor's caches hold the batches, and
            the same work costs twice as much.
    """

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, counts: Counts, *, bulk: int = 1) -> None:
        meter = meters.get_meter(*_SCOPE)
        counts.observe(meter)
        self.tracer = tracers.get_tracer(*_SCOPE)
        self.histograms = {duration: make_histogram(meter, duration) for duration in DURATIONS}
        self._bulk = bulk
        self._waiting: deque[Callable[[], None]] = deque()
        self._ending = threading.Lock()

    def end_later(self, end: Callable[[], None]) -> None:
        """Call `end` together with that of other batches; it must not raise."""
        if self._bulk == 1:
            end()
            return
        self._waiting.append(end)
        if len(self._waiting) >= self._bulk:
            self.end_all()

    def end_all(self) -> None:
        """End every span that waits for it."""
        with self._ending:
            for _ in range(len(self._waiting)):
                self._waiting.popleft()()


class LiveSpan:
    """The span of a batch; times are nanoseconds since 1970.

    Most batches need the span only when they end. It is started when it is first needed, with the time at which the
    batch began, below the span that was current then.
    """

    __slots__ = ("_attributes", "_caller", "_name", "_start", "_started", "signals")

    def __init__(self, signals: Signals, name: str, attributes: Attributes, start: int) -> None:
        self.signals = signals
        self._name = name
        self._attributes = attributes
        self._start = start
        self._caller = otel_context.get_current()
        self._started: list[Span] = []

    @property
    def span(self) -> Span:
        """The span; started by the first call."""
        if not self._started:
            self._started.append(
                self.signals.tracer.start_span(
                    self._name, self._caller, SpanKind.CLIENT, self._attributes, start_time=self._start
                )
            )
        return self._started[0]  # of two threads that start one, the second's is never ended, and so not exported

    def enter(self) -> Token[Context]:
        """Make this the current span of the thread; return what `leave` needs."""
        return otel_context.attach(trace.set_span_in_context(_Current(self), self._caller))

    def leave(self, token: Token[Context]) -> None:
        """Restore the span that was current before `enter`."""
        otel_context.detach(token)

    def event(self, name: str, attributes: Attributes, at: int) -> None:
        """Add an event."""
        self.span.add_event(name, attributes, at)

    def child(self, name: str, start: int, end: int, failure: Failure | None) -> None:
        """Add a span below this one."""
        if not self.span.is_recording():
            return
        below = trace.set_span_in_context(self.span, self._caller)
        span = self.signals.tracer.start_span(name, below, start_time=start)
        if failure is not None:
            span.set_attribute("error.type", failure.error_type)
            span.set_status(Status(StatusCode.ERROR, failure.description))
        span.end(end)

    def end(self, attributes: Attributes, end: int, failure: Failure | None) -> None:
        """End the span."""
        self.span.set_attributes(attributes)
        if failure is not None:
            self.span.set_status(Status(StatusCode.ERROR, failure.description))
        self.span.end(end)

    def record(self, duration: Instrument, seconds: float, labels: Labels) -> None:
        """Record a duration in its histogram."""
        self.signals.histograms[duration].record(seconds, dict(labels))


class _Current(NonRecordingSpan):
    """The current span of a thread that encodes or sends; starts the real one when code asks for its ids."""

    def __init__(self, live: LiveSpan) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._live = live
        self._is_starting = False

    def get_span_context(self) -> SpanContext:
        if self._is_starting:  # a sampler or processor that logs asks again
            return INVALID_SPAN_CONTEXT
        self._is_starting = True
        try:
            return self._live.span.get_span_context()
        except Exception:  # noqa: BLE001  the application may bring its own provider; the end of the batch reports the failure
            return INVALID_SPAN_CONTEXT
        finally:
            self._is_starting = False
