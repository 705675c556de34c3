"""The quickstart's pipeline: it writes flights to a Delta table and records each acknowledged batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_zerobus import WriteToZerobus
from pipelines.flights import block_of_flights, load_flights

__all__ = ["Acknowledgements", "acknowledged", "write_flights"]


@dataclass(slots=True)
class Acknowledgements:
    """The acknowledged batches; the pipeline's threads append, the progress bar reads."""

    rows: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)


# The pipeline runs in this process, so its threads and the progress bar share this object. `note` is a function of this
# module because Beam pickles such functions by name; a lambda would be pickled with a copy of the object.
acknowledged = Acknowledgements()


def note(row: Any) -> None:
    """Record one element of `WriteResult.acknowledged`."""
    acknowledged.bytes.append(row.bytes)
    acknowledged.latencies_ms.append(row.latency_ms)
    acknowledged.rows.append(row.rows)


def write_flights(sink: WriteToZerobus) -> None:
    """Run the pipeline: read the flights in blocks, write these RecordBatches, record the acknowledgements."""
    blocks = range(len(load_flights().to_batches()))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        result = (
            pipeline
            | "Blocks" >> beam.Create(blocks, reshuffle=False)
            | "Flights" >> beam.Map(block_of_flights)
            | "Write" >> sink
        )
        result.acknowledged | "Note" >> beam.Map(note)
