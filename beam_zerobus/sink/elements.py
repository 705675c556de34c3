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
from beam_zerobus.errors import RowError, RowErrors, ZerobusError
from beam_zerobus.sink.rows_of_file import Places, RowsOfFile
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

    The DoFn's thread appends while the thread of `Ticker` may take. No lock is needed, which would cost more than the
    append: an element counts once it is in `values`, and the DoFn appends to `windows` and `micros` before.

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

    def single_rows(self, indices: np.ndarray) -> SingleRows | None:
        """Return some rows of a RecordBatch or Table together; None for other rows."""
        return None if isinstance(self.rows, list) else SingleRows.of(self.rows, indices)

    @property
    def rows(self) -> list[Any] | pa.RecordBatch | pa.Table:
        """All rows, as the DoFn received them."""
        if not self.holds_rows:
            return self.elements.values
        whole = self.elements.values[0]
        return whole.rows if isinstance(whole, RowsOfFile) else whole

    def places_in_file(self, errors: Sequence[RowError]) -> Places | None:
        """Return the places of rejected rows in a file; None where they are not those of a file."""
        whole = self.elements.values[0] if self.holds_rows else None
        return whole.places(RowErrors.of(errors).indices) if isinstance(whole, RowsOfFile) else None

    def located(self, errors: Sequence[RowError]) -> Sequence[RowError]:
        """Return rejected rows with their places in the messages, where these are known."""
        places = self.places_in_file(errors)
        if places is None:
            return errors
        messages = places.of(error.message for error in errors)
        return [replace(error, message=message) for error, message in zip(errors, messages, strict=True)]

    def named(self, error: ZerobusError) -> ZerobusError:
        """Return an error with the place of the rows in its message, where they are those of a file."""
        whole = self.elements.values[0] if self.holds_rows else None
        return type(error)(f"{whole.source}: {error}", *error.args[1:]) if isinstance(whole, RowsOfFile) else error

    def with_windows_of(self, value: object, row: int) -> WindowedValue:
        """Return a value with the timestamp and the windows of the row's element."""
        index = 0 if self.holds_rows else row
        elements = self.elements
        windows = elements.windows[index] if elements.windows else _GLOBAL
        return _windowed(value, elements.micros[index] if elements.micros else None, windows)

    def by_windows(self, rows: int, without: Iterable[int]) -> Iterator[tuple[int, Callable[[object], WindowedValue]]]:
        """Count `rows` rows, except some, by the windows of their elements.

        Yields:
            The number of rows in the same windows, and a function that gives a value these windows and the latest
            timestamp of these rows.
        """
        left_out = set(without)
        elements = self.elements
        if self.holds_rows or not elements.windows:
            windows = elements.windows[0] if elements.windows else _GLOBAL
            yield rows - len(left_out), partial(_windowed, micros=max(elements.micros, default=None), windows=windows)
            return
        latest: dict[Windows, int] = {}
        counts: Counter[Windows] = Counter()
        for row, windows in enumerate(map(tuple, elements.windows)):
            if row not in left_out:
                counts[windows] += 1
                latest[windows] = max(latest.get(windows, elements.micros[row]), elements.micros[row])
        for windows, count in counts.items():
            yield count, partial(_windowed, micros=latest[windows], windows=windows)

    def numbers_in_source(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of rows in a source that numbers them by timestamps, in milliseconds.

        The rows of a RecordBatch or Table have consecutive numbers; its timestamp is the number of its first row.
        """
        millis = np.array(self.elements.micros, np.int64) // 1_000
        return millis[0] + self.first + rows if self.holds_rows else millis[rows]


def _windowed(value: object, micros: int | None, windows: Windows) -> WindowedValue:
    return WindowedValue(value, MIN_TIMESTAMP if micros is None else Timestamp(micros=micros), windows)
