"""What `Batching(across_bundles=True)` costs for each row, beside the same pipeline without it, in one run.

    python -m tests.benchmarks.across_bundles [--rows 100000] [--rounds 5]

A dry run, so that what is compared is Beam's work and the sink's, and no network. The two take turns, the first round
does not count, and medians are compared.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_zerobus import Batching, WriteToZerobus

COLUMNS = "id BIGINT NOT NULL, name STRING, value DOUBLE"


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"id": number, "name": f"row {number}", "value": number / 8}


def seconds(count: int, batching: Batching) -> float:
    sink = WriteToZerobus("main.iot.air", schema=COLUMNS, batching=batching, dry_run=True)
    began = time.perf_counter()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | beam.Create([count], reshuffle=False) | beam.FlatMap(rows) | sink
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    kinds = {"within bundles": Batching(), "across bundles": Batching(max_delay=1.0, across_bundles=True)}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(1 + options.rounds):
        for kind, batching in kinds.items():
            times[kind].append(seconds(options.rows, batching))
    medians = {kind: statistics.median(measured[1:]) for kind, measured in times.items()}
    for kind, median in medians.items():
        print(f"{kind:<16}{median / options.rows * 1e6:6.1f} us a row")
    print(f"{'ratio':<16}{medians['across bundles'] / medians['within bundles']:6.1f}")


if __name__ == "__main__":
    main()
