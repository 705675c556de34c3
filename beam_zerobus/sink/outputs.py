"""From the outcome of a batch to the sink's outputs: a failed row for each rejected one, and what is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from apache_beam.pvalue import Row, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.errors import RowErrors
from beam_zerobus.sink.bundle import Outcome
from beam_zerobus.sink.failed_rows import FAILED_ROWS, FailedRows

__all__ = ["Output", "acknowledged_outputs", "failed_outputs"]

_AT_ONCE = 1_000  # all the rows of a rejected batch would need far more memory than it

Output: TypeAlias = "WindowedValue | TaggedOutput[str, WindowedValue]"


def failed_outputs(outcome: Outcome, *, as_element: Callable[[object], object], together: bool) -> Iterator[Output]:
    """Yield the failed rows, each with the timestamp and the windows of its element.

    Args:
        outcome: The batch.
        as_element: Turns a rejected row into an element of the pipeline.
        together: Yield many of them as one `FailedRows`, in the place of the first.
    """
    attempts = outcome.result.attempts if outcome.result is not None else 0
    origin = outcome.rows.origin
    for start in range(0, len(outcome.rejected), _AT_ONCE):
        errors = RowErrors.of(outcome.rejected[start : start + _AT_ONCE])
        rows = origin.single_rows(errors.indices) if together else None
        indices = errors.indices.tolist()
        failed = FailedRows.of(
            [as_element(origin.element(index)) for index in indices] if rows is None else rows,
            errors,
            table=outcome.table,
            attempts=attempts,
            places=origin.places_in_file(errors),
        )
        if together:
            yield TaggedOutput(FAILED_ROWS, origin.with_windows_of(failed, indices[0]))
            continue
        for letter, index in zip(failed.letters(), indices, strict=True):
            yield TaggedOutput(FAILED_ROWS, origin.with_windows_of(Row(**letter), index))


def acknowledged_outputs(outcome: Outcome) -> Iterator[Output]:
    """Yield one element of `acknowledged` for the rows in the same windows, with their share of the bytes."""
    result = outcome.result
    if result is None or not result.successful_count:
        return
    bytes_per_row = result.batch_size_bytes / result.successful_count
    rejected = [error.index for error in outcome.rejected]
    for rows, windowed in outcome.rows.origin.by_windows(outcome.rows.count, without=rejected):
        yield windowed(
            Row(table=outcome.table, rows=rows, bytes=round(rows * bytes_per_row), latency_ms=result.latency_ms)
        )
