"""Batches over bundles, by Beam's own stateful batching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.typehints import typehints
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.options import Batching
from beam_zerobus.sink.elements import Windows

__all__ = ["CollectAcrossBundles"]


class CollectAcrossBundles(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Holds elements in the runner's state until a batch of them is there, then lets them through together.

    Streaming runners may end a bundle after a few elements, and each bundle would then be one small call. Here elements
    wait in state, under a key for each thread of a worker, until `max_rows` are there or `max_delay` has passed; they
    come out in one bundle, with the timestamps and windows they had. Each element is encoded into the state and decoded
    again, which costs some 20 µs, many times what the sink itself costs.

    Args:
        batching: Tells `max_rows` and `max_delay`.
    """

    def __init__(self, batching: Batching) -> None:
        super().__init__()
        self._batching = batching

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        """Remember where elements came in, collect them, and let them through."""
        element_type = elements.element_type
        remembered = elements | "Remember" >> beam.ParDo(_Remember()).with_output_types(
            typehints.Tuple[int, typehints.Tuple[element_type, int, Any]]
        )
        # As Beam's own Reshuffle does it. WindowInto would give an element once for each of its windows, and would
        # assign windows anew afterwards.
        remembered._windowing = Windowing(GlobalWindows())
        restored = (
            remembered
            | "Collect"
            >> beam.GroupIntoBatches.WithShardedKey(
                self._batching.max_rows, max_buffering_duration_secs=self._batching.max_delay
            )
            | "Restore" >> beam.ParDo(_Restore()).with_output_types(element_type)
        )
        restored._windowing = elements.windowing
        return restored


class _Remember(beam.DoFn):
    """Moves elements to the global window, each with its timestamp and windows."""

    def start_bundle(self) -> None:
        self._held: list[WindowedValue] = []

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any] | None:
        remembered = (0, (element, windowed.timestamp_micros, tuple(windowed.windows)))
        self._held.append(WindowedValue(remembered, windowed.timestamp, (GlobalWindow(),)))
        # Beam repeats the windows of whatever `process` emits as often as the element at hand has windows.
        return self._release() if len(windowed.windows) == 1 else None

    def finish_bundle(self) -> Iterable[Any]:
        return self._release()

    def _release(self) -> list[WindowedValue]:
        held, self._held = self._held, []
        return held


class _Restore(beam.DoFn):
    def process(self, batch: tuple[Any, Iterable[tuple[Any, int, Windows]]]) -> Iterator[Any]:
        for element, micros, windows in batch[1]:
            yield WindowedValue(element, Timestamp(micros=micros), windows)
