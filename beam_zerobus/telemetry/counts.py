"""`Counts`: what has been counted in this process, as plain numbers that OpenTelemetry reads when it exports."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Final, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from beam_zerobus.telemetry.instruments import COUNTED, Instrument

__all__ = ["Counts", "Labels"]

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Attributes of a count, as pairs."""

_MAX_SERIES = 1_000
_OVERFLOW: Final[Labels] = (("otel.metric.overflow", "true"),)


class Counts:
    """Sums and levels by instrument and labels; thread-safe.

    OpenTelemetry's own counters cost seven microseconds an addition, these less than one, and they hold what was
    counted before a provider was installed.

    Invariant, under the one lock: each instrument has at most `_MAX_SERIES` series, and one more for all others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Instrument, dict[Labels, float]] = {instrument: {} for instrument in COUNTED}

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

    def read(self, instrument: Instrument) -> dict[Labels, float]:
        """Return an instrument's series."""
        with self._lock:
            return dict(self._series[instrument])

    def observe(self, meter: Meter) -> None:
        """Let a meter read everything from here whenever it exports."""
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
