"""Rows that are dicts, as columns: made, pickled and written together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["RowsInColumns"]


@dataclass(frozen=True, slots=True, eq=False)
class RowsInColumns:
    """Rows with the same fields, each of which would be a dict.

    Attributes:
        names: The names of the fields.
        columns: The values of each.

    Example:
        >>> list(RowsInColumns(["id", "name"], [[1, 2], ["a", None]]))
        [{'id': 1, 'name': 'a'}, {'id': 2, 'name': None}]
    """

    names: Sequence[str]
    columns: Sequence[Sequence[Any]]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.names, values, strict=True)) for values in zip(*self.columns, strict=True))

    def slice(self, start: int, count: int) -> RowsInColumns:
        """Return some of the rows."""
        return RowsInColumns(self.names, [values[start : start + count] for values in self.columns])
