"""Why a row is rejected: the list of error types, and the collection of rejected rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from beam_zerobus.errors import RowError, RowErrors

__all__ = ["Faults", "Place", "Reason", "RowErrorType", "may_fit_wider_column"]

Locate: TypeAlias = Callable[[np.ndarray], np.ndarray]


class RowErrorType(StrEnum):
    """Every `error_type` that a rejected row can have; `docs/errors.md` explains each."""

    NULL_IN_NOT_NULL_COLUMN = "null_in_not_null_column"
    OUT_OF_RANGE = "out_of_range"
    INEXACT = "inexact"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_TEXT = "invalid_text"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_JSON = "invalid_json"
    DUPLICATE_KEY = "duplicate_key"
    NULL_LIST_ELEMENT = "null_list_element"
    NULL_MAP_VALUE = "null_map_value"
    ROW_TOO_LARGE = "row_too_large"
    INVALID_TABLE = "invalid_table"
    UNKNOWN_TABLE = "unknown_table"
    REJECTED_BY_SERVICE = "rejected_by_service"
    REJECTED_UNTRIED = "rejected_untried"


def may_fit_wider_column(rejected: Sequence[RowError]) -> bool:
    """Return whether a row was rejected that would fit if its column had a wider type.

    Example:
        >>> may_fit_wider_column([RowError(0, "out_of_range", "column 'size' is INT", "schema")])
        True
    """
    wide = (RowErrorType.OUT_OF_RANGE, RowErrorType.INEXACT)
    return any(error.error_type in wide for error, _ in RowErrors.of(rejected).summed())


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong with a value of a column, in any row.

    Attributes:
        error_type: The name to group by.
        message: Names column, types and remedy; never the value.
    """

    error_type: RowErrorType
    message: str


class Faults:
    """Collects rejected rows; a row keeps the first reason that is added.

    Example:
        >>> faults = Faults()
        >>> late, early = (Reason(RowErrorType.INEXACT, message) for message in ("late", "early"))
        >>> faults.add(early, np.array([7, 5]))
        >>> faults.add(late, np.array([5, 2]))
        >>> [(error.index, error.message) for error in faults.row_errors("schema")]
        [(2, 'late'), (5, 'early'), (7, 'early')]
    """

    def __init__(self) -> None:
        self._reasons: list[Reason] = []
        self._rows: list[np.ndarray] = []

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def add(self, reason: Reason, rows: np.ndarray) -> None:
        """Reject rows of the batch; rows that are rejected already keep their reason."""
        if len(rows):
            self._reasons.append(reason)
            self._rows.append(rows)

    def kept(self, total_rows: int) -> np.ndarray:
        """Return the rows that are not rejected, ascending (int64)."""
        keep = np.ones(total_rows, dtype=bool)
        for rows in self._rows:
            keep[rows] = False
        return np.flatnonzero(keep)

    def row_errors(self, stage: str) -> RowErrors:
        """Return one error for each rejected row, in the order of rows."""
        if not self._reasons:
            return RowErrors.of(())
        rows, first = np.unique(np.concatenate(self._rows), return_index=True)
        which = np.repeat(np.arange(len(self._rows)), list(map(len, self._rows)))[first]
        shared = [RowError(0, reason.error_type.value, reason.message, stage) for reason in self._reasons]
        return RowErrors(rows, which, shared)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an array in the batch: maps positions in the array to rows of the batch.

    Attributes:
        faults: Collects the rejected rows.
        locate: Maps positions to rows; None if they are equal. Positions that no row shows, such as the fields of a
            null struct, are left out.
    """

    faults: Faults
    locate: Locate | None = None

    def reject(self, bad: np.ndarray, reason: Reason) -> None:
        """Reject the rows of the positions marked in `bad`."""
        self.reject_at(np.flatnonzero(bad), reason)

    def reject_at(self, positions: np.ndarray, reason: Reason) -> None:
        """Reject the rows of the positions."""
        self.faults.add(reason, positions if self.locate is None else self.locate(positions))

    def inside(self, to_parent: Locate) -> Place:
        """Return the place of a child array; `to_parent` maps its positions to those of this array."""
        outer = self.locate
        return Place(self.faults, to_parent if outer is None else lambda positions: outer(to_parent(positions)))
