"""`Recorder` and `BatchSpan`: what the writer tells of itself. Nothing here raises or waits, unless asked to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from beam_zerobus.errors import RowError
from beam_zerobus.telemetry import instruments as of
from beam_zerobus.telemetry.counts import Labels
from beam_zerobus.telemetry.harmless import harmless
from beam_zerobus.telemetry.sources import Source
from beam_zerobus.telemetry.spans import BatchTrace
from beam_zerobus.telemetry.wording import attributes_of, label

__all__ = ["BatchSpan", "Recorder"]

_NOTHING: Final = nullcontext()
# Together below 128, from where on OpenTelemetry drops the oldest.
_MAX_EVENTS = 100
_MAX_REJECTION_EVENTS = 20


class _Target:
    """Where a recorder and its batches write to, and under which labels."""

    def __init__(self, source: Source, table: str, wire_format: str) -> None:
        self.source = source
        self.table = table
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


class Recorder:
    """Metrics and spans of one writer; made by `open_recorder`, used from any thread.

    Args:
        source: Where to.
        table: ``catalog.schema.table``.
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
    """

    def __init__(self, source: Source, *, table: str, wire_format: str) -> None:
        self._target = _Target(source, table, wire_format)
        self._fresh = False

    def batch(self, rows: int, arrow_bytes: int) -> BatchSpan:
        """Begin the span ``send {table}`` of a batch, below the caller's current span if there is one."""
        self._fresh = True
        return BatchSpan(self._target, rows, arrow_bytes)

    @harmless
    def retry(self, cause: str, delay: float) -> None:  # noqa: ARG002  throttled() counts the delay
        """Count a failure that is followed by another try, `delay` seconds later."""
        self._target.add((of.RETRIES, 1), more=(("beam_zerobus.cause", label(cause)),))

    @harmless
    def replayed(self, rows: int, payloads: int) -> None:
        """Count what is sent again because its acknowledgement never came."""
        self._target.add((of.REPLAYED_ROWS, rows), (of.REPLAYED_PAYLOADS, payloads))

    @harmless
    def stream_opened(self) -> None:
        """Count a stream that was opened."""
        self._target.add((of.STREAMS_OPENED, 1), (of.STREAMS_OPEN, 1))

    @harmless
    def stream_closed(self, cause: str) -> None:
        """Count a stream that has ended."""
        self._target.add((of.STREAMS_OPEN, -1))
        self._target.add((of.STREAMS_CLOSED, 1), more=(("beam_zerobus.cause", label(cause)),))

    @harmless
    def token_refreshed(self) -> None:
        """Count a token that was bought."""
        self._target.add((of.TOKEN_REFRESHES, 1))

    @harmless
    def throttled(self, seconds: float) -> None:
        """Count time waited before a retry."""
        self._target.add((of.THROTTLED_TIME, seconds))

    @harmless
    def in_flight(self, bytes_delta: int, rows_delta: int) -> None:
        """Note what became in flight, or (negative) is no longer."""
        self._target.add((of.IN_FLIGHT_BYTES, bytes_delta), (of.IN_FLIGHT_ROWS, rows_delta))

    @harmless
    def debug_file_bytes(self, n: int) -> None:
        """Count bytes written to debug files."""
        self._target.add((of.DEBUG_FILE_BYTES, n))

    @harmless
    def debug_files_failed(self) -> None:
        """Count a failure that stopped debug files."""
        self._target.add((of.DEBUG_FILE_FAILURES, 1))

    @harmless
    def flush(self, timeout: float | None = None) -> None:
        """Export what was recorded, to providers of our own only; those of the application are the application's.

        It waits while the receiver answers, and not at all while it does not.

        Args:
            timeout: Seconds to wait at most; None takes `Telemetry.flush_timeout`.
        """
        if self._fresh:
            self._fresh = False
            self._target.source.flush(timeout)

    @harmless
    def close(self) -> None:
        """Flush. Providers stay: other writers of the process share them, and its end shuts them down."""
        self._fresh = True
        self.flush()


class BatchSpan:
    """One batch, from hand-over to outcome; see `Recorder.batch`.

    `encoding` and `sending` are used by the thread that hands the batch over, all else from any thread.
    """

    def __init__(self, target: _Target, rows: int, arrow_bytes: int) -> None:
        self._target = target
        self._rows = rows
        self._trace: BatchTrace | None = None
        self._payloads = 0
        self._wire_bytes = 0
        self._rejected = 0
        self._events = 0
        self._retries = 0
        self._trouble: str | None = None
        self._finished = False
        self._begin(arrow_bytes)

    @harmless
    def _begin(self, arrow_bytes: int) -> None:
        self._target.add((of.ROWS, self._rows), (of.ARROW_BYTES, arrow_bytes))
        signals = self._target.source.signals()
        if signals is not None:
            self._trace = BatchTrace(
                signals,
                self._target.table,
                {
                    **self._target.attributes,
                    "messaging.batch.message_count": self._rows,
                    "beam_zerobus.arrow_bytes": arrow_bytes,
                },
            )

    def encoding(self) -> AbstractContextManager[None]:
        """Return a context manager for the encoding of a payload."""
        return _NOTHING if self._trace is None else self._trace.step("encode")

    def sending(self) -> AbstractContextManager[None]:
        """Return a context manager for the hand-over of a payload; see also `sent`."""
        return _NOTHING if self._trace is None else self._trace.step("send")

    @harmless
    def waiting_started(self) -> None:
        """Note that all payloads are handed over; `finish` ends the waiting."""
        if self._trace is not None:
            self._trace.wait()

    @harmless
    def event(self, name: str, /, **attributes: object) -> None:
        """Add an event to the span; text that is no short name becomes ``"other"``.

        The first 100 of a batch are kept. A batch that met ``"retry"`` or ``"stream_lost"`` and succeeds all the same
        ends with ``"recovered"``.
        """
        if name in ("retry", "stream_lost"):
            self._retries += name == "retry"
            self._trouble = label(attributes.get("cause"))
        self._events += 1
        if self._trace is not None and self._events <= _MAX_EVENTS:
            self._trace.event(name, attributes_of(attributes))

    @harmless
    def sent(self, payloads: int, wire_bytes: int) -> None:
        """Count payloads that were handed over for the first time, and their bytes."""
        self._payloads += payloads
        self._wire_bytes += wire_bytes
        self._target.add((of.PAYLOADS, payloads), (of.WIRE_BYTES, wire_bytes))

    @harmless
    def rejected(self, errors: Sequence[RowError]) -> None:
        """Count refused rows by type and stage."""
        self._rejected += len(errors)
        kinds = Counter((label(error.error_type), label(error.stage)) for error in errors)
        for position, ((error_type, stage), count) in enumerate(kinds.most_common()):
            error_label: Labels = (("error.type", error_type),)
            self._target.add((of.REJECTED_ROWS, count), more=(*error_label, ("beam_zerobus.stage", stage)))
            self._target.add_messages(count, error_label)
            if position < _MAX_REJECTION_EVENTS and self._trace is not None:
                self._trace.event(
                    "rows_rejected",
                    {"error.type": error_type, "beam_zerobus.stage": stage, "beam_zerobus.rows": count},
                )

    @harmless
    def finish(self, acknowledged_rows: int, error: BaseException | None = None) -> None:
        """End the span, once: `error` is what concerned the whole batch.

        Args:
            acknowledged_rows: Rows that are durable; an error that knows of more is believed.
            error: None where each row was acknowledged or refused.
        """
        if self._finished:
            return
        self._finished = True
        acknowledged = max(acknowledged_rows, getattr(error, "acknowledged_rows", 0))
        error_type = type(error).__name__ if error is not None else None
        if error is None and self._rejected and not acknowledged:
            error_type = "rows_rejected"
        outcome = "failed" if error_type else "partial" if self._rejected else "acknowledged"
        self._target.add((of.BATCHES, 1), more=(("beam_zerobus.outcome", outcome),))
        self._target.add_messages(acknowledged)
        if error_type is not None:
            self._target.add_messages(self._rows - self._rejected - acknowledged, (("error.type", error_type),))
        if self._trace is None:
            return
        if self._trouble is not None and error is None:
            self._trace.event("recovered", {"beam_zerobus.cause": self._trouble, "beam_zerobus.retries": self._retries})
        self._trace.end(
            attributes={
                "beam_zerobus.outcome": outcome,
                "beam_zerobus.acknowledged_rows": acknowledged,
                "beam_zerobus.rejected_rows": self._rejected,
                "beam_zerobus.payloads": self._payloads,
                "beam_zerobus.wire_bytes": self._wire_bytes,
            },
            labels=self._target.send_labels,
            error_type=error_type,
            error=error,
        )
