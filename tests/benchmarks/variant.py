"""Compares the encoder of VARIANT with Spark's Python library, in one run.

    python -m tests.benchmarks.variant [--rows 20000] [--rounds 9] [--without-gc] [--check] [case ...]

Both turn the same JSON texts into Parquet's binary Variant. Spark's library, `pyspark.sql.variant_utils`, does it in a
loop over rows. Medians of processor time are compared, after a round that does not count; each round of the encoder is
next to one of the library, which gets a tenth of the rows. `--check` exits with 1 if a ratio is below its target. The
targets are below 20 times: between the parser and the columns each value is a Python object, and the parser alone takes
a good part of the time, as its column shows. `--without-gc` shows what of the time is Python's garbage collector, which
walks these objects while the encoder holds them.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyspark.sql.variant_utils import VariantUtils
from rich.console import Console
from rich.table import Table

from beam_zerobus.variant import decode_variants, encode_json
from beam_zerobus.variant.parse import parse_all

TARGETS = {"flat": 10, "nested": 3, "numbers": 8}
Document = Callable[[int], Any]


def flat(row: int) -> dict[str, Any]:
    """Six members, as a device sends them."""
    return {
        "id": row,
        "device": f"sensor-{row % 1000}",
        "temperature": round(random.uniform(-20, 50), 2),
        "ok": row % 7 > 0,
        "at": f"2026-11-28T12:00:{row % 60:02}Z",
        "note": None if row % 5 else "abc",
    }


def nested(row: int) -> dict[str, Any]:
    """Objects in objects and arrays, of several shapes."""
    event: dict[str, Any] = {
        "user": {"id": row * 7919, "name": f"user {row % 100}", "tags": ["a", "b", "c"][: row % 4]},
        "items": [{"sku": f"S{item}", "price": item * 1.25, "count": item % 3} for item in range(row % 6)],
        "page": {"url": f"https://example.com/{row % 50}", "size": [1920, 1080]},
    }
    if row % 3 == 0:
        event["referrer"] = {"url": "https://example.com/", "campaign": None}
    return event


def numbers(row: int) -> dict[str, Any]:
    """An array of 50 numbers with a fraction, and one of 50 integers."""
    return {
        "id": row,
        "readings": [round(random.uniform(-100, 100), 3) for _ in range(50)],
        "counts": [random.randrange(1 << 20) for _ in range(50)],
    }


def rare(row: int) -> dict[str, Any]:
    """Every row has a key of its own: no two rows have one shape."""
    return {"id": row, f"key-{row}": {"value": row, f"inner-{row}": "x"}}


def prices(row: int) -> dict[str, Any]:
    """Written with spaces and escapes, as Python's json does."""
    return {"id": row, "name": f"Zürich {row}", "price": row / 100, "big": 1e300}


CASES: dict[str, tuple[Document, tuple[str, str]]] = {
    "flat": (flat, (",", ":")),
    "nested": (nested, (",", ":")),
    "numbers": (numbers, (",", ":")),
    "rare": (rare, (",", ":")),
    "spaced": (prices, (", ", ": ")),
}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--without-gc", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.without_gc:
        gc.disable()
    shown = Table("case", "bytes", "encoder", "parser", "Spark's", "ratio", "decoder", title="VARIANT: µs a row")
    missed = False
    for name in options.case or CASES:
        make, separators = CASES[name]
        random.seed(1)
        texts = [json.dumps(make(row), separators=separators) for row in range(options.rows)]
        encoder, parser_alone, library, decoder = measure(texts, options.rounds)
        ratio = library / encoder
        missed = missed or ratio < TARGETS.get(name, 0)
        size = sum(map(len, texts)) // len(texts)
        figures = (encoder, parser_alone, library, ratio, decoder)
        shown.add_row(name, str(size), *(f"{value:.2f}" for value in figures))
    Console().print(shown)
    return 1 if options.check and missed else 0


def measure(texts: list[str], rounds: int) -> tuple[float, float, float, float]:
    """Return microseconds a row of the encoder, of its parser alone, of Spark's library and of the decoder."""
    array = pa.array(texts, pa.large_string())
    some = texts[: max(1, len(texts) // 10)]
    variants, problems = encode_json(array)
    assert not problems
    few = variants.slice(0, len(some))
    chunk = [text.encode() for text in texts[:4096]]  # as many as the encoder parses at once
    runs: tuple[tuple[Callable[[], object], int], ...] = (
        (lambda: encode_json(array), len(texts)),
        (lambda: parse_all(chunk, {}), len(chunk)),
        (lambda: [VariantUtils.parse_json(text) for text in some], len(some)),
        (lambda: decode_variants(few), len(some)),
    )
    seconds: list[list[float]] = [[], [], [], []]
    for _ in range(rounds + 1):
        for (run, rows), own in zip(runs, seconds, strict=True):
            started = time.process_time()
            run()
            own.append((time.process_time() - started) / rows)
    encoder, parser_alone, library, decoder = (statistics.median(own[1:]) * 1e6 for own in seconds)
    return encoder, parser_alone, library, decoder


if __name__ == "__main__":
    sys.exit(main())
