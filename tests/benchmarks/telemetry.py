"""What telemetry costs a writer: at full loopback speed as a ratio, at the service's own limit as a share of a core.

    python -m tests.benchmarks.telemetry [--flights] [--seconds 150] [--only NAME ...] [--check] [--json]

One writer after the other sends the same bundle to the emulator, which ends with a flush of telemetry, as Beam's
bundles do. Before and after each runs a writer whose recorder does nothing at all, and the mean of these two neighbours
is what it is compared with. A figure is the median of the comparisons, with the interval that holds the true median in
19 of 20 runs: run it longer where that is too wide. The first line compares nothing with nothing: it shows the noise of
the machine.

- throughput, at full speed: how fast rows are acknowledged, flushes included, with telemetry over without. Target:
  0.85;
- core, at 100,000 rows/s on a stream in batches of 10,000 rows: the processor time that telemetry adds, threads that
  export included, over the time that has passed. Target over OTLP: 0.01.

A third of the time goes to the throughput, the rest to the core, whose runs are longer. Rows have five columns, or with
--flights the nineteen of the quickstart's flights.

`--check` exits with 1 where a median misses its target.
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
from typing import Any, TypeAlias

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
MIN_THROUGHPUT = 0.85  # of a writer without telemetry, at full speed
MAX_CORE = 0.01  # of one core, at the service's limit
ROWS_PER_SECOND = 100_000  # the limit of a stream
PACED_BATCHES = 20  # of a bundle at that limit

EMULATOR = """
import sys
from beam_zerobus.emulator import Emulator

with Emulator(discard=True) as emulator:
    emulator.create_table(sys.argv[1], sys.argv[2])
    print(emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret, flush=True)
    sys.stdin.read()
"""

# Receivers that read nothing: the time of a collector is not what is measured.
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
    """A kind of writer and what was measured: ratios, shares of a core, and rows a second."""

    name: str
    writer: ZerobusWriter
    throughput: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds that a bundle took, and seconds of CPU, those spent afterwards included."""

    seconds: float
    cpu: float


class NoRecorder:
    """Does nothing: what the others are compared with."""

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
    logging.getLogger("beam_zerobus").setLevel(logging.ERROR)  # some receivers fail on purpose
    ddl, make_sample = (COLUMNS, some_flights) if options.flights else (DDL, sample)
    batch = make_sample(options.rows)
    with ExitStack() as open_:
        base, kinds = _open_writers(open_, ddl, options.only)

        _measure_throughput(base, kinds, partial(run, batch=batch, batches=options.batches), options.seconds / 3)
        paced = partial(run, batch=batch, batches=PACED_BATCHES, pace=options.rows / ROWS_PER_SECOND)
        _measure_core(base, kinds, paced, options.seconds * 2 / 3)
        results = [_result(kind, options.rows * options.batches) for kind in kinds]
    missed = [result["name"] for result in results if result["missed"]]
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "pyarrow": pa.__version__}
        print(json.dumps({"machine": machine, "results": results, "missed": missed}, indent=2))
    else:
        Console().print(table_of(results, options))
    return 1 if options.check and missed else 0


Run: TypeAlias = "Callable[[ZerobusWriter], Measured]"


def _measure_throughput(base: ZerobusWriter, kinds: list[Kind], send: Run, seconds: float) -> None:
    for kind, before, own, after in _rounds(base, kinds, send, seconds):
        kind.throughput.append((before.seconds + after.seconds) / 2 / own.seconds)
        kind.speed.append(1 / own.seconds)


def _measure_core(base: ZerobusWriter, kinds: list[Kind], send: Run, seconds: float) -> None:
    for kind, before, own, after in _rounds(base, kinds, send, seconds):
        kind.core.append((own.cpu - (before.cpu + after.cpu) / 2) / own.seconds)


def _rounds(
    base: ZerobusWriter, kinds: list[Kind], send: Run, seconds: float
) -> Iterator[tuple[Kind, Measured, Measured, Measured]]:
    """Measure each kind once a round, between two runs of `base`, until the time is over; after a run to warm up."""
    for writer in (base, *(kind.writer for kind in kinds)):
        send(writer)
    by_name = {kind.name: kind for kind in kinds}
    measures = {kind.name: partial(send, kind.writer) for kind in kinds}
    deadline = time.monotonic() + seconds
    while True:
        for name, before, own, after in between_neighbours(partial(send, base), measures):
            yield by_name[name], before, own, after
        if time.monotonic() >= deadline:
            return


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
        "unset": None,
        "files": Telemetry(output_dir=open_.enter_context(tempfile.TemporaryDirectory())),
        "OTLP/gRPC": Telemetry(endpoint=grpc),
        "OTLP/HTTP": Telemetry(endpoint=http, protocol="http/protobuf"),
        "absent": Telemetry(endpoint="http://127.0.0.1:9"),
        "hangs": Telemetry(endpoint=hangs),
        "rejects (UNAVAILABLE)": Telemetry(endpoint=unavailable),
        "rejects (401)": Telemetry(endpoint=unauthenticated, protocol="http/protobuf"),
        "closes mid-way": Telemetry(endpoint=closes),
    }
    kinds = [Kind(CONTROL, without_recorder(make))]
    for name, telemetry in settings.items():
        if not only or any(word in name for word in only):
            kinds.append(Kind(name, make(telemetry)))
    return without_recorder(make), kinds


@contextlib.contextmanager
def server(script: str, *arguments: str) -> Iterator[list[str]]:
    """Run a server in a process of its own; yield the words that it prints."""
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


def run(writer: ZerobusWriter, *, batch: pa.RecordBatch, batches: int, pace: float = 0.0) -> Measured:
    """Send a bundle, one batch every `pace` seconds; measure it and what goes on afterwards."""
    cpu, started = time.process_time(), time.perf_counter()
    submissions = []
    for number in range(batches):
        time.sleep(max(0.0, started + number * pace - time.perf_counter()))
        submissions.append(writer.submit(batch))
    for submission in submissions:
        submission.result(60)
    writer.flush_telemetry()
    seconds = time.perf_counter() - started
    _await_rest()
    return Measured(seconds=seconds, cpu=time.process_time() - cpu)


def _await_rest() -> None:
    """Wait until other threads have done their work, so that it does not slow the next writer."""
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.0005:
            return


def _result(kind: Kind, rows: int) -> dict[str, Any]:
    throughput, core = statistics.median(kind.throughput), statistics.median(kind.core)
    has_target = kind.name != CONTROL
    too_slow = throughput < MIN_THROUGHPUT
    too_costly = kind.name.startswith("OTLP") and core > MAX_CORE
    return {
        "name": kind.name,
        "rounds": len(kind.throughput),
        "paced_rounds": len(kind.core),
        "rows_per_second": round(statistics.median(kind.speed) * rows),
        "throughput": round(throughput, 3),
        "throughput_interval": [round(bound, 3) for bound in median_interval(kind.throughput)],
        "core": round(core, 4),
        "core_interval": [round(bound, 4) for bound in median_interval(kind.core)],
        "missed": has_target and (too_slow or too_costly),
    }


def table_of(results: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    first = results[0]
    table = Table(
        title=f"Batches of {options.rows:,} rows, {first['rounds']} and {first['paced_rounds']} rounds; targets: "
        f"throughput {MIN_THROUGHPUT}, over OTLP {MAX_CORE:.0%} of a core"
    )
    table.add_column("telemetry")
    for heading in ("M rows/s", "throughput, with over without", f"of a core at {ROWS_PER_SECOND:,} rows/s"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result["name"],
            f"{result['rows_per_second'] / 1e6:.2f}",
            "{:.3f} ({:.3f}-{:.3f})".format(result["throughput"], *result["throughput_interval"]),
            "{:.2%} ({:.2%} to {:.2%})".format(result["core"], *result["core_interval"]),
            style="red" if result["missed"] else "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
