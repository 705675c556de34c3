"""What telemetry costs a writer, as ratios of throughput in one run: ``python -m tests.benchmarks.telemetry``.

Each round sends the same batches through every kind of writer and, right before or right after, through one whose
recorder does nothing at all; the ratio of a kind is the median of these neighbours' ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

import beam_zerobus.writer_core
from beam_zerobus import OAuthClientCredentials, Telemetry, ZerobusWriter

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, device STRING, temp DOUBLE, co2 INT, at TIMESTAMP"

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
from tests.telemetry.receiver import Receiver

class Blind(Receiver):
    def take(self, request, headers):
        pass

with Blind("grpc") as grpc, Blind("http/protobuf") as http, Receiver("grpc", "hang") as hanging:
    print(grpc.endpoint, http.endpoint, hanging.endpoint, flush=True)
    sys.stdin.read()
"""


class NoRecorder:
    """Does nothing, as nothing that could be unset does less: what the others are measured by."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    def batch(self, *_: object) -> NoRecorder:
        return self

    def encoding(self) -> contextlib.AbstractContextManager[None]:
        return _NOTHING

    sending = encoding

    def _nothing(self, *_: object, **__: object) -> None:
        pass


_NOTHING = contextlib.nullcontext()


def sample(rows: int) -> pa.RecordBatch:
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


def without_recorder(make: Any) -> Any:
    """Make a writer whose recorder does nothing."""
    real = beam_zerobus.writer_core.open_recorder
    beam_zerobus.writer_core.open_recorder = lambda *_, **__: NoRecorder()  # type: ignore[assignment,return-value]
    try:
        return make()
    finally:
        beam_zerobus.writer_core.open_recorder = real


def run(writer: ZerobusWriter, batch: pa.RecordBatch, count: int) -> float:
    """Send and return rows a second."""
    started = time.perf_counter()
    submissions = [writer.submit(batch) for _ in range(count)]
    for submission in submissions:
        submission.result(60)
    return batch.num_rows * count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a batch")
    parser.add_argument("--batches", type=int, default=20, help="batches of a measurement")
    parser.add_argument("--only", help="kinds with this in their name")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    batch = sample(arguments.rows)
    with ExitStack() as open_:
        endpoint, workspace_url, client_id, client_secret = open_.enter_context(server(EMULATOR, TABLE, DDL))
        grpc, http, hanging = open_.enter_context(server(RECEIVERS))

        def make(telemetry: Telemetry | None) -> ZerobusWriter:
            return open_.enter_context(
                ZerobusWriter(
                    TABLE,
                    endpoint=endpoint,
                    workspace_url=workspace_url,
                    credentials=OAuthClientCredentials(client_id=client_id, client_secret=client_secret),
                    schema=DDL,
                    telemetry=telemetry,
                )
            )

        writers = {
            "nothing, too": without_recorder(lambda: make(None)),
            "unset": make(None),
            "files": make(Telemetry(output_dir=open_.enter_context(tempfile.TemporaryDirectory()))),
            "OTLP/gRPC": make(Telemetry(endpoint=grpc)),
            "OTLP/HTTP": make(Telemetry(endpoint=http, protocol="http/protobuf")),
            "receiver hangs": make(Telemetry(endpoint=hanging)),
            "receiver absent": make(Telemetry(endpoint="http://127.0.0.1:9")),
        }
        writers = {kind: writer for kind, writer in writers.items() if (arguments.only or "") in kind}
        base = without_recorder(lambda: make(None))
        for writer in (base, *writers.values()):
            run(writer, batch, arguments.batches)
        speeds: dict[str, list[float]] = {kind: [] for kind in writers}
        ratios: dict[str, list[float]] = {kind: [] for kind in writers}
        for number in range(arguments.rounds):
            for kind in random.sample(list(writers), len(writers)):
                pair = (base, writers[kind]) if number % 2 else (writers[kind], base)
                speed = {writer: run(writer, batch, arguments.batches) for writer in pair}
                speeds[kind].append(speed[writers[kind]])
                ratios[kind].append(speed[writers[kind]] / speed[base])
        for kind in writers:
            quartiles = statistics.quantiles(ratios[kind], n=4)
            print(
                f"{kind:16} {statistics.median(speeds[kind]) / 1e6:6.2f} M rows/s   ratio {quartiles[1]:.3f}"
                f"   (quartiles {quartiles[0]:.3f} to {quartiles[2]:.3f})"
            )


if __name__ == "__main__":
    main()
