"""What a file costs whose every row is rejected and kept, as times the same file with good rows.

    python -m tests.benchmarks.bad_rows [--rows N] [--rounds N] [--check] [--json]

`beam-zerobus send` sends the files to an emulator in a process of its own. The processor time of this process
counts, so that other work on the machine matters little; the files take turns, the first round does not count, and
medians are compared.

`--check` exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import decimal
import io
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from beam_zerobus.programs import files_to_zerobus
from tests.benchmarks.harness import Figure, medians, report, running_emulator

TABLE = "main.bench.readings"
COLUMNS = "id BIGINT NOT NULL, name STRING, co2 INT, price DECIMAL(10,2), at TIMESTAMP"
NAMES = ("id", "name", "co2", "price")
TARGET = 2.0
GOOD = ("{0}", "attic {0}", "417", "12.50")
CSV: dict[str, tuple[str, ...]] = {
    "good.csv": GOOD,
    "the text NULL.csv": ("{0}", "attic {0}", "NULL", "12.50"),
    "not UTF-8.csv": ("{0}", "caf\xe9 {0}", "417", "12.50"),
    "too many digits.csv": ("{0}", "attic {0}", "417", "123456789012.50"),
    "no id.csv": ("", "attic {0}", "417", "12.50"),
    "a value too few.csv": GOOD[:3],
}
JSON = {
    "good.jsonl": '{{"id": {0}, "name": "attic {0}", "co2": 417, "price": 12.50}}\n',
    "text in an INT.jsonl": '{{"id": {0}, "name": "attic {0}", "co2": "NULL", "price": 12.50}}\n',
    "no time.jsonl": '{{"id": {0}, "name": "attic {0}", "co2": 417, "price": 12.50, "at": "soon"}}\n',
}
PRICES = {"good.parquet": "12.50", "too many digits.parquet": "123456789012.50"}


def write_files(directory: Path, rows: int) -> None:
    """Write a good file and bad ones of each format."""
    for name, values in CSV.items():
        line = ",".join(values) + "\n"
        text = ",".join(NAMES) + "\n" + "".join(line.format(number) for number in range(rows))
        (directory / name).write_bytes(text.encode("latin-1"))
    for name, line in JSON.items():
        (directory / name).write_text("".join(line.format(number) for number in range(rows)))
    for name, price in PRICES.items():
        prices = pa.array([decimal.Decimal(price)] * rows, pa.decimal128(20, 2))
        names = pa.array([f"attic {number}" for number in range(rows)])
        columns = [pa.array(range(rows)), names, pa.array([417] * rows, pa.int32()), prices]
        parquet.write_table(pa.table(columns, NAMES), directory / name)


def send(path: Path, rows: int) -> None:
    """Send a file, and make sure that all of its rows are written, or all kept."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as kept, contextlib.redirect_stdout(said):
        arguments = ["--input", str(path), "--zerobus_table", TABLE, "--dead_letters", f"{kept}/letters"]
        code = files_to_zerobus.main(arguments)
    written, failed = (rows, 0) if path.stem == "good" else (0, rows)
    assert code == 0
    assert f"rows written  {written:,}\nrows failed   {failed:,}" in said.getvalue(), said.getvalue()


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with running_emulator(TABLE, COLUMNS) as service, tempfile.TemporaryDirectory() as directory:
        os.environ.update(
            ZEROBUS_ENDPOINT=service.endpoint,
            DATABRICKS_HOST=service.workspace_url,
            DATABRICKS_CLIENT_ID=service.client_id,
            DATABRICKS_CLIENT_SECRET=service.client_secret,
        )
        write_files(Path(directory), chosen.rows)
        files = [*CSV, *JSON, *PRICES]
        sends = {name: partial(send, Path(directory, name), chosen.rows) for name in files}
        seconds = medians(sends, chosen.rounds, time.process_time)
    figures = [
        Figure(
            name=f"each row bad, {name}",
            value=seconds[name] / seconds[good],
            target=TARGET,
            at_least=False,
            unit="times",
            note=f"{seconds[name] * 1e6 / chosen.rows:.1f} µs of processor time a row; {good} "
            f"{seconds[good] * 1e6 / chosen.rows:.1f}",
        )
        for name in files
        if (good := f"good{Path(name).suffix}") != name
    ]
    return report(figures, as_json=chosen.json, check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
