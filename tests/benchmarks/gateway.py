"""A program that sends through the gateway beside one that uses `ZerobusWriter` itself.

    python -m tests.benchmarks.gateway [--quick] [--check] [--json]

Both send the same RecordBatches of 10,000 rows in Arrow to one emulator in a process of its own, which counts rows
and keeps none. The gateway is ``beam-zerobus gateway``, in a process of its own too. They take turns, the first round
does not count, and medians are compared. Beside them, for comparison only: in the process of the client a `Gateway`, a
Flight server that submits each batch and answers at once, which is the least that a gateway there has to do, and one
that only answers; and a writer whose process keeps freed memory as the gateway's does.

`--check` exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("RUST_LOG", "off")

import numpy as np
import pyarrow as pa
from pyarrow import flight

from beam_zerobus import ZerobusWriter
from beam_zerobus.gateway import Gateway, GatewaySettings
from beam_zerobus.gateway.memory import keep_freed_memory
from beam_zerobus.schema.soundness import require_sound
from tests.benchmarks import sink_cases as cases
from tests.benchmarks.harness import Figure, Service, medians, report, running_emulator

THROUGHPUT, P95 = 0.7, 150.0
SETTINGS: dict[str, Any] = {"schema": cases.DDL, "wire_format": "arrow"}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Benchmark the gateway.")
    parser.add_argument("--quick", action="store_true", help="300 batches, 9 rounds, 30 times 10 MB")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    batches, rounds, times = (300, 9, 30) if options.quick else (2_000, 9, 100)
    with (
        running_emulator() as service,
        gateway_process(service) as location,
        flight.connect(location) as client,
        ZerobusWriter(cases.TABLE, **SETTINGS, **service.settings) as writer,
    ):
        figures = [throughput(service, client, writer, batches, rounds), latency(client, times)]
    return report(figures, as_json=options.json, check=options.check)


def throughput(
    service: Service, client: flight.FlightClient, writer: ZerobusWriter, batches: int, rounds: int
) -> Figure:
    """Compare many batches in one call with as many submitted to a writer in this process."""

    def direct() -> None:
        for _ in range(batches):
            writer.submit(cases.BATCH)
        writer.flush()

    with (
        Gateway(GatewaySettings(port=0, defaults={**SETTINGS, **service.settings})) as gateway,
        flight.connect(gateway.location) as inside,
        Answers() as answers,
        flight.connect(f"grpc://127.0.0.1:{answers.port}") as answered,
        Answers(writer) as submits,
        flight.connect(f"grpc://127.0.0.1:{submits.port}") as submitted,
    ):
        senders = {
            "writer": direct,
            "gateway": lambda: send(client, batches),
            "in this process": lambda: send(inside, batches),
            "submits": lambda: send(submitted, batches),
            "answers": lambda: send(answered, batches),
        }
        seconds = medians(senders, rounds)
    if not keep_freed_memory():
        raise SystemExit("The gateway's setting of memory takes no effect here: glibc is needed, and no MALLOC_...")
    tuned = medians({"writer": direct, "gateway": lambda: send(client, batches)}, rounds)
    speeds = {name: batches * cases.BATCH_ROWS / 1e6 / taken for name, taken in seconds.items()}
    return Figure(
        name="beam-zerobus gateway / ZerobusWriter, arrow",
        value=seconds["writer"] / seconds["gateway"],
        target=THROUGHPUT,
        at_least=True,
        note=f"{speeds['gateway']:.1f} M rows/s, {speeds['writer']:.1f} without. In the client's process: "
        f"{seconds['writer'] / seconds['in this process']:.2f} over a Gateway, "
        f"{seconds['writer'] / seconds['submits']:.2f} over a Flight server that submits and answers at once, "
        f"{seconds['writer'] / seconds['answers']:.2f} over one that only answers. "
        f"{tuned['writer'] / tuned['gateway']:.2f} of a writer whose process keeps freed memory like the gateway's",
    )


@contextmanager
def gateway_process(service: Service) -> Iterator[str]:
    """Run ``beam-zerobus gateway``; give its location."""
    environment = {
        "ZEROBUS_ENDPOINT": service.endpoint,
        "DATABRICKS_HOST": service.workspace_url,
        "DATABRICKS_CLIENT_ID": service.client_id,
        "DATABRICKS_CLIENT_SECRET": service.client_secret,
    }
    program = "import sys; from beam_zerobus.cli import main; sys.exit(main())"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write("[defaults]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in SETTINGS.items()))
        config.flush()
        command = [sys.executable, "-c", program, "gateway", "--port", "0", "--config", config.name]
        with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().split()[2]
            finally:
                process.terminate()


class Answers(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """Answers each RecordBatch at once; with a writer it submits it first, and waits for all of them at the end."""

    def __init__(self, writer: ZerobusWriter | None = None) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._writer = writer

    def do_put(self, _context: Any, _descriptor: Any, reader: Any, results: Any) -> None:
        for chunk in reader:
            if self._writer is not None:
                self._writer.submit(chunk.data)
            results.write(pa.py_buffer(b'{"batch":0,"success":true}'))
        if self._writer is not None:
            self._writer.flush()


def send(client: flight.FlightClient, batches: int) -> None:
    """Send batches in one call, and read all their results."""
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(cases.TABLE), cases.BATCH.schema)
    results = []

    def read() -> None:
        while (result := reader.read()) is not None:
            results.append(result)

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(batches):
        writer.write_batch(cases.BATCH)
    writer.done_writing()
    reading.join()
    writer.close()
    assert len(results) == batches


def latency(client: flight.FlightClient, times: int) -> Figure:
    """Measure a batch of 10 MB from the client until its result, and how much of that is the check of its memory."""
    batch = cases.make_batch(int(cases.BATCH_ROWS * 10e6 / cases.BATCH.nbytes))
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(cases.TABLE), batch.schema)
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        writer.write_batch(batch)
        reader.read()
        taken.append((time.perf_counter() - started) * 1000)
    writer.close()
    return Figure(
        name=f"a batch of {batch.nbytes / 1e6:.0f} MB until its result: p95",
        value=float(np.percentile(taken[5:], 95)),
        target=P95,
        at_least=False,
        unit="ms",
        note=f"median {statistics.median(taken):.0f} ms, of which the check of its memory {_check_ms(batch):.1f} ms",
    )


def _check_ms(batch: pa.RecordBatch) -> float:
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        require_sound(batch)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
