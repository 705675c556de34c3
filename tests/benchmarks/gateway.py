"""The gateway beside `ZerobusWriter`, in one process and one run.

    python -m tests.benchmarks.gateway [--quick] [--check] [--json]

Both send the same RecordBatches of 10,000 rows in Arrow to one local Zerobus in a process of its own, which counts rows
and keeps none. They take turns, the first round does not count, and medians are compared. Then the
processor time is measured, also of a Flight server that only answers: what Flight itself costs.

`--check` exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import threading
import time
from typing import Any

os.environ.setdefault("RUST_LOG", "off")

import numpy as np
import pyarrow as pa
from pyarrow import flight

from beam_zerobus import ZerobusWriter
from beam_zerobus.gateway import Gateway, GatewaySettings
from beam_zerobus.gateway.put import check_memory
from tests.benchmarks import sink_cases as cases
from tests.benchmarks.harness import Figure, Service, local_zerobus, medians, report

THROUGHPUT, P95 = 0.7, 150.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Benchmark the gateway.")
    parser.add_argument("--quick", action="store_true", help="300 batches, 5 rounds, 30 times 10 MB")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    batches, rounds, times = (300, 5, 30) if options.quick else (2_000, 9, 100)
    with local_zerobus() as service:
        settings: dict[str, Any] = {"schema": cases.DDL, "wire_format": "arrow", **service.settings}
        gateway_settings = GatewaySettings(port=0, defaults=settings)
        with Gateway(gateway_settings) as gateway, flight.connect(gateway.location) as client:
            figures = [throughput(service, client, batches, rounds), *latency(client, times)]
    return report(figures, as_json=options.json, check=options.check)


def throughput(service: Service, client: flight.FlightClient, batches: int, rounds: int) -> Figure:
    """Compare many batches in one call with as many submitted to a writer."""
    with ZerobusWriter(cases.TABLE, schema=cases.DDL, wire_format="arrow", **service.settings) as writer:

        def direct() -> None:
            for _ in range(batches):
                writer.submit(cases.BATCH)
            writer.flush()

        seconds = medians({"writer": direct, "gateway": lambda: send(client, batches)}, rounds)
        with AnswersOnly("grpc://127.0.0.1:0") as server, flight.connect(f"grpc://127.0.0.1:{server.port}") as other:
            cpu = medians(
                {
                    "writer": direct,
                    "gateway": lambda: send(client, batches),
                    "Flight alone": lambda: send(other, batches),
                },
                rounds,
                time.process_time,
            )
    rows = batches * cases.BATCH_ROWS / 1e6
    micros = ", ".join(f"{name} {used / batches * 1e6:.0f}" for name, used in cpu.items())
    return Figure(
        name="gateway / ZerobusWriter, arrow",
        value=seconds["writer"] / seconds["gateway"],
        target=THROUGHPUT,
        at_least=True,
        note=f"{rows / seconds['gateway']:.1f} M rows/s, {rows / seconds['writer']:.1f} without; "
        f"processor time of client and gateway, µs a batch: {micros}",
    )


class AnswersOnly(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """Answers each RecordBatch, and does nothing with it."""

    def do_put(self, _context: Any, _descriptor: Any, reader: Any, results: Any) -> None:
        for _ in reader:
            results.write(pa.py_buffer(b'{"batch":0,"success":true}'))


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


def latency(client: flight.FlightClient, times: int) -> list[Figure]:
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
    figure = Figure(
        name=f"a batch of {batch.nbytes / 1e6:.0f} MB until its result: p95",
        value=float(np.percentile(taken[5:], 95)),
        target=P95,
        at_least=False,
        unit="ms",
        note=f"median {statistics.median(taken):.0f} ms, of which the check of its memory {_check_ms(batch):.1f} ms",
    )
    return [figure]


def _check_ms(batch: pa.RecordBatch) -> float:
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        check_memory(batch)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
