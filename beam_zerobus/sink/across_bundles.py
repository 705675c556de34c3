"""Batches across bundles, by Beam's own stateful batching."""

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
    """Holds elements in the runner's state until there are enough for a batch, then emits them together.

    Streaming runners may end a bundle after a few elements, and each bundle would then be one small call. Here elements
    wait in state, under a key for each thread of a worker, until there are `max_rows` or `max_delay` has passed. They
    are emitted in one bundle, with their original timestamps and windows. Each element is encoded into the state and
    decoded again, which costs some 20 µs, many times what the sink itself costs.

    Args:
        batching: Has `max_rows` and `max_delay`.
    """

    def __init__(self, batching: Batching) -> None:
        super().__init__()
        self._batching = batching

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        """Add timestamp and windows to each element, collect, and restore them."""
        element_type = elements.element_type
        return (
            elements
            | "Remember"
            >> _ParDoInto(_Remember(), Windowing(GlobalWindows())).with_output_types(
                typehints.Tuple[int, typehints.Tuple[element_type, int, Any]]
            )
            | "Collect"
            >> beam.GroupIntoBatches.WithShardedKey(
                self._batching.max_rows, max_buffering_duration_secs=self._batching.max_delay
            )
            | "Restore" >> _ParDoInto(_Restore(), elements.windowing).with_output_types(element_type)
        )


class _ParDoInto(beam.ParDo):
    """A ParDo with another windowing for its output; its DoFn puts each element into its windows.

    WindowInto would emit an element once for each of its windows, and would assign new windows afterwards.
    """

    def __init__(self, dofn: beam.DoFn, windowing: Windowing) -> None:
        super().__init__(dofn)
        self._output_windowing = windowing

    def get_windowing(self, inputs: Any) -> Windowing:  # noqa: ARG002 - Beam's own signature
        """Return the windowing of the output."""
        return self._output_windowing


class _Remember(beam.DoFn):
    """Moves elements to the global window, each with its timestamp and windows."""

    def start_bundle(self) -> None:
        self._held: list[WindowedValue] = []

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any] | None:
        remembered = (0, (element, windowed.timestamp_micros, tuple(windowed.windows)))
        self._held.append(WindowedValue(remembered, windowed.timestamp, (GlobalWindow(),)))
        # Beam repeats the windows of whatever `process` emits as often as the current element has windows.
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
