"""What the benchmarks share: an emulator in a process of its own, medians, and the report."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RUST_LOG", "off")

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from beam_zerobus import OAuthClientCredentials
from tests.benchmarks import sink_cases as cases

EMULATOR = """
import sys
from beam_zerobus.emulator import Emulator

with Emulator(discard=True) as emulator:
    emulator.create_table(sys.argv[1], sys.argv[2])
    print(emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The emulator."""

    endpoint: str
    workspace_url: str
    client_id: str
    client_secret: str

    @property
    def settings(self) -> dict[str, Any]:
        credentials = OAuthClientCredentials(client_id=self.client_id, client_secret=self.client_secret)
        return {"endpoint": self.endpoint, "workspace_url": self.workspace_url, "credentials": credentials}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured ratio or time, and what it has to reach."""

    name: str
    value: float
    target: float
    at_least: bool
    unit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


@contextmanager
def running_emulator(table: str = cases.TABLE, columns: str = cases.DDL) -> Iterator[Service]:
    """Run the emulator with a table in a process of its own."""
    command = [sys.executable, "-c", EMULATOR, table, columns]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint, workspace_url, client_id, client_secret = process.stdout.readline().split()
        try:
            yield Service(
                endpoint=endpoint, workspace_url=workspace_url, client_id=client_id, client_secret=client_secret
            )
        finally:
            process.communicate()


def medians(
    candidates: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median seconds of each; they take turns, in an order that changes, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = clock()
            candidates[name]()
            if number:
                seconds[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def run_pipeline(make: Any, count: int, sink: Any) -> None:
    """Run a pipeline of one bundle that makes `count` batches' worth of elements."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([count], reshuffle=False) | "Make" >> make | "Sink" >> sink


def report(figures: list[Figure], *, as_json: bool, check: bool) -> int:
    """Print figures, and the machine they are from; return the status to exit with."""
    console = Console(stderr=as_json)
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"Beam {beam.__version__}, pyarrow {pa.__version__}"
    )
    console.print(table_of(figures))
    console.print(machine)
    if as_json:
        results = [{"name": f.name, "value": f.value, "target": f.target, "unit": f.unit} for f in figures]
        json.dump({"machine": machine, "figures": results}, sys.stdout, indent=1)
    return 1 if check and not all(figure.reached for figure in figures) else 0


def table_of(figures: list[Figure]) -> Table:
    """Return figures as a table that fits 80 columns, each with its note below it."""
    table = Table("what", "measured", "target", box=None, padding=(0, 2, 0, 0))
    for figure in figures:
        colour = "green" if figure.reached else "red"
        target = f"{'at least' if figure.at_least else 'at most'} {figure.target:g} {figure.unit}"
        table.add_row(figure.name, f"[{colour}]{figure.value:.2f} {figure.unit}", target)
        if figure.note:
            table.add_row(Padding(f"[dim]{figure.note}", (0, 0, 0, 2)))
    return table
