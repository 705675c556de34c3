"""`ExportThread`: exports to a receiver that may be down, hang or reject, and never holds up a sender."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from beam_zerobus.logs import get_logger, outline
from beam_zerobus.telemetry.quiet import quiet

__all__ = ["PAUSE", "ExportThread", "SpanQueue", "report_to"]

_log = get_logger(__name__)

PAUSE: Final = 5.0
"""Seconds after a failed export until the next one; a try costs as much as an export, whether it succeeds or not."""
_LAST_EXPORT = 0.1
_SPANS_AN_EXPORT = 1_024  # of 256 batches; of more, one export could become too large for a receiver

T = TypeVar("T")


class ExportThread:
    """Exports one signal, spans or metrics, to one destination, in a thread of its own.

    OpenTelemetry's batch processor is not used: its `force_flush` waits for a hanging receiver without limit, and for
    as long as others add spans. Each signal has a thread, as a receiver may accept one and not the other.

    Invariants, under `_changed` (a condition):
    - `_responsive` is False from a failed or overdue export to the next that succeeds; no caller waits meanwhile.
    - Each flush asked for up to number `_asked` that is at most `_answered` is over.
    """

    def __init__(self, name: str, interval: float, warn: Callable[[], None]) -> None:
        self._name = name
        self._interval = interval
        self._warn = warn
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._responsive = True
        self._paused_until = 0.0
        self._asked = 0
        self._answered = 0
        self._ended = False

    def start(self, export: Callable[[], object], shutdown: Callable[[], object]) -> None:
        """Start the thread.

        Args:
            export: Exports what there is; called once an interval, and whenever it is asked for.
            shutdown: Called once, after the last export.
        """
        threading.Thread(
            target=self._run, args=(export, shutdown), name=f"beam_zerobus telemetry: {self._name}", daemon=True
        ).start()

    def wake(self) -> None:
        """Export now, without a wait."""
        if not self._wake.is_set():
            self._wake.set()

    def ask(self) -> int:
        """Ask for an export of all that there is now; return what `wait` needs."""
        with self._changed:
            if self._responsive:
                self._asked += 1
                self._wake.set()
            return self._asked

    def wait(self, asked: int, timeout: float) -> None:
        """Wait for an export that was asked for, unless the destination does not answer."""
        with self._changed:
            over = self._changed.wait_for(
                lambda: self._answered >= asked or self._ended or not self._responsive, timeout
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

    def attempt(self, export: Callable[[], Enum]) -> bool:
        """Call an exporter, in this thread, and note whether it succeeded."""
        result = _call(export)
        succeeded = result is not None and result.name == "SUCCESS"
        if not succeeded:
            self._paused_until = time.monotonic() + PAUSE
            if not self._stopping.is_set():
                self._warn()
        with self._changed:
            self._responsive = succeeded
            self._changed.notify_all()
        return succeeded

    def _run(self, export: Callable[[], object], shutdown: Callable[[], object]) -> None:
        with quiet():
            otel_context.attach(otel_context.set_value("suppress_instrumentation", True))  # exports are not traced
            while not self._stopping.is_set():
                self._wake.wait(self._interval)
                self._stopping.wait(max(0.0, self._paused_until - time.monotonic()))
                self._wake.clear()
                if not self._stopping.is_set():
                    self._answer(export)
            self._answer(export)
            _call(shutdown)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _answer(self, export: Callable[[], object]) -> None:
        with self._changed:
            asked = self._asked
        _call(export)
        with self._changed:
            self._answered = asked
            self._changed.notify_all()


class SpanQueue(SpanProcessor):
    """The spans that a thread has yet to export.

    Args:
        exporter: Where they go.
        thread: The thread that exports.
        size: Spans that are kept; beyond that the oldest are dropped.
    """

    def __init__(self, exporter: SpanExporter, thread: ExportThread, size: int) -> None:
        self._exporter = exporter
        self._thread = thread
        self._an_export = max(1, min(_SPANS_AN_EXPORT, size // 8))
        self._spans: deque[ReadableSpan] = deque(maxlen=size)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, if the sampler wants it exported."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._spans.append(span)
            if len(self._spans) >= self._an_export:
                self._thread.wake()

    def export(self) -> None:
        """Export what is queued now, up to a failure. What is queued meanwhile waits: others may never stop sending."""
        left = len(self._spans)
        while left > 0:
            spans = [self._spans.popleft() for _ in range(min(left, self._an_export))]
            left -= len(spans)
            if not self._thread.attempt(lambda: self._exporter.export(spans)):  # noqa: B023  called at once
                return


def report_to(thread: ExportThread, make: partial[MetricExporter]) -> MetricExporter:
    """Make an exporter of metrics, with an `export` whose result the thread learns: a metric reader drops it.

    Its class is a subclass, as a reader asks an exporter for its temporality, which only the exporter itself knows.
    """
    kind: Any = make.func

    def export(self: Any, *args: Any, **kwargs: Any) -> MetricExportResult:
        succeeded = thread.attempt(lambda: kind.export(self, *args, **kwargs))
        return MetricExportResult.SUCCESS if succeeded else MetricExportResult.FAILURE

    exporter: MetricExporter = type(kind.__name__, (kind,), {"export": export})(*make.args, **make.keywords)
    return exporter


def _call(function: Callable[[], T]) -> T | None:
    try:
        return function()
    except Exception as error:  # noqa: BLE001  an exporter may raise anything; the next export is tried all the same
        _log.debug("An exporter failed: %s", outline(error))
        return None
