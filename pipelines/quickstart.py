"""Send 336,776 real flights through a Beam pipeline into a Delta table, and check that every row arrived.

    python -m pipelines.quickstart            # to the emulator, which writes real Delta tables
    python -m pipelines.quickstart --help     # options: table, wire format, your own workspace

The pipeline itself is in `flights_to_delta.py`; this module shows progress and compares the table with the source.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from pyarrow import csv
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from beam_zerobus import OAuthClientCredentials
from beam_zerobus.emulator import EmulatorProcess
from pipelines.flights import COLUMNS, load_flights

if TYPE_CHECKING:
    from pipelines.flights_to_delta import Acknowledgements

_QUERY = (
    "SELECT carrier, count(*) AS flights, avg(dep_delay) AS delay FROM flights GROUP BY carrier ORDER BY flights DESC"
)


class QuickstartError(Exception):
    """The quickstart failed; the message is one sentence."""


def run_with_progress(console: Console, total_rows: int, **sink_options: Any) -> tuple[float, Acknowledgements]:
    """Run the pipeline and show how many rows are acknowledged.

    Returns:
        The seconds it took, and the acknowledgements.

    Raises:
        QuickstartError: The pipeline failed.
    """
    with console.status("Loading Apache Beam"):
        from beam_zerobus import WriteToZerobus  # noqa: PLC0415 - takes seconds, so a status is shown
        from pipelines.flights_to_delta import acknowledged, write_flights  # noqa: PLC0415

    sink = WriteToZerobus(**sink_options)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            write_flights(sink)
        except Exception as failure:  # noqa: BLE001 - reported by the main thread
            failures.append(failure)

    started = time.perf_counter()
    pipeline = threading.Thread(target=run, name="pipeline", daemon=True)
    counts = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    columns = (TextColumn("{task.description}"), BarColumn(), counts, TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Flights acknowledged", total=total_rows)
        pipeline.start()
        while pipeline.is_alive():
            pipeline.join(0.1)
            progress.update(task, completed=sum(acknowledged.rows))
    if failures:
        raise QuickstartError(f"The pipeline failed: {_last_line(failures[0])}") from failures[0]
    return time.perf_counter() - started, acknowledged


def check_arrived(sent: pa.Table, arrived: pa.Table) -> str:
    """Compare count and checksum of the rows that were sent and those that arrived; return the checksum.

    Raises:
        QuickstartError: They differ.
    """
    if arrived.num_rows != sent.num_rows:
        raise QuickstartError(f"{sent.num_rows:,} rows were sent, but the table has {arrived.num_rows:,}")
    sums = [checksum(rows.select(sent.column_names).cast(sent.schema)) for rows in (sent, arrived)]
    if sums[0] != sums[1]:
        raise QuickstartError(f"The table's rows differ from those sent: SHA-256 {sums[1]} instead of {sums[0]}")
    return sums[0]


def checksum(rows: pa.Table) -> str:
    """Return the SHA-256 of the sorted rows as CSV text."""
    digest = hashlib.sha256()
    ordered = rows.sort_by([(name, "ascending") for name in rows.column_names])
    for batch in ordered.to_batches(max_chunksize=50_000):
        sink = pa.BufferOutputStream()
        csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
        digest.update(sink.getvalue())
    return digest.hexdigest()


def summary(seconds: float, acknowledged: Acknowledgements) -> Table:
    """Return the summary as a table for the terminal."""
    rows = sum(acknowledged.rows)
    p50, p95 = np.percentile(acknowledged.latencies_ms, [50, 95])
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        ("rows", f"{rows:,}"),
        ("sent", f"{sum(acknowledged.bytes) / 1e6:.1f} MB in {len(acknowledged.rows)} batches"),
        ("took", f"{seconds:.1f} s, {rows / seconds:,.0f} rows/s"),
        ("acknowledged", f"after {p50:.0f} ms (p50), {p95:.0f} ms (p95)"),
    ):
        table.add_row(f"[dim]{name}", value)
    return table


def query_line(path: Path) -> str:
    """Return a shell command that queries the Delta table with the packages of the quickstart."""
    table = _short(path).as_posix()
    code = (
        "from deltalake import DeltaTable, QueryBuilder; "
        f"print(QueryBuilder().register('flights', DeltaTable({table!r})).execute('{_QUERY}').read_all())"
    )
    python = str(_short(Path(sys.executable)))
    if os.name == "nt":
        return subprocess.list2cmdline([python, "-c", code])
    return f'{shlex.quote(python)} -c "{code}"' if not set(code) & set('"$`\\\\!') else shlex.join([python, "-c", code])


def run_locally(console: Console, options: argparse.Namespace) -> None:
    """Write to the emulator, and read the Delta table back."""
    storage = Path(options.output)
    table_path = storage.joinpath(*options.table.split("."))
    if (table_path / "_delta_log").is_dir():
        shutil.rmtree(table_path)  # of an earlier run
    console.print("Loading the flights, and starting the emulator")
    flights = load_flights()
    # In this process it would share the interpreter with Beam.
    with EmulatorProcess(storage, {options.table: COLUMNS}) as emulator:
        console.print(f"Sending {flights.num_rows:,} flights to {options.table} at {emulator.endpoint}")
        seconds, acknowledged = run_with_progress(
            console,
            flights.num_rows,
            table=options.table,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            wire_format=options.wire_format,
        )
    digest = check_arrived(flights, DeltaTable(table_path).to_pyarrow_table())
    console.print(summary(seconds, acknowledged))
    console.print(f"[green]All rows arrived[/] unchanged: SHA-256 {digest[:16]}")
    console.print(f"\nThe Delta table is in {_short(table_path)}. Query it:\n")
    console.print(query_line(table_path), style="bold", soft_wrap=True, highlight=False, markup=False)


def run_remotely(console: Console, options: argparse.Namespace) -> None:
    """Write to a workspace, and compare the number of rows that it acknowledged."""
    flights = load_flights()
    console.print(f"Sending {flights.num_rows:,} flights to {options.table} at {options.endpoint}")
    seconds, acknowledged = run_with_progress(
        console,
        flights.num_rows,
        table=options.table,
        endpoint=options.endpoint,
        workspace_url=options.workspace_url,
        wire_format=options.wire_format,
    )
    if sum(acknowledged.rows) != flights.num_rows:
        raise QuickstartError(f"{flights.num_rows:,} rows were sent, {sum(acknowledged.rows):,} were acknowledged")
    console.print(summary(seconds, acknowledged))
    console.print(f"[green]All rows are acknowledged.[/] Query the table there: SELECT count(*) FROM {options.table}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the quickstart; return the exit code."""
    options = _options(arguments)
    console = Console()
    logging.getLogger().setLevel(logging.CRITICAL)  # what fails is said below, without Beam's traceback
    try:
        (run_remotely if options.endpoint else run_locally)(console, options)
    except KeyboardInterrupt:
        console.print("[red]Interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 - any error is reported, and fails the run
        console.print(f"[red]Failed:[/] {_last_line(error)}", soft_wrap=True, highlight=False)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.quickstart",
        description="Send 336,776 real flights through a Beam pipeline into a Delta table, and check that all arrived.",
        epilog=f"A table in a workspace needs these columns: {' '.join(COLUMNS.split())}",
    )
    parser.add_argument("--output", default="quickstart-data", help="directory of the local Delta table (%(default)s)")
    parser.add_argument("--table", default="main.nyc.flights", help="catalog.schema.table (%(default)s)")
    parser.add_argument("--wire-format", default="proto", choices=["proto", "arrow", "json"])
    parser.add_argument(
        "--endpoint",
        help="Zerobus endpoint of a workspace, with DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET in the "
        "environment; without it everything runs on this machine",
    )
    parser.add_argument("--workspace-url", help="URL of the workspace (DATABRICKS_HOST)")
    return parser.parse_args(arguments)


def _short(path: Path) -> Path:
    """Return the path relative to the current directory if it is inside."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - does not resolve the links of a virtual environment
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _last_line(error: BaseException) -> str:
    """Return the reason at the end of a message, which Beam prefixes with a traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
