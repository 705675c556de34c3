"""What telemetry costs a writer, as ratios in one run.

    python -m tests.benchmarks.telemetry [--flights] [--seconds 150] [--only NAME ...] [--check] [--json]

One writer after the other sends the same bundle to the local Zerobus, a million rows that end with a flush of
telemetry, as Beam's bundles do. Before and after each stands a writer whose recorder does nothing at all, and with the
mean of these two neighbours it is compared. A ratio is the median of the comparisons, with the interval that holds the
true median in 19 of 20 runs: run it longer where that is too wide.
The first line compares nothing with nothing: what it shows is the machine's.

Rows have five columns, or with --flights the nineteen of the quickstart's flights: what telemetry costs is the same for
each batch, however long that takes.

- throughput: how fast rows are acknowledged, flushes included;
- CPU: the same ratio of the processor time that the whole sending process takes, exporting threads included, also
  what they do after the last row.

`--check` exits with 1 where the median of throughput misses its target.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

import beam_zerobus.writer.state
from beam_zerobus import OAuthClientCredentials, Telemetry, ZerobusWriter
from beam_zerobus.telemetry import InFlight
from pipelines.flights import COLUMNS, load_flights
from tests.benchmarks.paired import between_neighbours, median_interval

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, device STRING, temp DOUBLE, co2 INT, at TIMESTAMP"
CONTROL = "nothing again"
UNSET, SET, FAULTY = 0.98, 0.95, 0.95  # the targets

EMULATOR = """
import sys
from beam_zerobus.emulator import Emulator

with Emulator(discard=True) as emulator:
    emulator.create_table(sys.argv[1], sys.argv[2])
    print(emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret, flush=True)
    sys.stdin.read()
"""

# Receivers that look at nothing: what a collector does with its own time is not what is measured.
RECEIVERS = """
import sys
from contextlib import ExitStack
from tests.telemetry.receiver import Receiver

class Blind(Receiver):
    def take(self, request, headers):
        pass

with ExitStack() as open_:
    for kind in sys.argv[1:]:
        print(open_.enter_context(Blind(*kind.split(","))).endpoint, end=" ")
    print(flush=True)
    sys.stdin.read()
"""


@dataclass(slots=True)
class Kind:
    """A kind of writer, its target for throughput, and what was measured: ratios, and rows a second."""

    name: str
    target: float | None
    writer: ZerobusWriter
    throughput: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)

    def add(self, before: tuple[float, float], own: tuple[float, float], after: tuple[float, float]) -> None:
        """Add a measurement, and those of the writer that this one is compared with."""
        for ratios, time_before, time_own, time_after in zip(
            (self.throughput, self.cpu), before, own, after, strict=True
        ):
            ratios.append((time_before + time_after) / 2 / time_own)
        self.speed.append(1 / own[0])


class NoRecorder:
    """Does nothing, as nothing that could be unset does less: what the others are measured by."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    def batch(self, *_: object) -> NoRecorder:
        return self

    def encoding(self) -> contextlib.AbstractContextManager[None]:
        return _NOTHING

    sending = encoding

    def in_flight(self) -> InFlight:
        return InFlight(())

    def _nothing(self, *_: object, **__: object) -> None:
        pass


_NOTHING = contextlib.nullcontext()


def main() -> int:
    """Run the benchmark."""
    options = _arguments()
    logging.getLogger("beam_zerobus").setLevel(logging.ERROR)  # receivers that fail are meant to
    ddl, make_sample = (COLUMNS, some_flights) if options.flights else (DDL, sample)
    batch = make_sample(options.rows)
    with ExitStack() as open_:
        base, kinds = _open_writers(open_, ddl, options.only)

        def measure(writer: ZerobusWriter) -> tuple[float, float]:
            return run(writer, batch, options.batches)

        for writer in (base, *(kind.writer for kind in kinds)):
            measure(writer)
        by_name = {kind.name: kind for kind in kinds}
        measures = {kind.name: partial(measure, kind.writer) for kind in kinds}
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline:
            for name, before, own, after in between_neighbours(partial(measure, base), measures):
                by_name[name].add(before, own, after)
        rows = options.rows * options.batches
        results = [_result(kind, rows) for kind in kinds]
    missed = [result["name"] for result in results if result["missed"]]
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "pyarrow": pa.__version__}
        print(json.dumps({"machine": machine, "results": results, "missed": missed}, indent=2))
    else:
        Console().print(_table(results, options))
    return 1 if options.check and missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a batch")
    parser.add_argument("--flights", action="store_true", help="send the quickstart's flights, of 19 columns")
    parser.add_argument("--batches", type=int, default=100, help="batches of a bundle")
    parser.add_argument("--seconds", type=float, default=150, help="how long to measure, all kinds together")
    parser.add_argument("--only", nargs="*", default=[], help="kinds with this in their name")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _open_writers(open_: ExitStack, ddl: str, only: list[str]) -> tuple[ZerobusWriter, list[Kind]]:
    """Start the servers and return the writer that all are compared with, and the kinds."""
    endpoint, workspace_url, client_id, client_secret = open_.enter_context(server(EMULATOR, TABLE, ddl))
    receivers = (
        "grpc",
        "http/protobuf",
        "grpc,hang",
        "grpc,unavailable",
        "http/protobuf,unauthenticated",
        "grpc,close",
    )
    grpc, http, hangs, unavailable, unauthenticated, closes = open_.enter_context(server(RECEIVERS, *receivers))

    def make(telemetry: Telemetry | None = None) -> ZerobusWriter:
        return open_.enter_context(
            ZerobusWriter(
                TABLE,
                endpoint=endpoint,
                workspace_url=workspace_url,
                credentials=OAuthClientCredentials(client_id=client_id, client_secret=client_secret),
                schema=ddl,
                telemetry=telemetry,
            )
        )

    settings = {
        "unset": (UNSET, None),
        "files": (SET, Telemetry(output_dir=open_.enter_context(tempfile.TemporaryDirectory()))),
        "OTLP/gRPC": (SET, Telemetry(endpoint=grpc)),
        "OTLP/HTTP": (SET, Telemetry(endpoint=http, protocol="http/protobuf")),
        "absent": (FAULTY, Telemetry(endpoint="http://127.0.0.1:9")),
        "hangs": (FAULTY, Telemetry(endpoint=hangs)),
        "rejects (UNAVAILABLE)": (FAULTY, Telemetry(endpoint=unavailable)),
        "rejects (401)": (FAULTY, Telemetry(endpoint=unauthenticated, protocol="http/protobuf")),
        "closes mid-way": (FAULTY, Telemetry(endpoint=closes)),
    }
    kinds = [Kind(CONTROL, None, without_recorder(make))]
    for name, (target, telemetry) in settings.items():
        if not only or any(word in name for word in only):
            kinds.append(Kind(name, target, make(telemetry)))
    return without_recorder(make), kinds


@contextlib.contextmanager
def server(script: str, *arguments: str) -> Iterator[list[str]]:
    """Run a server in a process of its own, as in life; yield the words that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def without_recorder(make: Callable[[], ZerobusWriter]) -> ZerobusWriter:
    """Make a writer whose recorder does nothing."""
    real = beam_zerobus.writer.state.open_recorder
    beam_zerobus.writer.state.open_recorder = lambda *_, **__: NoRecorder()  # type: ignore[assignment,return-value]
    try:
        return make()
    finally:
        beam_zerobus.writer.state.open_recorder = real


def sample(rows: int) -> pa.RecordBatch:
    """Make a batch, the same at each call."""
    chance = random.Random(1)
    return pa.record_batch(
        {
            "id": pa.array(range(rows), pa.int64()),
            "device": pa.array([f"device-{chance.randrange(1000)}" for _ in range(rows)]),
            "temp": pa.array([chance.gauss(20, 5) for _ in range(rows)]),
            "co2": pa.array([chance.randrange(400, 2000) for _ in range(rows)], pa.int32()),
            "at": pa.array([1_700_000_000_000_000 + n for n in range(rows)], pa.timestamp("us", "UTC")),
        }
    )


def some_flights(rows: int) -> pa.RecordBatch:
    """Return the first flights."""
    return pa.concat_batches(load_flights().slice(0, rows).to_batches())


def run(writer: ZerobusWriter, batch: pa.RecordBatch, batches: int) -> tuple[float, float]:
    """Send a bundle; return the seconds it took, and the seconds of CPU, also of what goes on afterwards."""
    cpu, started = time.process_time(), time.perf_counter()
    for submission in [writer.submit(batch) for _ in range(batches)]:
        submission.result(60)
    writer.flush_telemetry()
    took = time.perf_counter() - started
    _await_rest()
    return took, time.process_time() - cpu


def _await_rest() -> None:
    """Wait until other threads have done their work, so that it does not trouble the next writer."""
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.0005:
            return


def _result(kind: Kind, rows: int) -> dict[str, Any]:
    throughput = statistics.median(kind.throughput)
    return {
        "name": kind.name,
        "rounds": len(kind.speed),
        "rows_per_second": round(statistics.median(kind.speed) * rows),
        "throughput": round(throughput, 3),
        "throughput_interval": [round(bound, 3) for bound in median_interval(kind.throughput)],
        "cpu": round(statistics.median(kind.cpu), 3),
        "cpu_interval": [round(bound, 3) for bound in median_interval(kind.cpu)],
        "target": kind.target,
        "missed": kind.target is not None and not throughput >= kind.target,
    }


def _table(results: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    table = Table(title=f"With telemetry over without, batches of {options.rows:,} rows, {results[0]['rounds']} rounds")
    table.add_column("telemetry")
    for heading in ("M rows/s", "target", "throughput", "CPU"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result["name"],
            f"{result['rows_per_second'] / 1e6:.2f}",
            "" if result["target"] is None else f"{result['target']:.2f}",
            *(
                "{:.3f} ({:.3f}-{:.3f})".format(result[figure], *result[f"{figure}_interval"])
                for figure in ("throughput", "cpu")
            ),
            style="red" if result["missed"] else "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
