"""The short way to providers of our own: a batch that has ended is handed to the exporting thread, which does the rest.

OpenTelemetry's own spans and histograms cost the sender some 200 microseconds a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Token

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from beam_zerobus.logs import SpanOfThread, span_of_thread
from beam_zerobus.telemetry.batch import BatchSpan, Child, Failure
from beam_zerobus.telemetry.durations import Durations
from beam_zerobus.telemetry.live_spans import SCOPE

__all__ = ["RawSignals", "RawTrace"]

_FINE = Status()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope(*SCOPE)


class RawSignals:
    """Spans and durations for a pipeline of ours.

    Args:
        tracers: Says which spans are sampled, how they are numbered, and what process they are of.
        durations: Takes the durations.
        take: Takes the batches that have ended.
    """

    def __init__(self, tracers: TracerProvider, durations: Durations, take: Callable[[RawTrace], None]) -> None:
        self.tracers = tracers
        self.durations = durations
        self.take = take
        self.lock = threading.Lock()

    def begin(self, batch: BatchSpan) -> RawTrace:
        """Start the span of a batch."""
        return RawTrace(self, batch)


class RawTrace:
    """A batch with what its spans need beyond; they are made when they are first exported.

    Invariant, under the signals' lock, as several destinations may export at once: ids and spans are made once.
    """

    __slots__ = ("_batch", "_caller", "_own", "_signals", "_spans")

    def __init__(self, signals: RawSignals, batch: BatchSpan) -> None:
        self._signals = signals
        self._batch = batch
        self._caller: Context = otel_context.get_current()
        self._own: SpanContext | None = None
        self._spans: list[ReadableSpan] | None = None

    def enter(self) -> Token[SpanOfThread]:
        """Let log lines of this thread carry the span's ids."""
        return span_of_thread.set(self.ids)

    def leave(self, token: Token[SpanOfThread]) -> None:
        """End that."""
        span_of_thread.reset(token)

    def end(self, batch: BatchSpan) -> None:  # noqa: ARG002  it is the one that began
        """Hand everything over."""
        self._signals.take(self)

    def ids(self) -> SpanContext:
        """Return the ids of the batch's span."""
        with self._signals.lock:
            if self._own is None:
                parent = self._parent()
                numbers = self._signals.tracers.id_generator
                trace_id = numbers.generate_trace_id() if parent is None else parent.trace_id
                self._own = SpanContext(trace_id, numbers.generate_span_id(), is_remote=False)
            return self._own

    def spans(self) -> list[ReadableSpan]:
        """Return the spans as exporters want them; none where the sampler wants none."""
        own = self.ids()
        with self._signals.lock:
            if self._spans is None:
                self._spans = self._make_spans(own)
            return self._spans

    def record(self) -> None:
        """Record the durations."""
        for duration, seconds, labels in self._batch.durations():
            self._signals.durations.record(duration, seconds, labels)

    def _parent(self) -> SpanContext | None:
        parent = trace.get_current_span(self._caller).get_span_context()
        return parent if parent.is_valid else None

    def _make_spans(self, own: SpanContext) -> list[ReadableSpan]:
        batch, parent, sampler = self._batch, self._parent(), self._signals.tracers.sampler
        name, attributes, trace_state = f"send {batch.target.table}", batch.first_attributes(), None
        if parent is not None or sampler is not DEFAULT_ON:  # else the answer is known
            sampling = sampler.should_sample(self._caller, own.trace_id, name, SpanKind.CLIENT, attributes)
            if not sampling.decision.is_sampled():
                return []
            trace_state = sampling.trace_state
            attributes.update(sampling.attributes or {})
        own = SpanContext(own.trace_id, own.span_id, False, _SAMPLED, trace_state)
        attributes.update(batch.last_attributes())
        spans = [self._child(child, own) for child in batch.children()]
        spans.append(
            ReadableSpan(
                name,
                own,
                parent,
                self._signals.tracers.resource,
                attributes,
                [Event(event.name, event.attributes, batch.epoch + event.at) for event in batch.events],
                kind=SpanKind.CLIENT,
                status=_status(batch.failure),
                start_time=batch.epoch + batch.started,
                end_time=batch.epoch + batch.ended,
                instrumentation_scope=_SCOPE,
            )
        )
        return spans

    def _child(self, child: Child, parent: SpanContext) -> ReadableSpan:
        tracers, epoch = self._signals.tracers, self._batch.epoch
        own = SpanContext(
            parent.trace_id, tracers.id_generator.generate_span_id(), False, parent.trace_flags, parent.trace_state
        )
        return ReadableSpan(
            child.name,
            own,
            parent,
            tracers.resource,
            None if child.failure is None else {"error.type": child.failure.error_type},
            status=_status(child.failure),
            start_time=epoch + child.start,
            end_time=epoch + child.end,
            instrumentation_scope=_SCOPE,
        )


def _status(failure: Failure | None) -> Status:
    return _FINE if failure is None else Status(StatusCode.ERROR, failure.description)
