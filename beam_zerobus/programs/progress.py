"""Counts of written and failed rows, shown in the terminal while the pipeline runs."""

from __future__ import annotations

import contextlib
import copy
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from beam_zerobus.errors import RowErrors, counted
from beam_zerobus.options.signals import exit_code_of, interrupt_at_signals
from beam_zerobus.options.wording import reason_in
from beam_zerobus.programs.command import last_line
from beam_zerobus.programs.open_files import bytes_read
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.flat_options import in_flags

__all__ = [
    "CountFailed",
    "CountWritten",
    "Totals",
    "again_from_the_start",
    "progress_line",
    "rows_that_stay",
    "run_and_report",
]

_NAMESPACE = "pipelines"
_WRITTEN = "rows_written"
_FAILED = "rows_failed "
_IS_WRITTEN, _WOULD_BE_WRITTEN = "written", "would be written"
_UNKNOWN_ROWS_STAY = "Rows that were written, if any, stay in the table"
_REFRESH_SECONDS = 0.2
_QUERY_SECONDS = 2.0
_IDLE_SECONDS = 5.0
_BESIDE_THE_LINE = len("- ") + len(" 100:00:00")  # the spinner and the elapsed time


@dataclass(slots=True)
class Totals:
    """Counts of rows.

    Attributes:
        written: Acknowledged rows; in a dry run, rows that would have been sent.
        failed: Failed rows by `error_type`.
    """

    written: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.written + self.failed.total()


# A pipeline that runs in this process counts here. For other processes the counts are read from Beam's metrics.
_here = Totals()


class CountWritten(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Counts the rows of a sink's `acknowledged`."""

    def expand(self, acknowledged: PCollection[Any]) -> PCollection[Any]:
        """Count them."""
        return acknowledged | beam.Map(_note_written)


class CountFailed(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Counts the rows of `failed_rows` of a sink with failures together; their reasons name flags from there on."""

    def expand(self, failed_rows: PCollection[Any]) -> PCollection[Any]:
        """Count them."""
        return failed_rows | beam.Map(_note_failed).with_output_types(FailedRows)


def _note_written(batch: Any) -> None:
    _here.written += batch.rows
    Metrics.counter(_NAMESPACE, _WRITTEN).inc(batch.rows)


def _note_failed(failed: FailedRows) -> FailedRows:
    for kind, count in failed.errors.by_type().items():
        _here.failed[kind] += count
        Metrics.counter(_NAMESPACE, _FAILED + kind).inc(count)
    errors = failed.errors
    reasons = [replace(reason, message=reason_in(in_flags, reason)) for reason in errors.reasons]
    return replace(failed, errors=RowErrors(errors.indices, errors.which, reasons))


def again_from_the_start(written: int) -> str:
    """Return what is in the table after a failure, where another run begins anew."""
    return f"{rows_that_stay(written)}; another run writes them again."


def rows_that_stay(written: int) -> str:
    """Return which rows are in the table after a failure: at least those that this process counted."""
    return f"At least {counted(written, 'row', 'stays')} in the table" if written else _UNKNOWN_ROWS_STAY


def run_and_report(
    pipeline: beam.Pipeline,
    console: Console,
    *,
    dead_letters: str | None,
    dry_run: bool = False,
    total_bytes: int = 0,
    how_to_go_on: Callable[[int], str] = again_from_the_start,
) -> int:
    """Run a pipeline, show its progress and print a summary or the reason for its failure.

    Args:
        pipeline: The pipeline, with `CountWritten` and `CountFailed` in it.
        console: The terminal.
        dead_letters: The directory where the pipeline keeps rejected rows; None if it keeps none.
        dry_run: Whether the sink sends nothing, so that no row is written.
        total_bytes: The size of all input files, for the remaining time; 0 where it is not known.
        how_to_go_on: Says after a failure what is written, and what another run does; it receives the number of rows
            that this run wrote, as far as is known.

    Returns:
        The exit code: 0; 1 if the pipeline failed, or if rows failed and are not kept; 130 or 143 if stopped.
    """
    started = time.monotonic()
    try:
        totals = _run_with_progress(pipeline, console, total_bytes, _WOULD_BE_WRITTEN if dry_run else _IS_WRITTEN)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - any error is reported, and fails the run
        interrupt = _interrupt_behind(error)
        if interrupt is not None:
            console.print("[red]Interrupted[/]")
            _say_how_to_go_on(console, how_to_go_on, dry_run=dry_run)
            return exit_code_of(interrupt)
        console.print("Failed:", style="red", end=" ")
        console.print(last_line(error), soft_wrap=True, highlight=False, markup=False)
        _say_how_to_go_on(console, how_to_go_on, dry_run=dry_run)
        return 1
    finally:
        _remove_empty_folders(dead_letters)
    kept = {"kept in": dead_letters or "nowhere: --dead_letters DIR keeps them"} if totals.failed else {}
    sys.stdout.write(_summary(totals, time.monotonic() - started, dry_run=dry_run, **kept) + "\n")
    return 1 if totals.failed and not dead_letters else 0


def _remove_empty_folders(dead_letters: str | None) -> None:
    """Remove the folders that Beam's file writer leaves behind when a pipeline fails, this one or an earlier one."""
    if dead_letters and "://" not in dead_letters:
        for pattern in ("beam-temp-*", "*/beam-temp-*"):
            for folder in Path(dead_letters).glob(pattern):
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


def _say_how_to_go_on(console: Console, how_to_go_on: Callable[[int], str], *, dry_run: bool) -> None:
    if not dry_run:
        console.print(how_to_go_on(_here.written), soft_wrap=True, highlight=False, markup=False)


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that caused an error, if one did; runners in this process raise other exceptions from it."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error
    return _interrupt_behind(error.__context__)


def _run_with_progress(pipeline: beam.Pipeline, console: Console, total_bytes: int, outcome: str) -> Totals:
    """Run a pipeline to its end and show the counts meanwhile.

    Raises:
        RuntimeError: The pipeline was cancelled or did not finish.
        Exception: The pipeline failed.
    """
    bytes_read.count = _here.written = 0
    _here.failed.clear()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _frozen(), Progress(*columns, console=console) as progress:
        with _Display(progress, outcome, total_bytes) as display:
            # In the main thread, because some runners install signal handlers.
            interrupt_at_signals()
            display.result = pipeline.run()
            interrupt_at_signals()  # once more: Beam's own handler would stop the runner before the job
            try:
                state = display.result.wait_until_finish() or display.result.state
            except KeyboardInterrupt:
                _cancel(display.result, console)
                raise
            if state != PipelineState.DONE:
                raise RuntimeError(f"The pipeline ended as {state}")
        return display.totals


@contextlib.contextmanager
def _frozen() -> Iterator[None]:
    """Keep the objects of all imports from the garbage collector, which would visit them for each batch of rows."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _cancel(result: PipelineResult, console: Console) -> None:
    # Worker threads in this process lose their runner, and each would print a traceback.
    threading.excepthook = lambda _: None
    try:
        result.cancel()
    except Exception as error:  # noqa: BLE001 - runners raise different types
        console.print(f"The job may still run: {last_line(error)}", soft_wrap=True, highlight=False, markup=False)


def _summary(totals: Totals, seconds: float, *, dry_run: bool, **more: str) -> str:
    """Return the summary, one line per fact; `more` adds facts."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in totals.failed.most_common())
    facts = {
        "would be written" if dry_run else "rows written": f"{totals.written:,}",
        "rows failed": f"{totals.failed.total():,}" + (f" ({kinds})" if kinds else ""),
        "took": f"{seconds:.1f} s, {totals.rows / seconds:,.0f} rows/s",
        **more,
    }
    width = max(12, *map(len, facts)) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in facts.items())


class _Display(threading.Thread):
    """Shows the current counts until the context ends; then `totals` is final.

    The thread that runs the pipeline sets `result` once; this thread reads it.
    """

    def __init__(self, progress: Progress, outcome: str, total_bytes: int) -> None:
        super().__init__(name="progress", daemon=True)
        self.result: PipelineResult | None = None
        self.totals = Totals()
        self._progress = progress
        self._outcome = outcome
        self._total_bytes = total_bytes
        self._since = self._changed = time.monotonic()
        self._shown_rows = 0
        self._ended = threading.Event()
        self._stopped = False
        self._task = progress.add_task(self._line(), total=None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopped = error is not None
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Show the counts until the end; query the runner's metrics less often than the counts of this process."""
        queried_at = 0.0
        while not self._ended.wait(_REFRESH_SECONDS):
            if time.monotonic() - queried_at > _QUERY_SECONDS:
                self._query()
                queried_at = time.monotonic()
            self._show()
        self._query()
        self._show()
        self._progress.update(self._task, total=1, completed=1)

    def _query(self) -> None:
        if self.result is not None:
            with contextlib.suppress(Exception):  # not every runner has metrics, and the exceptions differ
                self.totals = _metrics_of(self.result)

    def _show(self) -> None:
        before = self._shown_rows
        self.totals = max(self.totals, _here, key=lambda totals: totals.rows)
        self._shown_rows = self.totals.rows
        if self._shown_rows != before:
            self._changed = time.monotonic()
        self._progress.update(self._task, description=self._line())

    def _line(self) -> str:
        if self._stopped:  # rows of unfinished bundles are not counted
            return "stopped"
        now = time.monotonic()
        return progress_line(
            self.totals,
            outcome=self._outcome,
            seconds=now - self._since,
            idle_seconds=0.0 if self._ended.is_set() else now - self._changed,
            read=0.0 if self._ended.is_set() or not self._total_bytes else bytes_read.count / self._total_bytes,
            width=self._progress.console.width - _BESIDE_THE_LINE,
        )


def progress_line(
    totals: Totals, *, outcome: str, seconds: float, idle_seconds: float = 0.0, read: float = 0.0, width: int = 80
) -> str:
    """Return the counts so far, with as much of the rest as fits.

    Args:
        totals: The counts.
        outcome: What rows are that did not fail, such as ``written``.
        seconds: Since the start.
        idle_seconds: Since a count last changed.
        read: The share of the input that is read; 0 where that is not known.
        width: Characters at most, where the counts themselves fit.

    Example:
        >>> progress_line(Totals(written=1000), outcome="written", seconds=10.0, read=0.25)
        '1,000 rows written, 0 failed, 25% read, 0:00:30 left, 100 rows/s'
        >>> progress_line(Totals(written=1000), outcome="written", seconds=40.0, idle_seconds=9.0, read=1.0)
        '1,000 rows written, 0 failed, none for 9 s, 99% read'
    """
    # What is read is not yet written, and parts of a file are read with their neighbours' edges.
    read = min(read, 0.99)
    idle = idle_seconds >= _IDLE_SECONDS
    parts = [f"{counted(totals.written, 'row')} {outcome}", f"{totals.failed.total():,} failed"]
    if idle:
        parts.append(f"none for {idle_seconds:.0f} s")
    if read:
        parts.append(f"{read:.0%} read")
    if 0 < read < 0.99 and not idle:
        parts.append(f"{timedelta(seconds=round(seconds * (1 - read) / read))} left")
    if not idle:
        parts.append(f"{totals.rows / max(seconds, _REFRESH_SECONDS):,.0f} rows/s")
    while len(parts) > 2 and len(", ".join(parts)) > width:
        parts.pop()
    return ", ".join(parts)


def _metrics_of(result: PipelineResult) -> Totals:
    totals = Totals()
    # A portable runner's result caches its first metrics forever; a copy of an unused result queries the runner again.
    for counter in copy.copy(result).metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]:
        name, count = counter.key.metric.name, counter.result or 0
        if name == _WRITTEN:
            totals.written += count
        else:
            totals.failed[name.removeprefix(_FAILED)] += count
    return totals
