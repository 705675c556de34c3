"""Counts what a sink writes and refuses, and shows it in the terminal while the pipeline runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["CountFailed", "CountWritten", "Totals", "run_with_progress", "summary"]

_NAMESPACE = "pipelines"
_WRITTEN = "rows_written"
_FAILED = "rows_failed "
_POLL_SECONDS = 2.0


@dataclass(slots=True)
class Totals:
    """What became of the rows.

    Attributes:
        written: Rows that are durable, or in a dry run would have been sent.
        failed: Rows that were refused, by the kind of reason.
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


def run_with_progress(pipeline: beam.Pipeline, console: Console) -> Totals:
    """Run a pipeline to its end and show how many rows went which way.

    Raises:
        Exception: Whatever made the pipeline fail.
    """
    _here.written = 0
    _here.failed.clear()
    run = _Run(pipeline)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    started = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(_line(_here, 0.0), total=None)
        run.start()
        while run.is_alive():
            run.join(0.2)
            progress.update(task, description=_line(run.totals(), time.monotonic() - started))
        if run.failure is not None:
            raise run.failure
        totals = run.totals(final=True)
        progress.update(task, description=_line(totals, time.monotonic() - started), total=1, completed=1)
    return totals


def summary(totals: Totals, seconds: float, **more: str) -> str:
    """Return what happened, a line for each fact; `more` adds some."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in totals.failed.most_common())
    facts = {
        "rows written": f"{totals.written:,}",
        "rows failed": f"{totals.failed.total():,}" + (f" ({kinds})" if kinds else ""),
        "took": f"{seconds:.1f} s, {totals.rows / seconds:,.0f} rows/s",
        **more,
    }
    return "\n".join(f"{name:<14}{value}" for name, value in facts.items())


def _line(totals: Totals, seconds: float) -> str:
    rate = totals.rows / seconds if seconds else 0.0
    return f"{totals.written:,} rows written, {totals.failed.total():,} failed, {rate:,.0f} rows/s"


class _Run(threading.Thread):
    """The pipeline's run, beside the thread that shows it.

    `result` and `failure` are set once by this thread and only read by others.
    """

    def __init__(self, pipeline: beam.Pipeline) -> None:
        super().__init__(name="pipeline", daemon=True)
        self._pipeline = pipeline
        self._polled = Totals()
        self._poll_at = 0.0
        self.result: PipelineResult | None = None
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self.result = self._pipeline.run()
            state = self.result.wait_until_finish() or self.result.state
            if state != PipelineState.DONE:
                raise RuntimeError(f"The pipeline ended as {state}")
        except Exception as failure:  # noqa: BLE001 - raised again in the thread that shows the progress
            self.failure = failure

    def totals(self, *, final: bool = False) -> Totals:
        """Return what is known by now: counted in this process, or told by the runner."""
        if self.result is not None and (final or time.monotonic() >= self._poll_at):
            self._poll_at = time.monotonic() + _POLL_SECONDS
            with contextlib.suppress(Exception):  # not every runner tells metrics, and they say so in different ways
                self._polled = _told_by(self.result)
        return max(self._polled, _here, key=lambda totals: totals.rows)


def _told_by(result: PipelineResult) -> Totals:
    totals = Totals()
    for counter in result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]:
        name, count = counter.key.metric.name, counter.result or 0
        if name == _WRITTEN:
            totals.written += count
        else:
            totals.failed[name.removeprefix(_FAILED)] += count
    return totals
