"""Why rows were rejected: the record of one row, and those of many as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

__all__ = ["RowError", "RowErrors"]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row was rejected.

    Attributes:
        index: The row's position in the batch that the caller passed, from 0.
        error_type: A short, stable name to group by, such as ``"null_in_not_null_column"``.
        message: What is wrong; it names the column's path and the remedy, never the row's value.
        stage: Where the error was found: ``"destination"``, ``"batching"``, ``"schema"``, ``"encoding"`` or
            ``"service"``.
    """

    index: int
    error_type: str
    message: str
    stage: str = "schema"

    def at(self, index: int) -> RowError:
        """Return the same reason for the row at another position."""
        return RowError(index, self.error_type, self.message, self.stage)


class RowErrors(Sequence[RowError]):
    """Rejected rows, each with its reason, as columns: a row is two numbers, and a `RowError` when asked for.

    They are equal to a tuple of the same errors.

    Args:
        indices: The position of each row in the batch (int64).
        which: For each row the number of its reason (int64).
        reasons: The reasons; their own positions mean nothing.

    Example:
        >>> errors = RowErrors(np.array([3, 7]), np.array([0, 0]), [RowError(0, "null", "column 'id' is NOT NULL")])
        >>> [error.index for error in errors], errors.summed()
        ([3, 7], [(RowError(index=3, error_type='null', message="column 'id' is NOT NULL", stage='schema'), 2)])
    """

    __slots__ = ("indices", "reasons", "which")

    def __init__(self, indices: np.ndarray, which: np.ndarray, reasons: Sequence[RowError]) -> None:
        self.indices = indices
        self.which = which
        self.reasons = reasons

    @classmethod
    def of(cls, errors: Sequence[RowError]) -> RowErrors:
        """Return errors as columns."""
        if isinstance(errors, RowErrors):
            return errors
        if not errors:
            return _NONE
        return cls(np.array([error.index for error in errors], np.int64), np.arange(len(errors)), errors)

    @classmethod
    def same(cls, indices: np.ndarray, reason: RowError) -> RowErrors:
        """Return errors of rows that all have one reason."""
        return cls(indices, np.zeros(len(indices), np.int64), [reason])

    @classmethod
    def joined(cls, parts: Iterable[Sequence[RowError]]) -> RowErrors:
        """Return the errors of several parts of a batch, in the order of rows."""
        columns = [cls.of(part) for part in parts if len(part)]
        if not columns:
            return _NONE
        reasons = [reason for part in columns for reason in part.reasons]
        first_reasons = np.cumsum([0, *(len(part.reasons) for part in columns[:-1])])
        indices = np.concatenate([part.indices for part in columns])
        which = np.concatenate([part.which + first for part, first in zip(columns, first_reasons, strict=True)])
        order = np.argsort(indices, kind="stable")
        return cls(indices[order], which[order], reasons)

    def at(self, indices: np.ndarray) -> RowErrors:
        """Return the same reasons for rows at other positions."""
        return RowErrors(indices, self.which, self.reasons)

    def summed(self) -> list[tuple[RowError, int]]:
        """Return each of `reasons` that a row has, for the first such row, and their number; in the order of rows."""
        counts = np.bincount(self.which, minlength=len(self.reasons))
        first = np.full(len(self.reasons), len(self))
        first[self.which[::-1]] = self.indices[::-1]  # the last one that is set is the first row
        used = np.flatnonzero(counts)
        return [(self.reasons[n].at(int(first[n])), int(counts[n])) for n in used[np.argsort(first[used])].tolist()]

    def by_type(self) -> Counter[str]:
        """Count the rows by `error_type`."""
        counts: Counter[str] = Counter()
        for error, count in self.summed():
            counts[error.error_type] += count
        return counts

    def by_service(self) -> bool:
        """Return whether the service rejected one of the rows."""
        return any(error.stage == "service" for error, _ in self.summed())

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> RowError: ...

    @overload
    def __getitem__(self, place: slice) -> RowErrors: ...

    def __getitem__(self, place: int | slice) -> RowError | RowErrors:
        if isinstance(place, slice):
            if len(self.reasons) <= len(self.which[place]):  # few, so that those without a row cost little
                return RowErrors(self.indices[place], self.which[place], self.reasons)
            used, which = np.unique(self.which[place], return_inverse=True)
            return RowErrors(self.indices[place], which, [self.reasons[number] for number in used.tolist()])
        return self.reasons[self.which[place]].at(int(self.indices[place]))

    def __iter__(self) -> Iterator[RowError]:
        for index, reason in zip(self.indices.tolist(), self.which.tolist(), strict=True):
            yield self.reasons[reason].at(index)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, RowErrors | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


_NONE = RowErrors(np.empty(0, np.int64), np.empty(0, np.int64), ())
