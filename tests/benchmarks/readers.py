"""What `beam-zerobus send` needs to read and convert good files, beside another version of the package.

    python -m tests.benchmarks.readers [--against DIR] [--rows N] [--rounds N]

A dry run, so no row is sent. Both versions run in processes of their own, in turn; each figure is the median of the
processor time of the rounds. `--against` is a checkout, such as a worktree of git.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

ROOT = Path(__file__).parents[2]
COLUMNS = "id BIGINT NOT NULL, name STRING, co2 INT, temperature DOUBLE, at TIMESTAMP"


def write_files(directory: Path, rows: int) -> None:
    """Write the same rows in each format."""
    numbers = range(rows)
    columns = {
        "id": pa.array(numbers),
        "name": pa.array([f"attic number {number}" for number in numbers]),
        "co2": pa.array([number % 1_000 for number in numbers], pa.int32()),
        "temperature": pa.array([number / 8 for number in numbers]),
        "at": pa.array([1_700_000_000_000_000 + number for number in numbers], pa.timestamp("us", "UTC")),
    }
    table = pa.table(columns)
    parquet.write_table(table, directory / "in.parquet", row_group_size=50_000)
    csv.write_csv(table, directory / "plain.csv", csv.WriteOptions(quoting_style="none"))
    csv.write_csv(table, directory / "quoted.csv", csv.WriteOptions(quoting_style="all_valid"))
    broken = pa.array([f"attic\nnumber {number}" for number in numbers])
    csv.write_csv(table.set_column(1, "name", broken), directory / "quoted line ends.csv")
    lines = (
        f'{{"id": {number}, "name": "attic number {number}", "co2": {number % 1_000}, "temperature": {number / 8}, '
        f'"at": "2026-01-01T00:00:00.{number % 1_000_000:06}Z"}}\n'
        for number in numbers
    )
    (directory / "in.jsonl").write_text("".join(lines))


def measure(directory: Path) -> dict[str, float]:
    """Return the processor time that each file takes, after a run that warms up."""
    from beam_zerobus.programs import files_to_zerobus  # of the version that is measured

    seconds = {}
    for path in sorted(directory.iterdir()):
        arguments = ["--input", str(path), "--zerobus_table=main.bench.readings", "--zerobus_dry_run"]
        for _ in range(2):
            started = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                assert files_to_zerobus.main([*arguments, f"--zerobus_schema={COLUMNS}"]) == 0
            seconds[path.name] = time.process_time() - started
    return seconds


def run(directory: Path, version: Path) -> dict[str, float]:
    """Measure a version in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(version)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="DIR")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure is not None:
        json.dump(measure(chosen.measure), sys.stdout)
        return
    versions = [ROOT] if chosen.against is None else [ROOT, chosen.against.resolve()]
    measured: dict[Path, list[dict[str, float]]] = {version: [] for version in versions}
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory), chosen.rows)
        for number in range(chosen.rounds):
            for version in versions if number % 2 else versions[::-1]:
                measured[version].append(run(Path(directory), version))
    for name in measured[ROOT][0]:
        own, *other = (statistics.median(times[name] for times in measured[version]) for version in versions)
        beside = f", times the other version {own / other[0]:.2f}" if other else ""
        print(f"{name:<22}{own * 1e6 / chosen.rows:.2f} µs of processor time a row{beside}")


if __name__ == "__main__":
    main()
