"""`Pipeline`: a tracer provider and a meter provider of our own, with all that feeds and drains them."""

from __future__ import annotations

import os
import socket
import time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import make_destinations
from beam_zerobus.telemetry.durations import Durations
from beam_zerobus.telemetry.live_spans import SCOPE
from beam_zerobus.telemetry.pump import Pump
from beam_zerobus.telemetry.raw import RawSignals, RawTrace

__all__ = ["Pipeline"]

_EXPORT_INTERVAL = 10.0


class Pipeline:
    """Providers for one configuration in one process; belongs to the process that made it."""

    def __init__(self, options: Telemetry) -> None:
        resource = _make_resource(options)
        interval = _export_interval(options)
        durations = Durations()
        self.counts = Counts()
        self._pumps = [
            Pump(place, interval=interval, counts=self.counts, durations=durations)
            for place in make_destinations(options)
        ]
        meters = MeterProvider(
            metric_readers=[pump.reader for pump in self._pumps if pump.reader is not None],
            resource=resource,
            shutdown_on_exit=False,
        )
        self.counts.observe(meters.get_meter(*SCOPE))
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.signals = RawSignals(tracers, durations, self._take)
        for pump in self._pumps:
            pump.start()

    def _take(self, batch: RawTrace) -> None:
        self.counts.postpone(batch.record)
        for pump in self._pumps:
            pump.put(batch)

    def flush(self, timeout: float) -> None:
        """Export everything, and wait at most `timeout` seconds for all destinations together."""
        deadline = time.monotonic() + timeout
        asked = [(pump, pump.ask()) for pump in self._pumps]
        for pump, number in asked:
            pump.wait(number, max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Ask for the last export."""
        for pump in self._pumps:
            pump.stop()

    def close(self, timeout: float) -> None:
        """Shut down, waiting at most `timeout` seconds for the last export."""
        deadline = time.monotonic() + timeout
        for pump in self._pumps:
            pump.close(max(0.0, deadline - time.monotonic()))


class _Resource(Resource):
    """A resource that knows its hash: exporters ask for it at every span, and the SDK's writes JSON each time."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(dict(resource.attributes), resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _make_resource(options: Telemetry) -> Resource:
    """Describe this process; options come before the environment, which comes before what we know ourselves."""
    host, pid = socket.gethostname(), os.getpid()
    ours = Resource(
        {
            "service.name": "beam_zerobus",
            "service.instance.id": f"{host}-{pid}",  # tells the series of several workers apart
            "host.name": host,
            "process.pid": pid,
        }
    )
    given = dict(options.resource_attributes)
    if options.service_name is not None:
        given["service.name"] = options.service_name
    # Resource.create would set service.name to unknown_service, so the environment is merged by itself.
    return _Resource(Resource.create().merge(ours).merge(OTELResourceDetector().detect()).merge(Resource(given)))


def _export_interval(options: Telemetry) -> float:
    if options.export_interval is not None:
        return options.export_interval
    try:
        return max(0.1, float(os.environ["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000)
    except (KeyError, ValueError):
        return _EXPORT_INTERVAL
