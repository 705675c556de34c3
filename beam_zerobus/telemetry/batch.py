"""`BatchSpan`: one batch as spans, durations and counts."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from functools import partial
from types import TracebackType
from typing import Final, Literal, NamedTuple, TypeAlias

from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from beam_zerobus.errors import RowError, RowErrors
from beam_zerobus.telemetry import instruments as of
from beam_zerobus.telemetry.counts import Labels
from beam_zerobus.telemetry.guard import harmless
from beam_zerobus.telemetry.live_spans import Attributes, Failure, LiveSpan, Source
from beam_zerobus.telemetry.redaction import attributes_of, describe_error, label

__all__ = ["BatchSpan", "Target"]

_NOTHING: Final = nullcontext()
# Together below 128: beyond that OpenTelemetry drops the oldest.
_MAX_EVENTS = 100
_MAX_REJECTION_EVENTS = 20
_ROWS_REJECTED = "rows_rejected"

_StepName: TypeAlias = 'Literal["encode", "send"]'


class _Step(NamedTuple):
    """Encoding or sending of a payload; times are of `time.perf_counter_ns`."""

    name: _StepName
    start: int
    end: int
    failure: Failure | None


class Target:
    """Where a recorder and its batches write to, and under which labels.

    Attributes:
        has_news: A batch has begun or ended since the last flush.
    """

    def __init__(self, source: Source, table: str, wire_format: str, name_in_metrics: str) -> None:
        self.source = source
        self.table = table
        self.has_news = False
        self.labels: Labels = (
            ("messaging.system", "zerobus"),
            ("messaging.destination.name", name_in_metrics),
            ("beam_zerobus.wire_format", wire_format),
        )
        self.send_labels: Labels = (*self.labels, ("messaging.operation.name", "send"))
        self.attributes = {
            **dict(self.send_labels),
            "messaging.destination.name": table,
            "messaging.operation.type": "send",
        }

    def begin(self, rows: int, arrow_bytes: int, start: int) -> LiveSpan | None:
        """Begin the span of a batch; None where nothing records."""
        signals = self.source.signals
        if signals is None:
            return None
        attributes: Attributes = {
            **self.attributes,
            "messaging.batch.message_count": rows,
            "beam_zerobus.arrow_bytes": arrow_bytes,
        }
        return LiveSpan(signals, f"send {self.table}", attributes, start)

    def add(self, *changes: tuple[of.Instrument, float], more: Labels = ()) -> None:
        """Count."""
        self.source.counts.add(self.labels + more, *changes)

    def add_messages(self, rows: int, more: Labels = ()) -> None:
        """Count rows under the name that the semantic conventions give them."""
        if rows > 0:
            self.source.counts.add(self.send_labels + more, (of.SENT_MESSAGES, rows))


class BatchSpan:
    """One batch, from submission to outcome; see `Recorder.batch`.

    The submitting thread uses `encoding` and `sending`, any thread all else. Times are of `time.perf_counter_ns`, as
    the wall clock may jump; `_epoch` is what they lack to it.
    """

    __slots__ = (
        "_arrow_bytes", "_epoch", "_event_count", "_failure", "_finished", "_payloads", "_rejected_rows", "_retries",
        "_rows", "_span", "_started", "_steps", "_target", "_trouble", "_waiting_since", "_wire_bytes",
    )  # fmt: skip

    def __init__(self, target: Target, rows: int, arrow_bytes: int) -> None:
        self._target = target
        self._rows = rows
        self._arrow_bytes = arrow_bytes
        self._payloads = 0
        self._wire_bytes = 0
        self._rejected_rows = 0
        self._failure: Failure | None = None
        self._waiting_since: int | None = None
        self._event_count = 0
        self._steps: list[_Step] = []
        self._retries = 0
        self._trouble: str | None = None
        self._finished = False
        self._started = time.perf_counter_ns()
        self._epoch = time.time_ns() - self._started
        self._span = target.begin(rows, arrow_bytes, self._epoch + self._started)

    def encoding(self) -> AbstractContextManager[None]:
        """Return a context manager for the encoding of a payload."""
        return _NOTHING if self._span is None else _RunningStep(self._span, self._steps, "encode")

    def sending(self) -> AbstractContextManager[None]:
        """Return a context manager for passing a payload to the stream; see also `sent`."""
        return _NOTHING if self._span is None else _RunningStep(self._span, self._steps, "send")

    def waiting_started(self) -> None:
        """Note that the stream has all payloads; `finish` ends the waiting."""
        self._waiting_since = time.perf_counter_ns()

    @harmless
    def event(self, name: str, /, **attributes: object) -> None:
        """Add an event to the span; text that is not a short name becomes ``"other"``.

        The first 100 of a batch are kept. A batch that had a ``"retry"`` or ``"stream_lost"`` and succeeds all the same
        ends with ``"recovered"``.
        """
        if name in ("retry", "stream_lost"):
            self._retries += name == "retry"
            self._trouble = label(attributes.get("cause"))
        if self._event_count < _MAX_EVENTS:
            self._note(name, attributes_of(attributes))

    def sent(self, payloads: int, wire_bytes: int) -> None:
        """Count payloads that were sent for the first time, and their bytes."""
        if self._finished:  # an error ended the batch meanwhile, and its counts may have been added
            self._target.add((of.PAYLOADS, payloads), (of.WIRE_BYTES, wire_bytes))
            return
        self._payloads += payloads
        self._wire_bytes += wire_bytes

    @harmless
    def rejected(self, errors: Sequence[RowError]) -> None:
        """Count rejected rows by type and stage."""
        self._rejected_rows += len(errors)
        kinds: Counter[tuple[str, str]] = Counter()
        for error, count in RowErrors.of(errors).summed():
            kinds[label(error.error_type), label(error.stage)] += count
        for position, ((error_type, stage), count) in enumerate(kinds.most_common()):
            error_label: Labels = (("error.type", error_type),)
            self._target.add((of.REJECTED_ROWS, count), more=(*error_label, ("beam_zerobus.stage", stage)))
            self._target.add_messages(count, error_label)
            if position < _MAX_REJECTION_EVENTS:
                self._note(
                    _ROWS_REJECTED,
                    {"error.type": error_type, "beam_zerobus.stage": stage, "beam_zerobus.rows": count},
                )

    @harmless
    def finish(self, acknowledged_rows: int, error: BaseException | None = None) -> None:
        """End the span, once; nothing after `discard`.

        Args:
            acknowledged_rows: Rows that are durable; where the error knows of more, its number counts.
            error: What concerned the whole batch; None where each row was acknowledged or rejected.
        """
        if self._finished:
            return
        if error is not None:
            acknowledged_rows = max(acknowledged_rows, getattr(error, "acknowledged_rows", 0))
            self._note("exception", _exception_attributes(error))
            self._failure = _failure(error)
        elif self._trouble is not None:
            self._note("recovered", {"beam_zerobus.cause": self._trouble, "beam_zerobus.retries": self._retries})
        if error is None and self._rejected_rows and not acknowledged_rows:
            self._failure = Failure(_ROWS_REJECTED, _ROWS_REJECTED)
        ended = time.perf_counter_ns()
        self._finished = True
        self._target.has_news = True
        self._count(acknowledged_rows)
        if self._span is not None:
            self._span.signals.end_later(partial(self._end, self._span, acknowledged_rows, ended))

    def discard(self) -> None:
        """Report nothing of a batch that becomes another one."""
        self._finished = True

    def _note(self, name: str, attributes: Attributes) -> None:
        if self._span is not None and not self._finished:
            self._event_count += 1
            self._span.event(name, attributes, self._epoch + time.perf_counter_ns())

    @property
    def _outcome(self) -> str:
        return "failed" if self._failure is not None else "partial" if self._rejected_rows else "acknowledged"

    def _count(self, acknowledged_rows: int) -> None:
        target = self._target
        target.add(
            (of.ROWS, self._rows),
            (of.ARROW_BYTES, self._arrow_bytes),
            (of.PAYLOADS, self._payloads),
            (of.WIRE_BYTES, self._wire_bytes),
        )
        target.add((of.BATCHES, 1), more=(("beam_zerobus.outcome", self._outcome),))
        target.add_messages(acknowledged_rows)
        if self._failure is not None:
            lost = self._rows - self._rejected_rows - acknowledged_rows
            target.add_messages(lost, (("error.type", self._failure.error_type),))

    @harmless
    def _end(self, span: LiveSpan, acknowledged_rows: int, ended: int) -> None:
        epoch = self._epoch
        for step in _merge_encoding(self._steps):
            span.child(step.name, epoch + step.start, epoch + step.end, step.failure)
        if self._waiting_since is not None:
            span.child("wait", epoch + self._waiting_since, epoch + ended, None)
        attributes: dict[str, AttributeValue] = {
            "beam_zerobus.outcome": self._outcome,
            "beam_zerobus.acknowledged_rows": acknowledged_rows,
            "beam_zerobus.rejected_rows": self._rejected_rows,
            "beam_zerobus.payloads": self._payloads,
            "beam_zerobus.wire_bytes": self._wire_bytes,
        }
        if self._failure is not None:
            attributes["error.type"] = self._failure.error_type
        span.end(attributes, epoch + ended, self._failure)
        self._record_durations(span, ended)

    def _record_durations(self, span: LiveSpan, ended: int) -> None:
        labels = self._target.send_labels
        encoding = sum([step.end - step.start for step in self._steps if step.name == "encode"])
        span.record(of.ENCODE_DURATION, encoding / 1e9, labels)
        if self._waiting_since is not None and (self._failure is None or self._failure.error_type == _ROWS_REJECTED):
            span.record(of.ACK_LATENCY, (ended - self._waiting_since) / 1e9, labels)
        if self._failure is not None:
            labels = (*labels, ("error.type", self._failure.error_type))
        span.record(of.OPERATION_DURATION, (ended - self._started) / 1e9, labels)


class _RunningStep:
    """A step of a batch while it runs: the batch's span is current in the thread, so that log lines carry its ids."""

    __slots__ = ("_name", "_span", "_start", "_steps", "_token")

    _token: Token[Context]
    _start: int

    def __init__(self, span: LiveSpan, steps: list[_Step], name: _StepName) -> None:
        self._span = span
        self._steps = steps
        self._name = name

    def __enter__(self) -> None:
        self._token = self._span.enter()
        self._start = time.perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        end = time.perf_counter_ns()
        self._span.leave(self._token)
        self._steps.append(_Step(self._name, self._start, end, None if error is None else _failure(error)))


def _merge_encoding(steps: Sequence[_Step]) -> Iterator[_Step]:
    """Yield the steps that become spans.

    Encoding in several pieces without a call in between is one span. Encoding after the last call only found that
    nothing was left, and is not a span.
    """
    encoding: _Step | None = None
    has_encode_span = False
    for step in steps:
        if step.name == "encode":
            encoding = step if encoding is None else step._replace(start=encoding.start)
        if encoding is not None and (step.name != "encode" or step.failure is not None):
            yield encoding
            encoding, has_encode_span = None, True
        if step.name != "encode":
            yield step
    if encoding is not None and not has_encode_span:
        yield encoding


def _failure(error: BaseException) -> Failure:
    return Failure(type(error).__name__, describe_error(error))


def _exception_attributes(error: BaseException) -> Attributes:
    """Describe an exception as OpenTelemetry does, without the messages that Python prints in a traceback."""
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
