"""What `beam-zerobus inspect` shows of debug files: schema, counts, time spans, first rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.debug_files.folders import ARROW
from beam_zerobus.debug_files.inspect.conditions import Condition
from beam_zerobus.debug_files.inspect.files import DebugFile
from beam_zerobus.debug_files.inspect.reading import Note, arrow_batches, proto_batches, read_marks, warn
from beam_zerobus.errors import ConfigurationError

__all__ = ["FileSummary", "SetSummary", "python_value", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSummary:
    """One file: its path, size and counts, and the first marks of its rejected rows, as they are in the file.

    Attributes:
        path: The file.
        size_bytes: Its size.
        batches: None for protobuf files, which are rows one after another.
        rows: All rows.
        rejected_rows: All rows that are marked as rejected.
        matching_rejected_rows: Those that match all conditions; None where that is not known, as protobuf files do
            not have the rows that were rejected before they were sent.
        rejections: The marks of the first of these; where it is not known which match, of the first rejected rows.
    """

    path: str
    size_bytes: int | None
    batches: int | None
    rows: int
    rejected_rows: int
    matching_rejected_rows: int | None
    rejections: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True, kw_only=True)
class SetSummary:
    """The files of one table, shard and format.

    Attributes:
        base: Table and shard.
        format: ``"arrow"`` or ``"proto"``.
        files: Each file, oldest first.
        schema: The columns of the last file.
        schemas: How many different schemas the files have.
        rows: Rows of all files.
        matching_rows: Those that match all conditions.
        time_spans: First and last value of each time or date column, among matching rows.
        head: The first matching rows, as dicts.
    """

    base: str
    format: str
    files: list[FileSummary] = field(default_factory=list)
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    schemas: int = 0
    rows: int = 0
    matching_rows: int = 0
    time_spans: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    head: list[dict[str, Any]] = field(default_factory=list)


def summarize(
    files: Sequence[DebugFile],
    *,
    head: int,
    columns: Sequence[str] = (),
    conditions: Sequence[Condition] = (),
    limit: int = 20,
    note: Note = warn,
) -> list[SetSummary]:
    """Read files and summarize them by table and shard; memory holds one batch at a time.

    Args:
        files: Files of one format, as `find_files` orders them.
        head: How many rows to keep.
        columns: The columns to keep of these rows; none keeps all.
        conditions: Only rows that match all of them are counted as matching, and kept.
        limit: How many rejected rows of each file to keep.
        note: Receives a sentence about each file that is not complete.

    Raises:
        ConfigurationError: A column does not exist, or cannot hold the value of a condition.
        ValueError: A file is damaged.
    """
    summaries: dict[tuple[str, str], SetSummary] = {}
    for file in files:
        kind = "arrow" if file.name.suffix == ARROW else "proto"
        summary = summaries.setdefault((file.directory, file.name.base), SetSummary(base=file.name.base, format=kind))
        marks = read_marks(file, note)  # first: a writer may add a batch and its marks meanwhile
        matches = [
            _add(summary, batch, head=head, columns=columns, conditions=conditions) for batch in _batches(file, note)
        ]
        matching = marks
        if conditions and kind == "arrow":
            matching = [mark for mark in marks if _is_match(matches, mark["batch"], mark["row"])]
        summary.files.append(
            FileSummary(
                path=str(file),
                size_bytes=file.size(),
                batches=len(matches) if kind == "arrow" else None,
                rows=sum(map(len, matches)),
                rejected_rows=len(marks),
                matching_rejected_rows=None if conditions and kind == "proto" else len(matching),
                rejections=tuple(matching[:limit]),
            )
        )
    return list(summaries.values())


def python_value(scalar: pa.Scalar) -> Any:
    """Return a value as Python has it, or as text if Python has no such value, for example nanoseconds.

    Invalid UTF-8 becomes text with escapes.
    """
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "backslashreplace")
    except (ValueError, ImportError, ArithmeticError, LookupError):  # the last: a time zone that does not exist
        return _as_text(scalar)


def _as_text(scalar: pa.Scalar) -> str:
    try:
        return str(scalar)
    except (ValueError, ImportError, ArithmeticError, LookupError):
        return f"<{scalar.type} that cannot be shown>"


def _batches(file: DebugFile, note: Note = warn) -> Iterator[pa.RecordBatch]:
    return arrow_batches(file, note) if file.name.suffix == ARROW else proto_batches(file, note)


def _is_match(matches: Sequence[np.ndarray], batch: int, row: int) -> bool:
    return 0 <= batch < len(matches) and 0 <= row < len(matches[batch]) and bool(matches[batch][row])


def _add(
    summary: SetSummary, batch: pa.RecordBatch, *, head: int, columns: Sequence[str], conditions: Sequence[Condition]
) -> np.ndarray:
    """Add a batch; return a mask of the rows that match."""
    if summary.schemas == 0 or not summary.schema.equals(batch.schema):
        summary.schemas += 1
        summary.schema = batch.schema
    mask = np.ones(batch.num_rows, dtype=bool)
    for condition in conditions:
        mask &= condition.matches(batch)
    summary.rows += batch.num_rows
    summary.matching_rows += int(mask.sum())
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            _extend_span(summary.time_spans, name, column.filter(pa.array(mask)))
    for name in columns:
        if name not in batch.schema.names:
            raise ConfigurationError(f"there is no column {name!r}; there are {', '.join(batch.schema.names)}")
    by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
    for row in np.flatnonzero(mask)[: head - len(summary.head)]:
        summary.head.append({name: python_value(by_name[name][int(row)]) for name in columns or by_name})
    return mask


def _extend_span(spans: dict[str, tuple[Any, Any]], name: str, column: pa.Array) -> None:
    least_and_most = pc.min_max(column)
    if least_and_most["min"].is_valid:
        values = [python_value(least_and_most[end]) for end in ("min", "max")]
        known = spans.get(name, (values[0], values[1]))
        try:
            spans[name] = (min(known[0], values[0]), max(known[1], values[1]))
        except TypeError:  # the column had another type in an earlier file
            spans[name] = (values[0], values[1])
