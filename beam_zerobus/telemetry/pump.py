"""`Pump`: one thread that brings spans and metrics to one destination, and never holds up anybody else."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, MetricsData

from beam_zerobus.logs import get_logger, outline
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import Destination
from beam_zerobus.telemetry.durations import Durations
from beam_zerobus.telemetry.quiet import THREAD_PREFIX, quieten
from beam_zerobus.telemetry.raw import RawTrace

__all__ = ["Pump"]

_log = get_logger(__name__)

_MAX_QUEUED = 2_048  # batches, some 3 kB each
# Commonly four spans and 750 bytes each. Exporting while rows are sent costs them more than at a bundle's end, where it
# waits its turn; but of more, one export could become too large for a receiver when each batch has many events.
_BATCHES_AN_EXPORT = 256
_SPAN_DELAY = 2.0
_PAUSE = 5.0  # seconds after a failed export; a try costs as much as an export, whatever comes of it
_LAST_MOMENT = 0.1


class Pump:
    """Queues the spans of batches, exports them and the metrics, when it is time or somebody asks to.

    The SDK's own processor and reader wait for a hanging receiver without limit, in `force_flush` and at exit, and warn
    again and again; this one knows whether its destination answers. `reader` collects the metrics.

    Invariants, under `_done` (a condition) where they concern several threads:
    - `_queue` holds at most `maxlen` batches whose spans are to be exported; the oldest make room.
    - Every flush asked for up to `_asked` that is at most `_answered` is over.
    - `_responsive` is False from a failed or overdue export to the next good one; nobody waits meanwhile.
    - `_spans_from` and `_metrics_from` are when spans and metrics may be tried (again); only the thread sets them. A
      receiver may take one kind and not know the other.
    """

    def __init__(self, destination: Destination, *, interval: float, counts: Counts, durations: Durations) -> None:
        self._destination = destination
        self._interval = interval
        self._counts = counts
        size = _queue_size()
        self._queue: deque[RawTrace] = deque(maxlen=size)
        self._enough = min(_BATCHES_AN_EXPORT, max(1, size // 2))  # to export before it is time
        self._wake = threading.Event()
        self._done = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._responsive = True
        self._spans_from = 0.0
        self._metrics_from = 0.0
        self._stopping = False
        self._ended = False
        self._warned = False
        self.reader: MetricReader | None = None
        if destination.metrics is not None:
            self.reader = _Reader(destination.metrics, self._export_collected, durations)
        for exporter in self._exporters():
            quieten(exporter)
        self._thread = threading.Thread(target=self._run, name=f"{THREAD_PREFIX} to {destination.name}", daemon=True)

    def start(self) -> None:
        """Begin to export; the reader must be registered with a provider by then."""
        self._thread.start()

    def put(self, batch: RawTrace) -> None:
        """Take a batch that has ended."""
        if self._destination.spans is None:
            return
        self._queue.append(batch)
        if len(self._queue) < self._enough or self._wake.is_set():
            return
        if time.monotonic() >= self._spans_from:
            self._wake.set()

    def ask(self) -> int:
        """Ask for an export of all there is now; return a number to wait for."""
        with self._done:
            self._asked += 1
            self._wake.set()
            return self._asked

    def wait(self, number: int, timeout: float) -> bool:
        """Wait for an export that was asked for, while the destination answers.

        Returns:
            True when it is done.
        """
        with self._done:
            if not self._responsive or self._stopping:
                return False
            self._done.wait_for(lambda: self._answered >= number or not self._responsive, timeout)
            if self._answered < number:
                self._responsive = False
            return self._responsive

    def stop(self) -> None:
        """Ask for a last export, after which the thread ends."""
        self._stopping = True
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Stop, wait for the last export, and shut the exporters down, which breaks off what is still under way."""
        self.stop()
        with self._done:
            self._done.wait_for(lambda: self._ended, timeout if self._responsive else min(timeout, _LAST_MOMENT))
        for exporter in self._exporters():
            try:
                exporter.shutdown()
            except Exception as error:  # noqa: BLE001  the process ends, and the other exporter has its turn
                _log.debug("An exporter failed to shut down: %s", outline(error))

    def _exporters(self) -> list[Any]:
        return [exporter for exporter in (self._destination.spans, self._destination.metrics) if exporter is not None]

    # The pump's own thread.

    def _run(self) -> None:
        _suppress_instrumentation()
        next_metrics = time.monotonic() + self._interval
        try:
            while True:
                self._wake.wait(min(_SPAN_DELAY, max(0.0, next_metrics - time.monotonic())))
                self._wake.clear()
                if self._stopping:
                    break
                asked = self._asked
                self._counts.catch_up()  # so that the sender need not
                if time.monotonic() >= self._spans_from:
                    self._export_spans()
                if time.monotonic() >= (self._metrics_from if asked > self._answered else next_metrics):
                    self._export_metrics()
                    next_metrics = max(self._metrics_from, time.monotonic() + self._interval)
                with self._done:
                    self._answered = max(self._answered, asked)
                    self._done.notify_all()
            self._export_spans()
            self._export_metrics()
        finally:
            with self._done:
                self._ended = True
                self._done.notify_all()

    def _export_spans(self) -> None:
        """Export what is queued now, not what comes meanwhile: a flush has an end."""
        exporter = self._destination.spans
        left = len(self._queue)
        while left > 0 and exporter is not None:
            batches = [self._queue.popleft() for _ in range(min(left, _BATCHES_AN_EXPORT, len(self._queue)))]
            left -= len(batches)
            spans = [span for batch in batches for span in batch.spans()]
            if spans and not self._export(lambda spans=spans: exporter.export(spans)):  # type: ignore[misc]
                self._spans_from = time.monotonic() + _PAUSE
                return

    def _export_metrics(self) -> None:
        if self.reader is None:
            return
        try:
            self.reader.collect()
        except Exception as error:  # noqa: BLE001  somebody's callback, or the SDK's own time limit
            _log.debug("Collecting metrics failed: %s", outline(error))

    def _export_collected(self, call: Callable[[], Any]) -> None:
        """Export what the reader collected; who calls is the reader."""
        if not self._export(call):
            self._metrics_from = time.monotonic() + _PAUSE

    def _export(self, call: Callable[[], Any]) -> bool:
        """Run an export; note whether the destination answers, and warn the first time that it does not."""
        try:
            good = call().name == "SUCCESS"
        except Exception as error:  # noqa: BLE001  exporters promise not to raise
            good = False
            _log.debug("An exporter failed: %s", outline(error))
        if not good and not self._warned and not self._stopping:
            self._warned = True
            _log.warning(
                "Telemetry does not reach %s. Data is not affected, and it is tried again, without another warning: "
                "metrics lose nothing, spans do when it takes long. The exporter's own messages are logged at DEBUG",
                self._destination.name,
            )
        with self._done:
            self._responsive = good
            self._done.notify_all()
        return good


class _Reader(MetricReader):
    """Hands what a meter provider collected, and the durations, to an exporter when told to; has no thread."""

    def __init__(
        self, exporter: MetricExporter, export: Callable[[Callable[[], Any]], None], durations: Durations
    ) -> None:
        # The base class of exporters keeps these two for readers, under these names.
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self._export = export
        self._durations = durations

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> None:
        if scopes := [scope for of_resource in metrics_data.resource_metrics for scope in of_resource.scope_metrics]:
            scopes[0] = replace(scopes[0], metrics=[*scopes[0].metrics, *self._durations.metrics()])
            resource = replace(metrics_data.resource_metrics[0], scope_metrics=scopes)
            metrics_data = MetricsData(resource_metrics=[resource])
        self._export(lambda: self._exporter.export(metrics_data, timeout_millis=timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing: the pump shuts the exporter down."""


def _queue_size() -> int:
    try:
        return max(1, int(os.environ["OTEL_BSP_MAX_QUEUE_SIZE"]) // 4)
    except (KeyError, ValueError):
        return _MAX_QUEUED


def _suppress_instrumentation() -> None:
    """Let instrumented HTTP and gRPC clients leave our exports out, as they do for the SDK's processors."""
    key = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    if key is not None:
        otel_context.attach(otel_context.set_value(key, True))
