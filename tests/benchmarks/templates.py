"""What it costs to choose a table by a template, beside the same elements with the table's name, in one run.

    python -m tests.benchmarks.templates [--quick] [--cpu] [--check] [--json]

All send to one emulator in a process of its own, which counts rows and keeps none; all rows belong to one table.
What is compared takes turns, the first round does not count, and medians are compared.

`--check` exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

os.environ.setdefault("RUST_LOG", "off")

import apache_beam as beam
import pyarrow as pa

from beam_zerobus import WriteToZerobus
from beam_zerobus.writer.shared import close_all
from tests.benchmarks import sink_cases as cases
from tests.benchmarks.harness import Figure, Service, medians, report, run_pipeline, running_emulator

NAME = cases.TABLE.rpartition(".")[2]
TEMPLATE = "main.bench.{device}"
ROW = {"id": 17, "device": NAME, "temp": 21.5, "co2": 417, "ok": True}
TEXT = json.dumps(ROW)
_devices = pa.array([NAME] * cases.LARGE_BATCH.num_rows, cases.LARGE_BATCH.schema.field("device").type)
BATCH = cases.LARGE_BATCH.set_column(1, cases.LARGE_BATCH.schema.field("device"), _devices)


class MakeDicts(beam.DoFn):
    """Yields a dict for each row."""

    def process(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count * cases.BATCH_ROWS):
            yield dict(ROW)


class MakeTexts(beam.DoFn):
    """Yields a JSON object for each row."""

    def process(self, count: int) -> Iterator[str]:
        for _ in range(count * cases.BATCH_ROWS):
            yield TEXT


class MakeBatches(beam.DoFn):
    """Yields the same batch again and again, as many rows as `count` small batches have."""

    def process(self, count: int) -> Iterator[pa.RecordBatch]:
        for _ in range(count // 5):
            yield BATCH


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Benchmark templates.")
    parser.add_argument("--batches", type=int, default=200, help="batches of 10,000 single rows")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--quick", action="store_true", help="40 batches, 3 rounds")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--cpu", action="store_true", help="compare seconds of this process's CPU: for a busy machine")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    batches, rounds = (40, 3) if options.quick else (options.batches, options.rounds)
    with running_emulator() as service:
        figures = measure(service, batches, rounds, time.process_time if options.cpu else time.perf_counter)
        close_all()
    return report(figures, as_json=options.json, check=options.check)


def measure(service: Service, batches: int, rounds: int, clock: Callable[[], float]) -> list[Figure]:
    """Compare both for each kind of element."""
    dicts = beam.ParDo(MakeDicts()).with_output_types(dict[str, Any])
    texts = beam.ParDo(MakeTexts()).with_output_types(str)
    whole = beam.ParDo(MakeBatches()).with_output_types(pa.RecordBatch)
    # RecordBatches so many that the pipeline's start does not weigh.
    kinds = {
        "dicts, proto": (dicts, "proto", batches, 1.3),
        "JSON, proto": (texts, "proto", batches, 1.3),
        "RecordBatches, proto": (whole, "proto", batches * 10, 1.1),
        "RecordBatches, arrow": (whole, "arrow", batches * 40, 1.1),
    }
    candidates: dict[str, Callable[[], object]] = {}
    for kind, (make, wire_format, count, _) in kinds.items():
        for table in (cases.TABLE, TEMPLATE):
            sink = WriteToZerobus(table, schema=cases.DDL, wire_format=wire_format, **service.settings)  # type: ignore[arg-type]
            candidates[f"{kind}, {table}"] = partial(run_pipeline, make, count, sink)
    seconds = medians(candidates, rounds, clock)
    figures = []
    for kind, (_, _, count, target) in kinds.items():
        named, chosen = seconds[f"{kind}, {cases.TABLE}"], seconds[f"{kind}, {TEMPLATE}"]
        rows = count * cases.BATCH_ROWS
        note = f"{chosen / rows * 1e6:.3f} µs a row, {named / rows * 1e6:.3f} with a name"
        figures.append(
            Figure(name=f"{kind}: template / name", value=chosen / named, target=target, at_least=False, note=note)
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
