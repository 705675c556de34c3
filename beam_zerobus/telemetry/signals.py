"""What a recorder writes spans and durations to: `Signals`, made from a tracer provider and a meter provider."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.instruments import ACK_LATENCY, ENCODE_DURATION, OPERATION_DURATION, make_histogram
from beam_zerobus.version import __version__

__all__ = ["Signals", "make_signals"]

_SCOPE = "beam_zerobus"


@dataclass(frozen=True, slots=True)
class Signals:
    """A tracer, and the histograms that are written as a batch goes; counts are read from `Counts` instead."""

    tracer: Tracer
    operation_duration: Histogram
    encode_duration: Histogram
    ack_latency: Histogram


def make_signals(tracers: TracerProvider, meters: MeterProvider, counts: Counts) -> Signals:
    """Create everything that the recorders of one pair of providers write to, and let it read `counts`."""
    meter = meters.get_meter(_SCOPE, __version__)
    counts.observe(meter)
    return Signals(
        tracer=tracers.get_tracer(_SCOPE, __version__),
        operation_duration=make_histogram(meter, OPERATION_DURATION),
        encode_duration=make_histogram(meter, ENCODE_DURATION),
        ack_latency=make_histogram(meter, ACK_LATENCY),
    )
