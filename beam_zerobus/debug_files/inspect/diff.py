"""The difference between what went in (Arrow) and what went out (protobuf), row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.debug_files.folders import ARROW
from beam_zerobus.debug_files.inspect.files import DebugFile
from beam_zerobus.debug_files.inspect.reading import Note, arrow_batches, proto_batches, read_marks, warn
from beam_zerobus.debug_files.inspect.summary import python_value

__all__ = ["Difference", "PairDiff", "compare", "pairs"]

_NEVER_SENT = ("batching", "schema", "encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value that differs: `batch` counts in the Arrow file, `row` in the batch."""

    batch: int
    row: int
    column: str
    arrow: Any
    proto: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDiff:
    """The result of comparing the Arrow and the protobuf file of one stem.

    Attributes:
        stem: Their name without suffix.
        arrow_rows: Rows of the Arrow file; None if the file is missing.
        rejected_rows: Those of them that were rejected before they were encoded.
        proto_rows: Rows of the protobuf file; None if the file is missing.
        columns_only_in_arrow: Columns that the protobuf file does not have: they were not sent.
        different_values: How many values differ.
        differences: The first of them.
    """

    stem: str
    arrow_rows: int | None
    rejected_rows: int
    proto_rows: int | None
    columns_only_in_arrow: tuple[str, ...] = ()
    different_values: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether every row that was not rejected is in both files with the same values."""
        if self.arrow_rows is None or self.proto_rows is None:
            return False
        return self.arrow_rows - self.rejected_rows == self.proto_rows and self.different_values == 0


def pairs(files: Sequence[DebugFile]) -> list[tuple[DebugFile, DebugFile]]:
    """Return the Arrow and the protobuf file that belong together, for files of either format."""
    found = ((file, file.counterpart()) for file in files)
    unique = {(one, other) if one.name.suffix == ARROW else (other, one) for one, other in found}
    return sorted(unique, key=lambda pair: (pair[0].directory, *pair[0].name.order))


def compare(arrow: DebugFile, proto: DebugFile, *, limit: int, note: Note = warn) -> PairDiff:
    """Compare two files that hold the same batches; keep the first `limit` differences.

    `note` receives a sentence about each file that is not complete.

    Raises:
        ValueError: A file is damaged.
    """
    went_in = None if arrow.size() is None else list(arrow_batches(arrow, note))
    went_out = None if proto.size() is None else list(proto_batches(proto, note))
    never_sent = {(mark["batch"], mark["row"]) for mark in read_marks(arrow, note) if mark["stage"] in _NEVER_SENT}
    found: list[Difference] = []
    different = 0
    only_in_arrow: tuple[str, ...] = ()
    if went_in and went_out:
        places = [(b, r) for b, batch in enumerate(went_in) for r in range(batch.num_rows)]
        was_sent = np.array([place not in never_sent for place in places], dtype=bool)
        sent, received = pa.Table.from_batches(went_in), pa.Table.from_batches(went_out)
        only_in_arrow = tuple(name for name in sent.schema.names if name not in received.schema.names)
        rows = np.flatnonzero(was_sent)[: received.num_rows]
        for name in received.schema.names:
            for kept, (position, one, other) in enumerate(_unequal(sent, received, name, rows)):
                different += 1
                if kept < limit:
                    batch, row = places[rows[position]]
                    found.append(Difference(batch=batch, row=row, column=name, arrow=one, proto=other))
    return PairDiff(
        stem=arrow.name.stem,
        arrow_rows=None if went_in is None else sum(batch.num_rows for batch in went_in),
        rejected_rows=len(never_sent) if went_in else 0,
        proto_rows=None if went_out is None else sum(batch.num_rows for batch in went_out),
        columns_only_in_arrow=only_in_arrow,
        different_values=different,
        differences=tuple(sorted(found, key=lambda difference: (difference.batch, difference.row))[:limit]),
    )


def _unequal(sent: pa.Table, received: pa.Table, name: str, rows: np.ndarray) -> Iterator[tuple[int, Any, Any]]:
    """Yield position and both values where the sent rows differ from the received ones."""
    other = received[name].combine_chunks()[: len(rows)]
    index = sent.schema.names.index(name) if name in sent.schema.names else None
    one = pa.nulls(sent.num_rows, other.type) if index is None else sent.column(index).combine_chunks()
    # Dictionaries, large or small types, nanoseconds: the same values in another form do not differ.
    with suppress(pa.ArrowException, ValueError, LookupError):
        one = one.cast(other.type, safe=False)
    for position in _candidates(one, other, rows):
        values = python_value(one[int(rows[position])]), python_value(other[int(position)])
        if not _is_same(*values):
            yield int(position), *values


def _candidates(one: pa.Array, other: pa.Array, rows: np.ndarray) -> Iterable[int]:
    """Return the positions where values may differ; all of them for nested types."""
    try:
        equal = pc.equal(one.take(pa.array(rows)), other)
    except (pa.ArrowException, LookupError):
        return range(len(rows))
    return np.flatnonzero(~pc.fill_null(equal, fill_value=False).to_numpy(zero_copy_only=False).astype(bool))


def _is_same(one: Any, other: Any) -> bool:
    """Compare two values as far as protobuf distinguishes them: null, an empty list and an empty map are the same."""
    if not one and not other and isinstance(one, list | None) and isinstance(other, list | None):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_is_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        if _are_entries(one) and _are_entries(other):
            return _is_same(dict(one), dict(other))
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def _are_entries(values: list[Any]) -> bool:
    """Whether a list holds a map's entries, which have no order."""
    return all(isinstance(value, tuple) for value in values)
