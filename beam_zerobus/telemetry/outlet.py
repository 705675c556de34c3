"""`Outlet`: exports to a receiver that may be down, hang or reject, and never hold up a sender."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sized
from enum import Enum
from typing import Any, Final, TypeVar

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from beam_zerobus.logs import get_logger, outline
from beam_zerobus.telemetry.quiet import quiet

__all__ = ["PAUSE", "Outlet", "SpanQueue"]

_log = get_logger(__name__)

PAUSE: Final = 5.0
"""Seconds after a failed export until the next one; a try costs as much as an export, whether it succeeds or not."""
_LAST_EXPORT = 0.1
_SPAN_DELAY = 2.0
_SPANS_AN_EXPORT = 1_024  # of 256 batches; of more, one export could become too large for a receiver

ExporterT = TypeVar("ExporterT", SpanExporter, MetricExporter)
T = TypeVar("T")


class Outlet:
    """Exports one signal, spans or metrics, to one destination.

    OpenTelemetry's processor and reader queue and export. But their `force_flush` and `shutdown` wait for a hanging
    receiver without limit. So a thread of this class calls them, and a caller waits for it with a limit.
    Each signal has an outlet of its own, as a receiver may accept one of them and not the other.

    Invariants, under `_changed` (a condition):
    - `_responsive` is False from a failed or overdue export to the next that succeeds; nobody waits meanwhile.
    - Each flush asked for up to number `_asked` that is at most `_answered` is over.
    - Of the `_queued` spans so far, the first `_exported` were exported or dropped.
    """

    def __init__(self, name: str, warn: Callable[[], None]) -> None:
        self._name = name
        self._warn = warn
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._responsive = True
        self._paused_until = 0.0
        self._asked = 0
        self._answered = 0
        self._queued = 0
        self._exported = 0
        self._ended = False

    def guard(self, exporter: type[ExporterT], failure: Enum) -> type[ExporterT]:
        """Return the exporter's class with an `export` that goes through this outlet.

        A subclass, as a metric reader asks an exporter for its temporality, which only the exporter itself knows.
        """

        def export(self_: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
            return self._attempt(lambda: exporter.export(self_, data, *args, **kwargs), data, failure)

        return type(exporter.__name__, (exporter,), {"export": export})

    def start(self, force_flush: Callable[[], object], shutdown: Callable[[], object]) -> None:
        """Start the thread that calls these two."""
        threading.Thread(
            target=self._run, args=(force_flush, shutdown), name=f"beam_zerobus telemetry: {self._name}", daemon=True
        ).start()

    def queued(self) -> None:
        """Note that a span was queued."""
        with self._changed:
            self._queued += 1

    def ask(self) -> tuple[int, float]:
        """Ask for an export of all that there is now; return what `wait` needs."""
        with self._changed:
            if self._responsive:
                self._asked += 1
                self._wake.set()
            return self._asked, self._queued or math.inf

    def wait(self, asked: tuple[int, float], timeout: float) -> None:
        """Wait for an export that was asked for, unless the destination does not answer.

        What is queued meanwhile does not count: OpenTelemetry's flush goes on until its queue is empty, which it may
        never be while others send.
        """
        number, queued = asked
        with self._changed:
            over = self._changed.wait_for(
                lambda: self._answered >= number or self._exported >= queued or self._ended or not self._responsive,
                timeout,
            )
            if not over:
                self._responsive = False

    def stop(self) -> None:
        """Ask for the last export."""
        self._stopping.set()
        self._wake.set()

    def wait_until_stopped(self, timeout: float) -> None:
        """Wait for the last export, and only briefly where the destination does not answer."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout if self._responsive else min(timeout, _LAST_EXPORT))

    def _run(self, force_flush: Callable[[], object], shutdown: Callable[[], object]) -> None:
        with quiet():
            while not self._stopping.is_set():
                self._wake.wait()
                self._wake.clear()
                if not self._stopping.is_set():
                    self._flush(force_flush)
            _call(shutdown)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _flush(self, force_flush: Callable[[], object]) -> None:
        with self._changed:
            asked, queued = self._asked, self._queued
        _call(force_flush)
        with self._changed:
            self._answered = asked
            self._exported = max(self._exported, queued)
            self._changed.notify_all()

    def _attempt(self, export: Callable[[], Enum], data: object, failure: Enum) -> Enum:
        """Export, in a thread of OpenTelemetry's or in ours, after the pause that follows a failure."""
        if os.getpid() != self._pid:  # a forked child has OpenTelemetry's threads anew; its parent exports
            return failure
        self._stopping.wait(max(0.0, self._paused_until - time.monotonic()))
        with quiet():
            result = _call(export) or failure
        succeeded = result.name == "SUCCESS"
        if not succeeded:
            self._paused_until = time.monotonic() + PAUSE
            if not self._stopping.is_set():
                self._warn()
        with self._changed:
            self._responsive = succeeded
            self._exported += len(data) if isinstance(data, Sized) else 0
            self._changed.notify_all()
        return result


class SpanQueue(BatchSpanProcessor):
    """OpenTelemetry's queue of spans, with an outlet that knows how many spans went in.

    Args:
        exporter: Guarded by the outlet.
        outlet: The outlet.
        size: Spans that are kept, those under export included; beyond that the oldest are dropped.
    """

    def __init__(self, exporter: SpanExporter, outlet: Outlet, size: int) -> None:
        self._outlet = outlet
        an_export = max(1, min(_SPANS_AN_EXPORT, size // 4))
        super().__init__(
            exporter,
            max_queue_size=max(an_export, size - an_export),
            schedule_delay_millis=_SPAN_DELAY * 1_000,
            max_export_batch_size=an_export,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span."""
        self._outlet.queued()
        with quiet():
            super().on_end(span)


def _call(function: Callable[[], T]) -> T | None:
    try:
        return function()
    except Exception as error:  # noqa: BLE001  exporters may be anybody's; the next one gets its turn
        _log.debug("An exporter failed: %s", outline(error))
        return None
