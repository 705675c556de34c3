"""`Durations`: histograms that cost a microsecond a value, for providers of our own."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint, Metric

from beam_zerobus.telemetry.counts import Labels
from beam_zerobus.telemetry.instruments import BOUNDARIES, DURATIONS, Instrument

__all__ = ["Durations"]


@dataclass(slots=True)
class _Series:
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDARIES) + 1))
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf


class Durations:
    """Histograms by duration and labels, cumulative since this was made; thread-safe, under one lock.

    Labels are those of writers, a few in a process, so nothing bounds their number.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = time.time_ns()
        self._series: dict[tuple[Instrument, Labels], _Series] = {}

    def record(self, duration: Instrument, seconds: float, labels: Labels) -> None:
        """Add a value."""
        with self._lock:
            series = self._series.get((duration, labels))
            if series is None:
                series = self._series[duration, labels] = _Series()
            series.buckets[bisect_left(BOUNDARIES, seconds)] += 1
            series.total += seconds
            series.least = min(series.least, seconds)
            series.most = max(series.most, seconds)

    def metrics(self) -> list[Metric]:
        """Return the histograms as exporters want them."""
        now = time.time_ns()
        with self._lock:
            points = [
                (duration, self._point(series, labels, now)) for (duration, labels), series in self._series.items()
            ]
        return [
            Metric(
                name=duration.name,
                description=duration.description,
                unit=duration.unit,
                data=Histogram(
                    data_points=[point for owner, point in points if owner is duration],
                    aggregation_temporality=AggregationTemporality.CUMULATIVE,
                ),
            )
            for duration in DURATIONS
            if any(owner is duration for owner, _ in points)
        ]

    def _point(self, series: _Series, labels: Labels, now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=sum(series.buckets),
            sum=series.total,
            bucket_counts=tuple(series.buckets),
            explicit_bounds=BOUNDARIES,
            min=series.least,
            max=series.most,
        )
