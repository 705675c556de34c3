"""Elements of a bundle, with their timestamps and windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import BoundedWindow, GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.destinations import Positions
from beam_zerobus.errors import RowError, ZerobusError
from beam_zerobus.sink.rows_of_file import RowsOfFile
from beam_zerobus.sink.single_rows import SingleRows, single_row

__all__ = ["Elements", "Origin", "Windows", "holds_rows"]

Windows: TypeAlias = "tuple[BoundedWindow, ...]"

_GLOBAL: Windows = (GlobalWindow(),)


def holds_rows(element: object) -> bool:
    """Return whether an element is a RecordBatch, a Table or rows of a file, rather than one row."""
    return isinstance(element, pa.RecordBatch | pa.Table | RowsOfFile)


@dataclass(slots=True)
class Elements:
    """Elements collected for the next batch; the DoFn appends, `take` empties.

    Timestamps are plain microseconds, and windows are kept only if there are others than the global one: the garbage
    collector would visit each of ten thousand waiting objects again and again.

    Attributes:
        values: The elements.
        micros: The timestamp of each, or empty if no output needs them.
        windows: The windows of each, or empty for the global window.
        parsed: The records that JSON elements hold, or empty where they are not parsed yet.
    """

    values: list[Any] = field(default_factory=list)
    micros: list[int] = field(default_factory=list)
    windows: list[Windows] = field(default_factory=list)
    parsed: list[Any] = field(default_factory=list)

    def take(self, count: int | None = None) -> Elements:
        """Remove and return the first elements, or all; one that a thread appends meanwhile stays for the next call."""
        count = len(self.values) if count is None else count
        taken = Elements(self.values[:count], self.micros[:count], self.windows[:count], self.parsed[:count])
        for column in self._columns:
            del column[:count]
        return taken

    def add(self, others: Elements) -> None:
        """Add other elements; where only some are parsed, all are parsed again later."""
        if others.parsed and len(self.parsed) == len(self.values):
            self.parsed += others.parsed
        else:
            self.parsed.clear()
        self.values += others.values
        self.micros += others.micros
        self.windows += others.windows

    def clear(self) -> None:
        """Drop all elements."""
        for column in self._columns:
            column.clear()

    @property
    def _columns(self) -> tuple[list[Any], ...]:
        return self.values, self.micros, self.windows, self.parsed

    def select(self, indices: Positions) -> Elements:
        """Return some of the elements."""
        return Elements(
            [self.values[i] for i in indices],
            [self.micros[i] for i in indices] if self.micros else [],
            [self.windows[i] for i in indices] if self.windows else [],
            [self.parsed[i] for i in indices] if self.parsed else [],
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Which element each row of a batch was.

    Attributes:
        elements: The elements, one a row; or a single one that holds all rows.
        holds_rows: The single element holds all rows.
        first: The number of its first row in the element that it was cut from.
    """

    elements: Elements
    holds_rows: bool = False
    first: int = 0

    def element(self, row: int) -> object:
        """Return the row's element; of a RecordBatch or Table, one that holds the row alone."""
        rows = self.rows
        return rows[row] if isinstance(rows, list) else single_row(rows, row)

    def single_rows(self, indices: Sequence[int]) -> SingleRows | None:
        """Return some rows of a RecordBatch or Table together; None for other rows."""
        return None if isinstance(self.rows, list) else SingleRows.of(self.rows, indices)

    @property
    def rows(self) -> list[Any] | pa.RecordBatch | pa.Table:
        """All rows, as they came."""
        if not self.holds_rows:
            return self.elements.values
        whole = self.elements.values[0]
        return whole.rows if isinstance(whole, RowsOfFile) else whole

    def messages(self, errors: Sequence[RowError]) -> list[str]:
        """Return the messages of rejected rows, with their places where these are known."""
        whole = self.elements.values[0] if self.holds_rows else None
        if not isinstance(whole, RowsOfFile):
            return [error.message for error in errors]
        places = whole.places([error.index for error in errors])
        return [f"{place}, {error.message}" for place, error in zip(places, errors, strict=True)]

    def located(self, errors: Sequence[RowError]) -> list[RowError]:
        """Return rejected rows with their places in the messages, where these are known."""
        return [replace(error, message=message) for error, message in zip(errors, self.messages(errors), strict=True)]

    def named(self, error: ZerobusError) -> ZerobusError:
        """Return an error with the place of the rows in its message, where they are those of a file."""
        whole = self.elements.values[0] if self.holds_rows else None
        return type(error)(f"{whole.source}: {error}", *error.args[1:]) if isinstance(whole, RowsOfFile) else error

    def in_place(self, value: object, row: int) -> WindowedValue:
        """Return a value with the timestamp and the windows of the row's element."""
        index = 0 if self.holds_rows else row
        elements = self.elements
        windows = elements.windows[index] if elements.windows else _GLOBAL
        return _placed(value, elements.micros[index] if elements.micros else None, windows)

    def by_place(self, rows: int, without: Iterable[int]) -> Iterator[tuple[int, Callable[[object], WindowedValue]]]:
        """Count `rows` rows, except some, by the windows of their elements.

        Yields:
            The number of rows in the same windows, and a function that puts a value there, at their latest timestamp.
        """
        left_out = set(without)
        elements = self.elements
        if self.holds_rows or not elements.windows:
            windows = elements.windows[0] if elements.windows else _GLOBAL
            yield rows - len(left_out), partial(_placed, micros=max(elements.micros, default=None), windows=windows)
            return
        latest: dict[Windows, int] = {}
        counts: Counter[Windows] = Counter()
        for row, windows in enumerate(map(tuple, elements.windows)):
            if row not in left_out:
                counts[windows] += 1
                latest[windows] = max(latest.get(windows, elements.micros[row]), elements.micros[row])
        for windows, count in counts.items():
            yield count, partial(_placed, micros=latest[windows], windows=windows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows come from: the milliseconds of their elements' timestamps.

        Rows of a RecordBatch or Table are a millisecond apart, so that a source that numbers its rows in timestamps
        finds each of them again.
        """
        millis = np.array(self.elements.micros, np.int64) // 1_000
        return millis[0] + self.first + rows if self.holds_rows else millis[rows]


def _placed(value: object, micros: int | None, windows: Windows) -> WindowedValue:
    return WindowedValue(value, MIN_TIMESTAMP if micros is None else Timestamp(micros=micros), windows)
