"""Counts what a sink writes and rejects, and shows it in the terminal while the pipeline runs."""

from __future__ import annotations

import contextlib
import copy
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.command import last_line

__all__ = ["CountFailed", "CountWritten", "Totals", "run_and_report"]

_NAMESPACE = "pipelines"
_WRITTEN = "rows_written"
_FAILED = "rows_failed "
_REFRESH_SECONDS = 0.2
_ASK_SECONDS = 2.0


@dataclass(slots=True)
class Totals:
    """What became of the rows.

    Attributes:
        written: Rows that are durable, or in a dry run would have been sent.
        failed: Rows that were rejected, by the kind of reason.
    """

    written: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.written + self.failed.total()


# Where the pipeline runs in this process, its thread counts here and the terminal reads. Elsewhere Beam's metrics tell.
_here = Totals()


class CountWritten(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Counts the rows of a sink's `acknowledged`."""

    def expand(self, acknowledged: PCollection[Any]) -> PCollection[Any]:
        """Count them."""
        return acknowledged | beam.Map(_note_written)


class CountFailed(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Counts the rows of `failed_rows`, and passes them on."""

    def expand(self, failed_rows: PCollection[Any]) -> PCollection[Any]:
        """Count them."""
        return failed_rows | beam.Map(_note_failed).with_output_types(Any)


def _note_written(batch: Any) -> None:
    _here.written += batch.rows
    Metrics.counter(_NAMESPACE, _WRITTEN).inc(batch.rows)


def _note_failed(row: Any) -> Any:
    _here.failed[row.error_type] += 1
    Metrics.counter(_NAMESPACE, _FAILED + row.error_type).inc()
    return row


def run_and_report(pipeline: beam.Pipeline, console: Console, *, dead_letters: str | None) -> int:
    """Run a pipeline, show its progress and say how it ended.

    Args:
        pipeline: The pipeline, with `CountWritten` and `CountFailed` in it.
        console: The terminal.
        dead_letters: Where the pipeline keeps rejected rows, None if nowhere.

    Returns:
        The exit code: 0; 1 where the pipeline failed, or rows did and are not kept; 130 where it was interrupted.
    """
    started = time.monotonic()
    try:
        totals = _run_with_progress(pipeline, console)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - whatever it is, say it and fail
        if _interrupted(error):
            console.print("[red]Interrupted[/]; rows that were written stay in the table")
            return 130
        console.print("Failed:", style="red", end=" ")
        console.print(last_line(error), soft_wrap=True, highlight=False, markup=False)
        return 1
    kept = {"kept in": dead_letters or "nowhere: --dead_letters DIR keeps them"} if totals.failed else {}
    print(_summary(totals, time.monotonic() - started, **kept))
    return 1 if totals.failed and not dead_letters else 0


def _interrupted(error: BaseException | None) -> bool:
    """Say whether Ctrl-C is behind an error; runners in this process raise others from it."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _interrupted(error.__context__))


def _run_with_progress(pipeline: beam.Pipeline, console: Console) -> Totals:
    """Run a pipeline to its end and show how many rows went which way.

    Raises:
        RuntimeError: The pipeline was cancelled, or ended otherwise before its end.
        Exception: Whatever made it fail.
    """
    _here.written = 0
    _here.failed.clear()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        with _Display(progress) as display:
            # In the main thread, as some runners handle signals.
            display.result = pipeline.run()
            # Beam's own handler would end the runner before the job.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                state = display.result.wait_until_finish() or display.result.state
            except KeyboardInterrupt:
                _cancel(display.result, console)
                raise
        if state != PipelineState.DONE:
            raise RuntimeError(f"The pipeline ended as {state}")
        return display.totals


def _cancel(result: PipelineResult, console: Console) -> None:
    # Threads of workers in this process lose their runner, and each would say so at length.
    threading.excepthook = lambda _: None
    try:
        result.cancel()
    except Exception as error:  # noqa: BLE001 - each runner has its own
        console.print(f"The job may still run: {last_line(error)}", soft_wrap=True, highlight=False, markup=False)


def _summary(totals: Totals, seconds: float, **more: str) -> str:
    """Return what happened, a line for each fact; `more` adds some."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in totals.failed.most_common())
    facts = {
        "rows written": f"{totals.written:,}",
        "rows failed": f"{totals.failed.total():,}" + (f" ({kinds})" if kinds else ""),
        "took": f"{seconds:.1f} s, {totals.rows / seconds:,.0f} rows/s",
        **more,
    }
    return "\n".join(f"{name:<14}{value}" for name, value in facts.items())


class _Display(threading.Thread):
    """Shows what is known by now, until the context ends; then `totals` are final.

    `result` is set once by the thread that runs the pipeline, when the runner gives it; this thread reads it.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__(name="progress", daemon=True)
        self.result: PipelineResult | None = None
        self.totals = Totals()
        self._progress = progress
        self._since = time.monotonic()
        self._task = progress.add_task(self._line(), total=None)
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Show until the end; ask a runner elsewhere now and then only."""
        asked_at = 0.0
        while not self._ended.wait(_REFRESH_SECONDS):
            if time.monotonic() - asked_at > _ASK_SECONDS:
                self._ask()
                asked_at = time.monotonic()
            self._show()
        self._ask()
        self._show()
        self._progress.update(self._task, total=1, completed=1)

    def _ask(self) -> None:
        if self.result is not None:
            with contextlib.suppress(Exception):  # not every runner tells metrics, and each says so in its own way
                self.totals = _told_by(self.result)

    def _show(self) -> None:
        self.totals = max(self.totals, _here, key=lambda totals: totals.rows)
        self._progress.update(self._task, description=self._line())

    def _line(self) -> str:
        totals = self.totals
        rate = totals.rows / max(time.monotonic() - self._since, _REFRESH_SECONDS)
        return f"{totals.written:,} rows written, {totals.failed.total():,} failed, {rate:,.0f} rows/s"


def _told_by(result: PipelineResult) -> Totals:
    totals = Totals()
    # A portable runner's result keeps its first answer for good: a copy of one that was never asked asks the runner.
    for counter in copy.copy(result).metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]:
        name, count = counter.key.metric.name, counter.result or 0
        if name == _WRITTEN:
            totals.written += count
        else:
            totals.failed[name.removeprefix(_FAILED)] += count
    return totals
