"""The spans of one batch: ``send {table}``, and below it ``encode``, ``send`` and ``wait``."""

from __future__ import annotations

import time
import traceback
from types import TracebackType
from typing import Literal, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from beam_zerobus.telemetry.counts import Labels
from beam_zerobus.telemetry.harmless import harmless
from beam_zerobus.telemetry.instruments import ACK_LATENCY, ENCODE_DURATION, OPERATION_DURATION
from beam_zerobus.telemetry.signals import Attributes, Signals
from beam_zerobus.telemetry.wording import describe_error

__all__ = ["BatchTrace"]

Step: TypeAlias = 'Literal["encode", "send", "wait"]'


class BatchTrace:
    """Spans and durations of one batch.

    Children are created when they are over, with the times that were noted: what is never finished leaves nothing
    behind, and encoding that went on in several pieces without a call in between is one span. While a step runs, the
    batch's span is the current one of its thread, so that log lines carry its ids.

    Steps run in the thread that hands the batch over, one after the other. `event` and `end` come from any thread;
    the spans themselves are thread-safe.
    """

    def __init__(self, signals: Signals, table: str, attributes: Attributes) -> None:
        self._signals = signals
        # Wall-clock time may jump; spans are measured on the monotonic clock and placed by one look at the other.
        self._epoch = time.time_ns() - time.perf_counter_ns()
        self._started = time.perf_counter_ns()
        self._spans = signals.start(f"send {table}", attributes, self._epoch + self._started)
        self.context: Context = self._spans.context
        self._encoding: tuple[int, int] | None = None  # the encoding that no span tells of yet
        self._encoded_ns = 0
        self._has_encode_span = False
        self._waiting_since: int | None = None
        self._ended = False

    def step(self, name: Step) -> _RunningStep:
        """Return a context manager around encoding one payload, or handing it over."""
        return _RunningStep(self, name)

    @harmless
    def step_done(self, name: Step, start: int, end: int, error: BaseException | None) -> None:
        """Note that a step is over; times are of `time.perf_counter_ns`."""
        if name == "encode":
            self._encoded_ns += end - start
            self._encoding = (self._encoding[0] if self._encoding else start, end)
            if error is not None:
                self._add_encode_span(error)
            return
        self._add_encode_span()
        self._add_child(name, start, end, error)

    def wait(self) -> None:
        """Note that only acknowledgements are missing now."""
        self._waiting_since = time.perf_counter_ns()

    def event(self, name: str, attributes: Attributes) -> None:
        """Add an event to the batch's span."""
        if not self._ended:
            self._spans.event(name, attributes)

    def end(
        self, *, attributes: Attributes, labels: Labels, error_type: str | None, error: BaseException | None
    ) -> None:
        """End the batch's span and record its durations, the first time.

        Args:
            attributes: Added to the span.
            labels: Attributes of the durations.
            error_type: Marks the span and its duration as failed.
            error: What to tell of as an exception.
        """
        if self._ended:
            return
        self._ended = True
        now = time.perf_counter_ns()
        if not self._has_encode_span:
            self._add_encode_span()  # later ones without a call after them only found that nothing is left
        record = self._signals.record
        if self._waiting_since is not None:
            self._add_child("wait", self._waiting_since, now)
            if error is None:
                record(ACK_LATENCY, (now - self._waiting_since) / 1e9, labels)
        record(ENCODE_DURATION, self._encoded_ns / 1e9, labels)
        took = (now - self._started) / 1e9
        if error_type is None:
            record(OPERATION_DURATION, took, labels)
            self._spans.end(attributes, None, self._epoch + now)
            return
        record(OPERATION_DURATION, took, (*labels, ("error.type", error_type)))
        if error is not None:
            self._spans.event("exception", _exception_attributes(error))
        failure = describe_error(error) if error is not None else error_type
        self._spans.end({**attributes, "error.type": error_type}, failure, self._epoch + now)

    def _add_encode_span(self, error: BaseException | None = None) -> None:
        if self._encoding is not None:
            self._add_child("encode", *self._encoding, error)
            self._encoding = None
            self._has_encode_span = True

    def _add_child(self, name: Step, start: int, end: int, error: BaseException | None = None) -> None:
        error_type, failure = (None, None) if error is None else (type(error).__name__, describe_error(error))
        self._spans.child(name, self._epoch + start, self._epoch + end, error_type, failure)


class _RunningStep:
    """A step of a `BatchTrace` while it runs."""

    __slots__ = ("_name", "_start", "_token", "_trace")

    def __init__(self, trace_: BatchTrace, name: Step) -> None:
        self._trace = trace_
        self._name = name

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._trace.context)
        self._start = time.perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        end = time.perf_counter_ns()
        otel_context.detach(self._token)
        self._trace.step_done(self._name, self._start, end, error)


def _exception_attributes(error: BaseException) -> dict[str, AttributeValue]:
    """Describe an exception as OpenTelemetry does, less the messages of others that Python prints in a traceback."""
    kind = type(error)
    attributes: dict[str, AttributeValue] = {
        "exception.type": kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}",
        "exception.message": describe_error(error),
    }
    if frames := traceback.format_tb(error.__traceback__):
        attributes["exception.stacktrace"] = "".join(frames)
    return attributes
