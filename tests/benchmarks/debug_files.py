"""The cost of debug files in the sink, as a ratio of one run.

    python -m tests.benchmarks.debug_files [--batches 1200] [--rounds 20] [--dir DIR] [--check] [--json]

RecordBatch elements of 50,000 rows go through `WriteToZerobus`, as in ``tests.benchmarks.sink``: with debug files on
(both formats), and off once more, which shows how far apart two equal runs are, each between two runs with debug files
off. A ratio is the median of the comparisons, with the interval that holds the true median in 19 of 20 runs.
`--check` exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
from collections.abc import Callable

import apache_beam as beam
import pyarrow as pa

from beam_zerobus import DebugFiles, WriteToZerobus
from beam_zerobus.writer.shared import close_all
from tests.benchmarks import sink_cases as cases
from tests.benchmarks.harness import Figure, Service, report, run_pipeline, running_emulator
from tests.benchmarks.paired import median_interval, paired_ratios


def main() -> int:
    """Run the benchmark."""
    options = _arguments()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=options.dir) as directory, running_emulator() as service:
        ratios, seconds = paired_ratios(
            sink(service, options.batches, None),
            {
                "on": sink(service, options.batches, DebugFiles(output_dir=directory)),
                "off again": sink(service, options.batches, None),
            },
            options.rounds,
        )
        close_all()
    rows = options.batches * cases.BATCH_ROWS
    figures = [
        Figure(
            name=f"debug files {name} / off",
            value=statistics.median(ratios[name]),
            target=target,
            at_least=True,
            note="{:.3f} to {:.3f}; off {:.1f} M rows/s".format(
                *median_interval(ratios[name]), rows / statistics.median(seconds) / 1e6
            ),
        )
        for name, target in (("on", 0.85), ("off again", 0.95))
    ]
    return report(figures, as_json=options.json, check=options.check)


def sink(service: Service, batches: int, debug_files: DebugFiles | None) -> Callable[[], None]:
    """Return a run of the pipeline."""
    write = WriteToZerobus(cases.TABLE, schema=cases.DDL, debug_files=debug_files, **service.settings)
    make = beam.ParDo(cases.MakeBatches()).with_output_types(pa.RecordBatch)
    return lambda: run_pipeline(make, batches, write)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark debug files.")
    parser.add_argument("--batches", type=int, default=1200, help="batches of 10,000 rows in a pipeline")
    parser.add_argument("--rounds", type=int, default=20, help="rounds that count")
    parser.add_argument("--dir", help="where the files go, instead of the system's temporary directory")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
