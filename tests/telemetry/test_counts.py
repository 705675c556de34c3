"""Sums and levels, as a meter provider reads them."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.instruments import IN_FLIGHT_ROWS, ROWS


def points(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    """Return the values of a metric by the attribute ``table``, or ``"other"`` for all series without one."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        str((point.attributes or {}).get("table", "other")): point.value
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }


def test_a_provider_reads_what_was_counted_before_it() -> None:
    counts, reader = Counts(), InMemoryMetricReader()
    counts.add((("table", "a"),), (ROWS, 2))
    counts.observe(MeterProvider([reader]).get_meter("test"))
    counts.add((("table", "a"),), (ROWS, 3))
    counts.add((("table", "b"),), (ROWS, 1))
    assert points(reader, ROWS.name) == {"a": 5, "b": 1}


def test_series_are_bounded_and_nothing_is_lost() -> None:
    counts = Counts()
    for number in range(1_500):
        counts.add((("table", str(number)),), (ROWS, 2))
    series = counts.read(ROWS)
    assert len(series) == 1_001
    assert sum(series.values()) == 3_000


def test_a_level_counts_for_as_long_as_its_stream_lives() -> None:
    counts = Counts()
    level = counts.in_flight((("table", "a"),))
    level.rows = 7
    assert sum(counts.read(IN_FLIGHT_ROWS).values()) == 7
    del level
    assert counts.read(IN_FLIGHT_ROWS) == {(("table", "a"),): 0}
