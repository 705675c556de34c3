"""The sink beside a bare SDK loop and beside a sink that does nothing, in one run.

    python -m tests.benchmarks.sink [--only NAME ...] [--quick] [--check] [--json] [--memory MILLIONS]

All send to one emulator in a process of its own, which counts rows and keeps none. What is compared takes turns,
the first round does not count, and medians are compared, so that a busy machine troubles all alike.

- loops: RecordBatch elements in Arrow, against a loop of the SDK's own call over the same batches; and in protobuf,
  against such a loop with our encoder in it.
- elements: dicts, NamedTuples and Rows, against the same pipeline with a sink that does nothing.
- collecting: the same elements into RecordBatches, with nothing sent.
- tables: Tables from Parquet, with and without dead letters.
- dead-letters: dead letters on, and no bad row, against off.
- latency: `send_batch` of 10 MB, the 95th percentile until it is acknowledged.
- memory: how a worker grows within one bundle of 50 million rows, and of 10 million single ones; not on Windows.

`--check` exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("RUST_LOG", "off")

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from google.protobuf import descriptor_pb2
from zerobus.sdk.sync import TableProperties, ZerobusSdk

from beam_zerobus import WriteToZerobus, ZerobusWriter
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.options import OnBadRows
from beam_zerobus.writer.shared import close_all
from tests.benchmarks import sink_cases as cases
from tests.benchmarks.harness import Figure, Service, medians, report, run_pipeline, running_emulator

SECTIONS = ("loops", "elements", "collecting", "tables", "dead-letters", "latency", "memory")
ON_BAD_ROWS: tuple[OnBadRows, ...] = ("raise", "dead_letter")
BATCHES = beam.ParDo(cases.MakeBatches()).with_output_types(pa.RecordBatch)
SOURCES = {
    "dicts": beam.ParDo(cases.MakeDicts()).with_output_types(dict[str, Any]),
    "NamedTuples": beam.ParDo(cases.MakeNamedTuples()).with_output_types(cases.Reading),
    "beam.Rows": beam.ParDo(cases.MakeRows()).with_output_types(beam.typehints.Any),
}


def main() -> int:
    """Run the benchmark."""
    options = _arguments()
    logging.getLogger().setLevel(logging.ERROR)
    batches, rounds = (120, 3) if options.quick else (options.batches, options.rounds)
    sections: dict[str, Callable[[Service], list[Figure]]] = {
        "loops": partial(against_bare_loops, batches=batches, rounds=rounds),
        "elements": partial(elements, batches=batches, rounds=rounds),
        "collecting": partial(collecting, batches=batches, rounds=rounds),
        "tables": partial(tables, batches=batches, rounds=rounds),
        "dead-letters": partial(dead_letters, batches=batches, rounds=rounds),
        "latency": partial(latency, times=20 if options.quick else 60),
        "memory": partial(memory, millions=options.memory),
    }
    with running_emulator() as service:
        figures = [figure for name in options.only for figure in sections[name](service)]
        close_all()
    return report(figures, as_json=options.json, check=options.check)


def against_bare_loops(service: Service, batches: int, rounds: int) -> list[Figure]:
    """Compare RecordBatch elements of 50,000 rows (2 MB) with loops over the SDK's own calls."""
    # So many that the pipeline's start does not weigh, nor its end, which comes in steps of 0.2 s (measured).
    counts = {"arrow": batches * 24, "proto": batches * 4}
    sdk = ZerobusSdk(service.endpoint, service.workspace_url)
    credentials = (service.client_id, service.client_secret)
    encoder = ProtoEncoder(cases.SCHEMA)
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[encoder.descriptor])
    arrow = sdk.create_arrow_stream(cases.TABLE, cases.BATCH.schema, *credentials)
    proto = sdk.create_stream(*credentials, TableProperties(cases.TABLE, file.SerializeToString()))
    payloads = [payload.records for payload in encoder.encode(cases.LARGE_BATCH)]

    def bare_arrow() -> None:
        for _ in range(counts["arrow"] // 5):
            arrow.ingest_batch(cases.LARGE_BATCH)
        arrow.flush()

    def bare_proto() -> None:
        for _ in range(counts["proto"] // 5):
            for records in payloads:
                proto.ingest_records_offset(records)
        proto.flush()

    def bare_encoding() -> None:
        for _ in range(counts["proto"] // 5):
            for payload in encoder.encode(cases.LARGE_BATCH):
                proto.ingest_records_offset(payload.records)
        proto.flush()

    def sink(wire_format: str) -> Callable[[], None]:
        write = WriteToZerobus(cases.TABLE, schema=cases.DDL, wire_format=wire_format, **service.settings)  # type: ignore[arg-type]
        return lambda: run_pipeline(BATCHES, counts[wire_format], write)

    seconds = medians(
        {
            "bare arrow": bare_arrow,
            "sink arrow": sink("arrow"),
            "bare proto": bare_proto,
            "bare encoding": bare_encoding,
            "sink proto": sink("proto"),
        },
        rounds,
    )
    arrow.close()
    proto.close()
    rates = {
        name: f"{counts['arrow' if 'arrow' in name else 'proto'] * cases.BATCH_ROWS / value / 1e6:.1f} M rows/s"
        for name, value in seconds.items()
    }
    return [
        Figure(
            name="RecordBatches, arrow / bare SDK loop",
            value=seconds["bare arrow"] / seconds["sink arrow"],
            target=0.9,
            at_least=True,
            note=f"{rates['sink arrow']}, loop {rates['bare arrow']}",
        ),
        Figure(
            name="RecordBatches, proto / bare SDK loop that encodes",
            value=seconds["bare encoding"] / seconds["sink proto"],
            target=0.9,
            at_least=True,
            note=f"{rates['sink proto']}, loop {rates['bare encoding']}, encoded before {rates['bare proto']}",
        ),
    ]


def elements(service: Service, batches: int, rounds: int) -> list[Figure]:
    """Compare pipelines of elements with the same ones before a sink that does nothing."""
    rows = batches * cases.BATCH_ROWS  # so many that Beam's steps of 0.2 s do not weigh
    write = WriteToZerobus(cases.TABLE, schema=cases.DDL, wire_format="arrow", **service.settings)
    candidates: dict[str, Callable[[], object]] = {}
    for name, make in SOURCES.items():
        candidates[name] = lambda make=make: run_pipeline(make, rows // cases.BATCH_ROWS, write)
        candidates[f"{name}, nothing"] = lambda make=make: run_pipeline(
            make, rows // cases.BATCH_ROWS, beam.ParDo(cases.Nothing())
        )
    seconds = medians(candidates, rounds)
    return [
        Figure(
            name=f"{name}, arrow / a sink that does nothing",
            value=seconds[name] / seconds[f"{name}, nothing"],
            target=2.0,
            at_least=False,
            note=f"{seconds[name] / rows * 1e6:.2f} µs a row, {seconds[f'{name}, nothing'] / rows * 1e6:.2f} without",
        )
        for name in SOURCES
    ]


def collecting(_: Service, batches: int, rounds: int) -> list[Figure]:
    """Measure getting elements to Arrow: our sink in a dry run, and beside it the plain way, which checks nothing."""
    rows = batches // 6 * cases.BATCH_ROWS
    sinks = {
        "sink": WriteToZerobus(cases.TABLE, schema=cases.DDL, wire_format="arrow", dry_run=True),
        "plain": beam.ParDo(cases.ToArrow()),
        "nothing": beam.ParDo(cases.Nothing()),
    }
    candidates: dict[str, Callable[[], object]] = {
        f"{name}, {what}": lambda make=make, sink=sink: run_pipeline(make, rows // cases.BATCH_ROWS, sink)
        for name, make in SOURCES.items()
        for what, sink in sinks.items()
    }
    micros = {name: seconds / rows * 1e6 for name, seconds in medians(candidates, rounds).items()}
    # What the whole pipeline took the plain way where the sink was designed.
    targets = {"dicts": 0.90, "NamedTuples": 1.60, "beam.Rows": 2.75}
    return [
        Figure(
            name=f"{name} to Arrow, dry, µs a row",
            value=micros[f"{name}, sink"],
            target=targets[name],
            at_least=False,
            unit="µs",
            note=f"the plain way {micros[f'{name}, plain']:.2f}, nothing {micros[f'{name}, nothing']:.2f}",
        )
        for name in SOURCES
    ]


def tables(service: Service, batches: int, rounds: int) -> list[Figure]:
    """Measure Tables that `ReadFromParquet(as_rows=True)` makes, with and without dead letters."""
    rows = batches * cases.BATCH_ROWS
    sinks = {
        "nothing": beam.ParDo(cases.NothingWithTables()),
        **{
            on_bad_rows: WriteToZerobus(cases.TABLE, wire_format="arrow", on_bad_rows=on_bad_rows, **service.settings)
            for on_bad_rows in ON_BAD_ROWS
        },
    }
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "readings.parquet")
        # Beam's own schemas know no large_string.
        batch = cases.BATCH.cast(cases.BATCH.schema.set(1, pa.field("device", pa.string())))
        with pq.ParquetWriter(path, batch.schema) as writer:
            for _ in range(batches):
                writer.write_batch(batch)

        def run(sink: Any) -> None:
            with beam.Pipeline(runner=FnApiRunner()) as pipeline:
                _ = pipeline | beam.io.ReadFromParquet(path, as_rows=True) | "Sink" >> sink

        seconds = medians({name: lambda sink=sink: run(sink) for name, sink in sinks.items()}, rounds)
    micros = {name: value / rows * 1e6 for name, value in seconds.items()}
    return [
        Figure(
            name=f"Tables from Parquet{note}, µs a row",
            value=micros[on_bad_rows],
            target=0.5,
            at_least=False,
            unit="µs",
            note=f"{micros['nothing']:.2f} without",
        )
        for on_bad_rows, note in zip(ON_BAD_ROWS, ("", ", dead letters on"), strict=True)
    ]


def dead_letters(service: Service, batches: int, rounds: int) -> list[Figure]:
    """Compare dead letters on with off, where no row is bad."""
    sinks = {
        on_bad_rows: WriteToZerobus(cases.TABLE, schema=cases.DDL, on_bad_rows=on_bad_rows, **service.settings)
        for on_bad_rows in ON_BAD_ROWS
    }
    dicts, few = SOURCES["dicts"], batches // 6
    many = batches * 4  # so that Beam's steps of 0.2 s do not weigh
    seconds = medians(
        {
            **{f"batches, {name}": lambda sink=sink: run_pipeline(BATCHES, many, sink) for name, sink in sinks.items()},
            **{f"dicts, {name}": lambda sink=sink: run_pipeline(dicts, few, sink) for name, sink in sinks.items()},
            "nothing": lambda: run_pipeline(dicts, few, beam.ParDo(cases.Nothing())),
            "nothing, timestamps": lambda: run_pipeline(dicts, few, beam.ParDo(cases.NothingWithTimestamps())),
        },
        rounds,
    )
    rows = few * cases.BATCH_ROWS
    off, nothing, timed = (seconds[name] / rows * 1e6 for name in ("dicts, raise", "nothing", "nothing, timestamps"))
    return [
        Figure(
            name="RecordBatches, dead letters on / off",
            value=seconds["batches, raise"] / seconds["batches, dead_letter"],
            target=0.8,
            at_least=True,
        ),
        Figure(
            name="dicts, dead letters on / off",
            value=seconds["dicts, raise"] / seconds["dicts, dead_letter"],
            target=0.8,
            at_least=True,
            note=f"{off:.2f} µs a row without; Beam's way to pass timestamps to a DoFn takes "
            f"{timed - nothing:.2f}, which leaves at most {off / (off + timed - nothing):.2f}",
        ),
    ]


def latency(service: Service, times: int) -> list[Figure]:
    """Measure `send_batch` of 10 MB until it is acknowledged."""
    figures = []
    for wire_format in ("proto", "arrow"):
        rows = int(cases.BATCH_ROWS * 10e6 / cases.BATCH.nbytes)
        batch = cases.make_batch(rows)
        with ZerobusWriter(cases.TABLE, schema=cases.DDL, wire_format=wire_format, **service.settings) as writer:  # type: ignore[arg-type]
            taken = [writer.send_batch(batch).latency_ms for _ in range(times)][5:]
        p95 = float(np.percentile(taken, 95))
        figures.append(
            Figure(
                name=f"send_batch of {batch.nbytes / 1e6:.0f} MB, {wire_format}: p95",
                value=p95,
                target=150.0,
                at_least=False,
                unit="ms",
                note=f"median {statistics.median(taken):.0f} ms",
            )
        )
    return figures


def memory(service: Service, millions: int) -> list[Figure]:
    """Measure how a worker grows within one bundle, from its first million rows on; not on Windows."""
    few = min(millions, 10)  # single elements take their time
    measured = {
        "RecordBatches, arrow": (cases.MakeBatches(), "arrow", millions),
        "RecordBatches, proto": (cases.MakeBatches(), "proto", millions),
        "dicts, proto": (cases.MakeDicts(), "proto", few),
        "dicts, proto, dead letters on": (cases.MakeDicts(), "proto", few),
    }
    figures = []
    for name, (maker, wire_format, last) in measured.items():
        marks = [1, *(mark for mark in (10, 25) if mark < last), last]
        on_bad_rows = "dead_letter" if "dead letters" in name else "raise"
        peaks = _in_new_process(_peaks, service, maker, marks, wire_format=wire_format, on_bad_rows=on_bad_rows)
        figures.append(
            Figure(
                name=f"{name}: highest memory after {last} M rows / after 1 M",
                value=peaks[-1] / peaks[0],
                target=1.25,
                at_least=False,
                note=", ".join(f"{peak} MB after {mark} M" for mark, peak in zip(marks, peaks, strict=True)),
            )
        )
    return figures


def _in_new_process(function: Callable[..., list[int]], *arguments: Any, **options: Any) -> list[int]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def _peaks(service: Service, maker: beam.DoFn, marks: list[int], **options: Any) -> list[int]:
    write = WriteToZerobus(cases.TABLE, schema=cases.DDL, **options, **service.settings)
    run_pipeline(beam.ParDo(cases.Watched(maker, marks)).with_output_types(beam.typehints.Any), 1, write)
    close_all()
    return cases.Watched.peaks


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark the sink.")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="NAME", help=", ".join(SECTIONS)
    )
    parser.add_argument("--batches", type=int, default=600, help="batches of 10,000 rows in the longest pipelines")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--quick", action="store_true", help="120 batches, 3 rounds")
    parser.add_argument("--memory", type=int, default=50, metavar="MILLIONS", help="rows of the bundle (50)")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
