"""`OwnProviders`: a tracer provider and a meter provider of our own, and what exports from them."""

from __future__ import annotations

import itertools
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from beam_zerobus.logs import get_logger
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import Destination, describe_destinations
from beam_zerobus.telemetry.instruments import BOUNDARIES, DURATIONS
from beam_zerobus.telemetry.live_spans import Signals
from beam_zerobus.telemetry.outlet import Outlet, SpanQueue, report_to
from beam_zerobus.telemetry.quiet import quieten_opentelemetry

__all__ = ["OwnProviders"]

_log = get_logger(__name__)

_EXPORT_INTERVAL: Final = 10.0
_SPAN_INTERVAL: Final = 2.0
_BULK = 32  # batches
_MAX_QUEUED: Final = 8_192  # spans: those of 2,048 batches of one payload


class OwnProviders:
    """Providers for one configuration in one process; they belong to the process that made them."""

    def __init__(self, options: Telemetry) -> None:
        resource = _make_resource(options)
        self.counts = Counts()
        self._outlets: list[Outlet] = []
        self._incomplete: deque[Callable[[], None]] = deque()
        self._completing = threading.Lock()
        self._interval = _export_interval(options)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._readers: list[PeriodicExportingMetricReader] = []
        for destination in describe_destinations(options):
            self._export_to(destination)
        meters = MeterProvider(
            metric_readers=self._readers, resource=resource, shutdown_on_exit=False, views=_duration_views()
        )
        self.signals = Signals(self._tracers, meters, self.counts)
        quieten_opentelemetry()

    def complete(self, work: Callable[[], None]) -> None:
        """Do the work that ends a span, later and together with that of others.

        The same work costs half as much where it is done in bulk: between two batches, the processor's caches hold the
        batches.
        """
        self._incomplete.append(work)
        if len(self._incomplete) >= _BULK:
            self._complete_all()

    def flush(self, timeout: float) -> None:
        """Export everything, and wait at most `timeout` seconds for all destinations together."""
        deadline = time.monotonic() + timeout
        for outlet, asked in [(outlet, outlet.ask()) for outlet in self._outlets]:
            outlet.wait(asked, max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Ask for the last export."""
        for outlet in self._outlets:
            outlet.stop()

    def wait_until_stopped(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the last export."""
        deadline = time.monotonic() + timeout
        for outlet in self._outlets:
            outlet.wait_until_stopped(max(0.0, deadline - time.monotonic()))

    def _export_to(self, destination: Destination) -> None:
        warn = _warn_once(destination.name)
        if destination.spans is not None:
            outlet = self._open(f"spans to {destination.name}", warn)
            exporter = destination.spans.kind(**destination.spans.settings)
            queue = SpanQueue(exporter, outlet, _queue_size())
            self._tracers.add_span_processor(queue)
            outlet.start(self._after_completion(queue.export), exporter.shutdown, _SPAN_INTERVAL)
        if destination.metrics is not None:
            outlet = self._open(f"metrics to {destination.name}", warn)
            metrics = report_to(outlet, destination.metrics.kind)(**destination.metrics.settings)
            reader = PeriodicExportingMetricReader(metrics, export_interval_millis=math.inf)  # the outlet has a thread
            self._readers.append(reader)
            outlet.start(self._after_completion(reader.collect), reader.shutdown, self._interval)

    def _complete_all(self) -> None:
        with self._completing:
            for _ in range(len(self._incomplete)):
                self._incomplete.popleft()()

    def _after_completion(self, export: Callable[[], object]) -> Callable[[], None]:
        def complete_and_export() -> None:
            self._complete_all()
            export()

        return complete_and_export

    def _open(self, name: str, warn: Callable[[], None]) -> Outlet:
        outlet = Outlet(name, warn)
        self._outlets.append(outlet)
        return outlet


def _duration_views() -> list[View]:
    """Return what sets the buckets of durations: the oldest OTLP exporters prefer OpenTelemetry's, for milliseconds."""
    return [
        View(instrument_name=duration.name, aggregation=ExplicitBucketHistogramAggregation(BOUNDARIES))
        for duration in DURATIONS
    ]


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
