"""`Counts`: sums and levels of this process, as plain numbers that OpenTelemetry reads when it exports."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Final, TypeAlias
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from beam_zerobus.telemetry.instruments import COUNTED, IN_FLIGHT_BYTES, IN_FLIGHT_ROWS, Instrument

__all__ = ["Counts", "InFlight", "Labels"]

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Attributes of a count, as pairs."""

_MAX_SERIES = 1_000
_OVERFLOW: Final[Labels] = (("otel.metric.overflow", "true"),)


class InFlight:
    """What is in flight on one stream; its owner sets the numbers, each export reads them."""

    __slots__ = ("__weakref__", "bytes", "labels", "rows")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.bytes = 0
        self.rows = 0


class Counts:
    """Sums and levels by instrument and labels; thread-safe.

    OpenTelemetry's observable instruments read them. They hold what was counted before a provider was installed, which
    OpenTelemetry's own counters do not.

    Invariant, under the one lock: each instrument has at most `_MAX_SERIES` series, and one more for all others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Instrument, dict[Labels, float]] = {instrument: {} for instrument in COUNTED}
        self._in_flight: WeakSet[InFlight] = WeakSet()

    def add(self, labels: Labels, *changes: tuple[Instrument, float]) -> None:
        """Add to some instruments, under the same labels."""
        with self._lock:
            for instrument, amount in changes:
                series = self._series[instrument]
                if labels in series:
                    series[labels] += amount
                elif len(series) < _MAX_SERIES:
                    series[labels] = amount
                else:
                    series[_OVERFLOW] = series.get(_OVERFLOW, 0) + amount

    def in_flight(self, labels: Labels) -> InFlight:
        """Return a new level, which counts for as long as its owner keeps it."""
        self.add(labels, (IN_FLIGHT_BYTES, 0), (IN_FLIGHT_ROWS, 0))
        level = InFlight(labels)
        with self._lock:
            self._in_flight.add(level)
        return level

    def read(self, instrument: Instrument) -> dict[Labels, float]:
        """Return an instrument's series."""
        with self._lock:
            series = dict(self._series[instrument])
            if instrument in (IN_FLIGHT_BYTES, IN_FLIGHT_ROWS):
                for level in self._in_flight:
                    labels = level.labels if level.labels in series else _OVERFLOW
                    series[labels] += level.bytes if instrument is IN_FLIGHT_BYTES else level.rows
            return series

    def observe(self, meter: Meter) -> None:
        """Let a meter read everything here whenever it exports."""
        for instrument in COUNTED:
            create = (
                meter.create_observable_counter if instrument.kind == "sum" else meter.create_observable_up_down_counter
            )
            create(
                instrument.name,
                callbacks=[partial(self._observations, instrument)],
                unit=instrument.unit,
                description=instrument.description,
            )

    def start_anew(self) -> None:
        """Forget everything, in a forked child: its parent has counted that."""
        self.__init__()  # type: ignore[misc]

    def _observations(self, instrument: Instrument, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for labels, value in self.read(instrument).items()]
