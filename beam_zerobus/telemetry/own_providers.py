"""`OwnProviders`: a tracer provider and a meter provider of our own, and what exports from them."""

from __future__ import annotations

import itertools
import math
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from beam_zerobus.logs import get_logger
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import describe_destinations
from beam_zerobus.telemetry.export_thread import ExportThread, SpanQueue, report_to
from beam_zerobus.telemetry.live_spans import Signals

__all__ = ["OwnProviders"]

_log = get_logger(__name__)

_EXPORT_INTERVAL: Final = 10.0
_SPAN_INTERVAL: Final = 2.0
_BULK = 32  # batches
_MAX_QUEUED: Final = 8_192  # spans: those of 2,048 batches of one payload


class OwnProviders:
    """Providers for one configuration in one process; they belong to the process that made them."""

    def __init__(self, options: Telemetry) -> None:
        resource, interval = _make_resource(options), _export_interval(options)
        self.counts = Counts()
        exports: list[tuple[ExportThread, Callable[[], object], Callable[[], object]]] = []
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        readers: list[MetricReader] = []
        for destination in describe_destinations(options):
            warn = _warn_once(destination.name)
            if destination.spans is not None:
                spans = ExportThread(f"spans to {destination.name}", _SPAN_INTERVAL, warn)
                exporter = destination.spans()
                queue = SpanQueue(exporter, spans, _queue_size())
                tracers.add_span_processor(queue)
                exports.append((spans, queue.export, exporter.shutdown))
            if destination.metrics is not None:
                metrics = ExportThread(f"metrics to {destination.name}", interval, warn)
                # Its own thread would wait for a hanging receiver without limit.
                reader = PeriodicExportingMetricReader(report_to(metrics, destination.metrics), math.inf)
                readers.append(reader)
                exports.append((metrics, reader.collect, reader.shutdown))
        meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self.signals = Signals(tracers, meters, self.counts, bulk=_BULK)
        for thread, export, shutdown in exports:
            thread.start(partial(self._export, export), shutdown)
        self._threads = [thread for thread, _, _ in exports]

    def _export(self, export: Callable[[], object]) -> None:
        self.signals.end_all()
        export()

    def flush(self, timeout: float) -> None:
        """Export everything, and wait at most `timeout` seconds for all destinations together."""
        deadline = time.monotonic() + timeout
        for thread, asked in [(thread, thread.ask()) for thread in self._threads]:
            thread.wait(asked, max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Ask for the last export."""
        for thread in self._threads:
            thread.stop()

    def wait_until_stopped(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the last export."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.wait_until_stopped(max(0.0, deadline - time.monotonic()))


def _warn_once(name: str) -> Callable[[], None]:
    calls = itertools.count()  # its next() is atomic; spans and metrics often fail at the same time

    def warn() -> None:
        if next(calls) == 0:
            _log.warning(
                "Telemetry does not reach %s. Data is not affected. Exports are tried again without another warning: "
                "metrics lose nothing, spans are dropped if it takes long. The exporter's own messages are logged at "
                "DEBUG",
                name,
            )

    return warn


def _make_resource(options: Telemetry) -> Resource:
    """Describe this process: by the options first, then by the environment, then by what we know ourselves."""
    host, pid = socket.gethostname(), os.getpid()
    ours = Resource(
        {
            "service.name": "beam_zerobus",
            "service.instance.id": f"{host}-{pid}",  # keeps the series of several workers apart
            "host.name": host,
            "process.pid": pid,
        }
    )
    given = dict(options.resource_attributes)
    if options.service_name is not None:
        given["service.name"] = options.service_name
    # Resource.create would set service.name to unknown_service, so the environment is merged by itself.
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect()).merge(Resource(given))


def _export_interval(options: Telemetry) -> float:
    if options.export_interval is not None:
        return options.export_interval
    try:
        return max(0.1, float(os.environ["OTEL_METRIC_EXPORT_INTERVAL"]) / 1_000)
    except (KeyError, ValueError):
        return _EXPORT_INTERVAL


def _queue_size() -> int:
    try:
        return max(1, int(os.environ["OTEL_BSP_MAX_QUEUE_SIZE"]))
    except (KeyError, ValueError):
        return _MAX_QUEUED
