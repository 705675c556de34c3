"""How fast the emulator makes rows durable: the quickstart's flights through `ZerobusWriter` into a Delta table.

    python -m tests.benchmarks.emulator [--rounds 5] [--rows 20000] [--only proto] [--keep memory] [--base DIRECTORY]
                                        [--check] [--json]

The emulator is a process of its own. A round sends all 336,776 flights to a new table over a new stream, and ends when
the last one is acknowledged. The first round does not count; medians are shown, and the processor time of the
emulator's process.

`--base` is a checkout of another version, whose emulator takes turns with this one. `--keep` is where rows are kept:
`delta`, `memory` or `discard`.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("RUST_LOG", "off")

from beam_zerobus import ZerobusWriter
from pipelines.flights import COLUMNS, load_flights
from tests.benchmarks.harness import Figure, Service, report

ROOT = Path(__file__).parents[2]
DURABLE = 400_000
# Makes a table for each line with a name; answers each line with the table's rows and the processor time so far.
EMULATOR = """
import sys, time
from beam_zerobus.emulator import Emulator

with Emulator(**({} if sys.argv[1] == "delta" else {sys.argv[1]: True})) as emulator:
    print(emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret, flush=True)
    for line in sys.stdin:
        if line.strip():
            table = emulator.create_table(line.strip(), sys.argv[2])
        print(table.count_rows(), time.process_time(), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Running:
    """An emulator in a process of its own."""

    process: subprocess.Popen[str]
    service: Service

    def say(self, line: str) -> tuple[int, float]:
        """Say a line; return the rows of the last table, and the processor time of the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        rows, used = self.process.stdout.readline().split()
        return int(rows), float(used)


@contextmanager
def running(code: Path, keep: str) -> Iterator[Running]:
    """Run the emulator of a checkout."""
    command = [sys.executable, "-c", EMULATOR, keep, COLUMNS]
    environment = os.environ | {"PYTHONPATH": str(code)}
    with subprocess.Popen(
        command, cwd=code, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        endpoint, workspace_url, client_id, client_secret = process.stdout.readline().split()
        service = Service(
            endpoint=endpoint, workspace_url=workspace_url, client_id=client_id, client_secret=client_secret
        )
        try:
            yield Running(process, service)
        finally:
            process.communicate()


def send(emulator: Running, table: str, wire_format: str, rows: int) -> tuple[float, float]:
    """Send all flights in batches; return the seconds until all are acknowledged, and the emulator's processor time."""
    batches = load_flights().to_batches(max_chunksize=rows)
    _, before = emulator.say(table)
    started = time.perf_counter()
    with ZerobusWriter(table, wire_format=wire_format, **emulator.service.settings) as writer:
        for submission in [writer.submit(batch) for batch in batches]:
            assert submission.result().successful_count
    seconds = time.perf_counter() - started
    stored, after = emulator.say("")
    assert stored == load_flights().num_rows
    return seconds, after - before


def measure(emulators: dict[str, Running], wire_format: str, rounds: int, rows: int) -> list[Figure]:
    """Let the emulators take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in emulators}
    for number in range(rounds + 1):
        for name, emulator in emulators.items():
            times = send(emulator, f"main.bench.{wire_format}_{number}", wire_format, rows)
            if number:
                taken[name].append(times)
    flights = load_flights().num_rows
    figures = []
    for name, times in taken.items():
        seconds, used = (statistics.median(column) for column in zip(*times, strict=True))
        figures.append(
            Figure(
                name=f"{wire_format}{name}",
                value=flights / seconds,
                target=DURABLE,
                at_least=True,
                unit="rows/s",
                note=f"the emulator's processor time: {used / flights * 1e6:.2f} s a million rows",
            )
        )
    return figures


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Benchmark the emulator.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of a batch (%(default)s)")
    parser.add_argument("--only", choices=["proto", "arrow", "json"], help="one wire format")
    parser.add_argument("--keep", choices=["delta", "memory", "discard"], default="delta", help="(%(default)s)")
    parser.add_argument("--base", type=Path, help="a checkout of another version")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with running(ROOT, options.keep) as emulator, running(options.base or ROOT, options.keep) as base:
        emulators = {"": emulator} | ({", base": base} if options.base else {})
        figures = [
            figure
            for wire_format in ([options.only] if options.only else ["proto", "arrow"])
            for figure in measure(emulators, wire_format, options.rounds, options.rows)
        ]
    return report(figures, as_json=options.json, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
