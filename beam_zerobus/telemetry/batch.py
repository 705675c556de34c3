"""`BatchSpan`: the facts of one batch on its way.

Who sends only notes them, for every call more costs the data: between two batches the processor's caches hold rows, and
a microsecond of Python becomes ten. What is told of the facts is made when the batch has ended.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final, Literal, NamedTuple, TypeAlias

from opentelemetry.util.types import AttributeValue

from beam_zerobus.errors import RowError
from beam_zerobus.telemetry import instruments as of
from beam_zerobus.telemetry.counts import Labels
from beam_zerobus.telemetry.guard import harmless
from beam_zerobus.telemetry.live_spans import Attributes, Source, Trace
from beam_zerobus.telemetry.redaction import attributes_of, describe_error, label

__all__ = ["BatchSpan", "Child", "Event", "Failure", "Target"]

_NOTHING: Final = nullcontext()
# Together below 128, from where on OpenTelemetry drops the oldest.
_MAX_EVENTS = 100
_MAX_REJECTION_EVENTS = 20
_ROWS_REJECTED = "rows_rejected"

Step: TypeAlias = 'Literal["encode", "send", "wait"]'


class Failure(NamedTuple):
    """An error, in words that are fit for others to read."""

    error_type: str
    description: str


class Child(NamedTuple):
    """A span below the batch's; times are of `time.perf_counter_ns`."""

    name: Step
    start: int
    end: int
    failure: Failure | None


class Event(NamedTuple):
    """An event of the batch's span; `at` is of `time.perf_counter_ns`."""

    name: str
    attributes: Attributes
    at: int


class Target:
    """Where a recorder and its batches write to, and under which labels.

    Attributes:
        has_news: A batch has begun or ended since the last flush.
    """

    def __init__(self, source: Source, table: str, wire_format: str) -> None:
        self.source = source
        self.table = table
        self.has_news = False
        self.labels: Labels = (
            ("messaging.system", "zerobus"),
            ("messaging.destination.name", table),
            ("beam_zerobus.wire_format", wire_format),
        )
        self.send_labels: Labels = (*self.labels, ("messaging.operation.name", "send"))
        self.attributes = {**dict(self.send_labels), "messaging.operation.type": "send"}

    def add(self, *changes: tuple[of.Instrument, float], more: Labels = ()) -> None:
        """Count."""
        self.source.counts.add(self.labels + more, *changes)

    def add_messages(self, rows: int, more: Labels = ()) -> None:
        """Count rows in the terms of the semantic conventions."""
        if rows > 0:
            self.source.counts.add(self.send_labels + more, (of.SENT_MESSAGES, rows))


class BatchSpan:
    """One batch, from hand-over to outcome; see `Recorder.batch`.

    `encoding` and `sending` are used by the thread that hands the batch over, all else from any thread. Times are of
    `time.perf_counter_ns`, as wall-clock time may jump; `epoch` is what they lack to it.
    """

    __slots__ = (
        "_finished", "_retries", "_trace", "_trouble", "acknowledged_rows", "arrow_bytes", "ended", "epoch", "events",
        "failure", "payloads", "rejected_rows", "rows", "started", "steps", "target", "waiting_since", "wire_bytes",
    )  # fmt: skip

    def __init__(self, target: Target, rows: int, arrow_bytes: int) -> None:
        self.target = target
        self.rows = rows
        self.arrow_bytes = arrow_bytes
        self.payloads = 0
        self.wire_bytes = 0
        self.rejected_rows = 0
        self.acknowledged_rows = 0
        self.failure: Failure | None = None
        self.waiting_since: int | None = None
        self.events: list[Event] = []
        self.steps: list[Child] = []
        self._retries = 0
        self._trouble: str | None = None
        self._finished = False
        self.started = self.ended = time.perf_counter_ns()
        self.epoch = time.time_ns() - self.started
        self._trace = target.source.begin(self)

    def encoding(self) -> AbstractContextManager[None]:
        """Return a context manager for the encoding of a payload."""
        return _NOTHING if self._trace is None else _RunningStep(self._trace, self.steps, "encode")

    def sending(self) -> AbstractContextManager[None]:
        """Return a context manager for the hand-over of a payload; see also `sent`."""
        return _NOTHING if self._trace is None else _RunningStep(self._trace, self.steps, "send")

    def waiting_started(self) -> None:
        """Note that all payloads are handed over; `finish` ends the waiting."""
        self.waiting_since = time.perf_counter_ns()

    @harmless
    def event(self, name: str, /, **attributes: object) -> None:
        """Add an event to the span; text that is no short name becomes ``"other"``.

        The first 100 of a batch are kept. A batch that met ``"retry"`` or ``"stream_lost"`` and succeeds all the same
        ends with ``"recovered"``.
        """
        if name in ("retry", "stream_lost"):
            self._retries += name == "retry"
            self._trouble = label(attributes.get("cause"))
        if len(self.events) < _MAX_EVENTS:
            self._note(name, attributes_of(attributes))

    def sent(self, payloads: int, wire_bytes: int) -> None:
        """Count payloads that were handed over for the first time, and their bytes."""
        if self._finished:  # by an error, while they were handed over: they may be counted by now
            self.target.add((of.PAYLOADS, payloads), (of.WIRE_BYTES, wire_bytes))
            return
        self.payloads += payloads
        self.wire_bytes += wire_bytes

    @harmless
    def rejected(self, errors: Sequence[RowError]) -> None:
        """Count rejected rows by type and stage."""
        self.rejected_rows += len(errors)
        kinds = Counter((label(error.error_type), label(error.stage)) for error in errors)
        for position, ((error_type, stage), count) in enumerate(kinds.most_common()):
            error_label: Labels = (("error.type", error_type),)
            self.target.add((of.REJECTED_ROWS, count), more=(*error_label, ("beam_zerobus.stage", stage)))
            self.target.add_messages(count, error_label)
            if position < _MAX_REJECTION_EVENTS:
                self._note(
                    _ROWS_REJECTED,
                    {"error.type": error_type, "beam_zerobus.stage": stage, "beam_zerobus.rows": count},
                )

    @harmless
    def finish(self, acknowledged_rows: int, error: BaseException | None = None) -> None:
        """End the span, once: `error` is what concerned the whole batch.

        Args:
            acknowledged_rows: Rows that are durable; an error that knows of more is believed.
            error: None where each row was acknowledged or rejected.
        """
        if self._finished:
            return
        self.acknowledged_rows = acknowledged_rows
        if error is not None:
            self.acknowledged_rows = max(acknowledged_rows, getattr(error, "acknowledged_rows", 0))
            self._note("exception", _exception_attributes(error))
            self.failure = _failure(error)
        elif self._trouble is not None:
            self._note("recovered", {"beam_zerobus.cause": self._trouble, "beam_zerobus.retries": self._retries})
        if error is None and self.rejected_rows and not acknowledged_rows:
            self.failure = Failure(_ROWS_REJECTED, _ROWS_REJECTED)
        self.ended = time.perf_counter_ns()
        self._finished = True
        self.target.has_news = True
        self.target.source.counts.postpone(self._count)
        if self._trace is not None:
            self._trace.end(self)

    def _note(self, name: str, attributes: Attributes) -> None:
        if not self._finished:
            self.events.append(Event(name, attributes, time.perf_counter_ns()))

    # What is told of a batch that has ended.

    @property
    def outcome(self) -> str:
        """``"acknowledged"``, ``"partial"`` or ``"failed"``."""
        return "failed" if self.failure is not None else "partial" if self.rejected_rows else "acknowledged"

    def first_attributes(self) -> dict[str, AttributeValue]:
        """Return the attributes with which the span starts."""
        return {
            **self.target.attributes,
            "messaging.batch.message_count": self.rows,
            "beam_zerobus.arrow_bytes": self.arrow_bytes,
        }

    def last_attributes(self) -> dict[str, AttributeValue]:
        """Return the attributes with which the span ends."""
        attributes: dict[str, AttributeValue] = {
            "beam_zerobus.outcome": self.outcome,
            "beam_zerobus.acknowledged_rows": self.acknowledged_rows,
            "beam_zerobus.rejected_rows": self.rejected_rows,
            "beam_zerobus.payloads": self.payloads,
            "beam_zerobus.wire_bytes": self.wire_bytes,
        }
        if self.failure is not None:
            attributes["error.type"] = self.failure.error_type
        return attributes

    def children(self) -> Iterator[Child]:
        """Yield the spans below the batch's.

        Encoding that went on in several pieces without a call in between is one span; and where there are calls, what
        follows on the last of them only found that nothing is left.
        """
        encoding: Child | None = None
        has_encode_span = False
        for step in self.steps:
            if step.name == "encode":
                encoding = step if encoding is None else step._replace(start=encoding.start)
            if encoding is not None and (step.name != "encode" or step.failure is not None):
                yield encoding
                encoding, has_encode_span = None, True
            if step.name != "encode":
                yield step
        if encoding is not None and not has_encode_span:
            yield encoding
        if self.waiting_since is not None:
            yield Child("wait", self.waiting_since, self.ended, None)

    def durations(self) -> Iterator[tuple[of.Instrument, float, Labels]]:
        """Yield what goes into histograms: the duration, its seconds, and its labels."""
        labels = self.target.send_labels
        yield of.ENCODE_DURATION, sum([s.end - s.start for s in self.steps if s.name == "encode"]) / 1e9, labels
        if self.waiting_since is not None and (self.failure is None or self.failure.error_type == _ROWS_REJECTED):
            yield of.ACK_LATENCY, (self.ended - self.waiting_since) / 1e9, labels
        if self.failure is not None:
            labels = (*labels, ("error.type", self.failure.error_type))
        yield of.OPERATION_DURATION, (self.ended - self.started) / 1e9, labels

    def _count(self) -> None:
        """Count it."""
        target = self.target
        target.add(
            (of.ROWS, self.rows),
            (of.ARROW_BYTES, self.arrow_bytes),
            (of.PAYLOADS, self.payloads),
            (of.WIRE_BYTES, self.wire_bytes),
        )
        target.add((of.BATCHES, 1), more=(("beam_zerobus.outcome", self.outcome),))
        target.add_messages(self.acknowledged_rows)
        if self.failure is not None:
            lost = self.rows - self.rejected_rows - self.acknowledged_rows
            target.add_messages(lost, (("error.type", self.failure.error_type),))


class _RunningStep:
    """A step of a batch while it runs: its span is the current one of the thread, so that log lines carry its ids."""

    __slots__ = ("_name", "_start", "_steps", "_token", "_trace")

    def __init__(self, trace: Trace, steps: list[Child], name: Step) -> None:
        self._trace = trace
        self._steps = steps
        self._name = name

    def __enter__(self) -> None:
        self._token = self._trace.enter()
        self._start = time.perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        end = time.perf_counter_ns()
        self._trace.leave(self._token)
        self._steps.append(Child(self._name, self._start, end, None if error is None else _failure(error)))


def _failure(error: BaseException) -> Failure:
    return Failure(type(error).__name__, describe_error(error))


def _exception_attributes(error: BaseException) -> Attributes:
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
