"""Compares the protobuf encoder with protobuf's own classes, ptars and the floor, in one run.

    python -m tests.benchmarks.encode [--rows 100000] [--quick] [--check] [--json] [case ...]

Every candidate turns the same RecordBatch into a list of `bytes`, one for each row:

- floor: turning a finished buffer into such a list, which every encoder has to do;
- encoder: `ProtoEncoder.encode`, including payloads;
- protobuf: `Row(**row).SerializeToString()` for each row of `to_pylist(maps_as_pydicts="lossy")`, which maps need;
- protobuf, plain: the same with plain `to_pylist()`, for tables without maps: faster since pyarrow 25;
- ptars: a Rust library, in slices of 8,192 rows (needs the extra `bench`).

The candidates run in turn, the first round does not count, and medians of processor time are compared, so that a busy
machine affects all alike. Each candidate except protobuf runs twice in its turn, and the second run counts: protobuf's
classes return memory to the system (`malloc_trim`), which would cause page faults in the next candidate. `--check`
exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from rich.console import Console
from rich.table import Table

from beam_zerobus.encoding import ProtoEncoder
from tests.benchmarks.encode_cases import CASES, Case

SMALL_BATCHES = (1, 2, 10, 50, 100, 169, 170, 200, 500, 1_000, 10_000)
PTARS_ROWS = 8_192
PLAIN = "protobuf, plain"
MOST_TRANSIENT_MB = 10.0
Candidate = Callable[[], object]


def main() -> int:
    """Run the benchmark."""
    options = _arguments()
    pins = _keep_freed_memory()
    console = Console(stderr=options.json)
    rows, rounds = (20_000, 3) if options.quick else (options.rows, options.rounds)
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    results = [measure(case, rows, rounds) for case in chosen]
    small = [measure_small(case, rounds) for case in chosen if case.small_batches]
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, pyarrow {pa.__version__}"
    )
    console.print(*tables_of(results, rows), small_table(small))
    console.print(machine)
    if options.json:
        json.dump({"machine": machine, "rows": rows, "cases": results, "small_batches": small}, sys.stdout, indent=1)
    missed = [text for result in results for text in result["missed"]]
    for text in missed:
        console.print(f"[red]{text}")
    del pins
    return 1 if options.check and missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmark the protobuf encoder.")
    parser.add_argument("case", nargs="*", help="cases to run (default: all)")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of a batch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--quick", action="store_true", help="20,000 rows, 3 rounds")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def _keep_freed_memory() -> list[bytes]:
    """Make glibc and Python keep freed memory, like the heap of a worker that has run for a while.

    Otherwise page faults, 2 microseconds each on some machines, would affect candidates at random.

    Returns:
        A few small objects in each of Python's arenas, which keep the arenas allocated.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return []
    trim_threshold, mmap_threshold = -1, -3
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 1 << 30)
    return [bytes(400) for _ in range(300_000)][::500]


def measure(case: Case, rows: int, rounds: int) -> dict[str, Any]:
    """Return a case's figures: nanoseconds a row, ratios, memory, missed targets."""
    batch, encoder = case.batch(rows), ProtoEncoder(case.schema())
    records = _encode(encoder, batch)
    candidates: dict[str, Candidate] = {
        "floor": _floor(records),
        "encoder": lambda: _encode(encoder, batch),
        "protobuf": _protobuf(encoder, batch),
        **_protobuf_plain(encoder, batch),
    }
    ptars = _ptars(encoder, batch)
    if ptars is not None:
        candidates["ptars"] = ptars
    same = {name: candidates[name]() == records for name in ("protobuf", PLAIN, "ptars") if name in candidates}
    size = sum(map(len, records)) / batch.num_rows
    del records
    times = _alternate(candidates, rounds)
    result: dict[str, Any] = {
        "case": case.name,
        "about": case.about,
        "bytes_per_row": round(size, 1),
        "same_bytes": same,
    }
    result["ns_per_row"] = {name: round(value / batch.num_rows * 1e9, 1) for name, value in times.items()}
    result["times_protobuf"] = round(times["protobuf"] / times["encoder"], 1)
    result["times_plain"] = round(times[PLAIN] / times["encoder"], 1) if PLAIN in times else None
    result["times_ptars"] = round(times["ptars"] / times["encoder"], 2) if "ptars" in times else None
    result["transient_mb"] = round(_transient_bytes(encoder, batch) / 1e6, 1)
    result["missed"] = _missed(case, result)
    return result


def _alternate(candidates: dict[str, Candidate], rounds: int) -> dict[str, float]:
    """Run the candidates in turn, each round starting with another one; return medians of processor time."""
    names = list(candidates)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if not name.startswith("protobuf"):
                candidates[name]()
            begin = time.process_time()
            result = candidates[name]()
            seconds = time.process_time() - begin
            del result
            if turn:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def _encode(encoder: ProtoEncoder, batch: pa.RecordBatch) -> list[bytes]:
    payloads = [payload.records for payload in encoder.encode(batch)]
    flat = payloads.pop(0)
    for records in payloads:
        flat += records
    return flat


def _floor(records: list[bytes]) -> Candidate:
    lengths = np.fromiter(map(len, records), np.int64, len(records))
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(records))]
    array = pa.Array.from_buffers(pa.large_binary(), len(records), buffers)
    return lambda: array.to_numpy(zero_copy_only=False).tolist()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert dates and timestamps to the integers of the messages, which the other candidates need."""
    kinds = {pa.date32(): pa.int32(), pa.timestamp("us", "UTC"): pa.int64(), pa.timestamp("us"): pa.int64()}
    columns = [column.view(kinds[column.type]) if column.type in kinds else column for column in batch.columns]
    casts = {pa.int8(): pa.int32(), pa.int16(): pa.int32(), pa.large_string(): pa.string()}
    columns = [column.cast(casts[column.type]) if column.type in casts else column for column in columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _descriptor(encoder: ProtoEncoder) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[encoder.descriptor]))
    return pool.FindMessageTypeByName(encoder.descriptor.name)


def _protobuf(encoder: ProtoEncoder, batch: pa.RecordBatch, maps: str | None = "lossy") -> Candidate:
    message, plain = message_factory.GetMessageClass(_descriptor(encoder)), _plain(batch)
    return lambda: [message(**row).SerializeToString() for row in plain.to_pylist(maps_as_pydicts=maps)]


def _protobuf_plain(encoder: ProtoEncoder, batch: pa.RecordBatch) -> dict[str, Candidate]:
    """Return the candidate with plain `to_pylist()`; none for a table with a map."""
    if any(pa.types.is_map(field.type) for field in batch.schema):
        return {}
    return {PLAIN: _protobuf(encoder, batch, maps=None)}


def _ptars(encoder: ProtoEncoder, batch: pa.RecordBatch) -> Candidate | None:
    try:
        import ptars
    except ImportError:
        return None
    descriptor = _descriptor(encoder)
    pool = ptars.HandlerPool([descriptor.file])
    handler, plain = pool.get_for_message(descriptor), _plain(batch)

    def run() -> list[bytes]:
        records: list[bytes] = []
        for start in range(0, plain.num_rows, PTARS_ROWS):
            array = handler.record_batch_to_array(plain.slice(start, PTARS_ROWS))
            records += array.to_numpy(zero_copy_only=False).tolist()
        return records

    return run


def _transient_bytes(encoder: ProtoEncoder, batch: pa.RecordBatch) -> int:
    """Return the most memory that encoding uses beyond its result: Python's, numpy's and Arrow's."""
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    result = list(encoder.encode(batch))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return peak - kept + max(0, pool.bytes_allocated() - before)


def _missed(case: Case, result: dict[str, Any]) -> list[str]:
    missed = []
    for name, target in (("times_protobuf", case.times_upb), ("times_ptars", case.times_ptars)):
        if target is not None and result[name] is not None and result[name] < target:
            missed.append(f"case {case.name}: {name} is {result[name]}, must be {target}")
    if result["transient_mb"] > MOST_TRANSIENT_MB:
        missed.append(f"case {case.name}: {result['transient_mb']} MB transient, must be {MOST_TRANSIENT_MB}")
    return missed


def measure_small(case: Case, rounds: int) -> dict[str, Any]:
    """Return the encoder's speed on few rows, as multiples of protobuf's classes, both ways."""
    encoder = ProtoEncoder(case.schema())
    ratios: dict[str, dict[int, float]] = {}
    for rows in SMALL_BATCHES:
        batch = case.batch(rows)
        repeats = max(3, 500 // rows)
        candidates: dict[str, Candidate] = {
            "encoder": lambda batch=batch: _encode(encoder, batch),  # type: ignore[misc]
            "protobuf": _protobuf(encoder, batch),
            **_protobuf_plain(encoder, batch),
        }
        times = _alternate({name: _repeated(run, repeats) for name, run in candidates.items()}, 2 * rounds)
        mine = times.pop("encoder")
        for name, seconds in times.items():
            ratios.setdefault(name, {})[rows] = round(seconds / mine, 2)
    return {"case": case.name, "times": ratios}


def _repeated(candidate: Candidate, times: int) -> Candidate:
    def run() -> None:
        for _ in range(times):
            candidate()

    return run


def tables_of(results: list[dict[str, Any]], rows: int) -> list[Table]:
    """Return times and ratios as two tables, which fit 80 columns."""
    times = Table(title=f"RecordBatch to protobuf rows: ns a row, {rows:,} rows")
    ratios = Table(title="Times as fast as protobuf's classes and ptars, and memory on the way")
    timed = ("floor", "encoder", "protobuf", PLAIN, "ptars")
    for table, headings in ((times, ("bytes", *timed)), (ratios, ("x protobuf", "x plain", "x ptars", "MB"))):
        table.add_column("case")
        for heading in headings:
            table.add_column(heading, justify="right")
    for result in results:
        taken = result["ns_per_row"]
        shown = [f"{taken[name]:,.0f}" if name in taken else "-" for name in timed]
        plain = "-" if result["times_plain"] is None else f"{result['times_plain']:.1f}"
        ptars = "-" if result["times_ptars"] is None else f"{result['times_ptars']:.2f}"
        differs = "" if result["same_bytes"].get("ptars", True) else " (other bytes)"
        style = "red" if result["missed"] else ""
        times.add_row(result["case"], f"{result['bytes_per_row']:,.0f}", *shown, style=style)
        ratios.add_row(
            f"{result['case']}: {result['about']}",
            f"{result['times_protobuf']:.1f}",
            plain,
            ptars + differs,
            f"{result['transient_mb']:.1f}",
            style=style,
        )
    return [times, ratios]


def small_table(small: list[dict[str, Any]]) -> Table:
    """Return the ratios of small batches as a table."""
    columns = {f"{result['case']}: {name}": times for result in small for name, times in result["times"].items()}
    table = Table(title="Small batches: times protobuf's classes, by rows")
    for heading in ("rows", *columns):
        table.add_column(heading, justify="right")
    for rows in SMALL_BATCHES:
        table.add_row(f"{rows:,}", *(f"{times[rows]:.2f}" for times in columns.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
