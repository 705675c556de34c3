"""`Split`: rows by the table that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from beam_zerobus.errors import RowError
from beam_zerobus.schema import RowErrorType
from beam_zerobus.schema.reasons import Reason
from beam_zerobus.schema.table_name import is_table_name

__all__ = ["STAGE", "Positions", "Split", "bad_table", "checked_name", "row_errors"]

Positions: TypeAlias = Sequence[int] | np.ndarray
"""Numbers of rows, ascending."""

STAGE = "destination"


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by table.

    Attributes:
        tables: For each table the positions of its rows, ascending; the tables in the order of their first rows.
        bad: The rows that have no table, in order, each with its reason.
    """

    tables: Mapping[str, Positions]
    bad: tuple[RowError, ...] = ()


def bad_table(label: str, problem: str) -> Reason:
    """Return why a row has no table; `problem` says what is wrong and what to do, and never holds a value."""
    return Reason(RowErrorType.INVALID_TABLE, f"table={label} {problem}")


def checked_name(name: str, label: str) -> str | Reason:
    """Return a name that was made for a row, or why Zerobus does not accept it. The name may repeat the row's values.

    Example:
        >>> checked_name("main.eu.events", "'main.{region}.events'")
        'main.eu.events'
    """
    if is_table_name(name):
        return name
    return bad_table(
        label,
        "gives a name for this row that Zerobus does not accept: make it catalog.schema.table, in ASCII letters, "
        "digits and underscores, the first two also with hyphens",
    )


def row_errors(bad: Mapping[int, Reason]) -> tuple[RowError, ...]:
    """Return one error for each bad row, in the order of rows."""
    return tuple(
        RowError(row, reason.error_type.value, reason.message, STAGE) for row, reason in sorted(bad.items(), key=_row)
    )


def _row(item: tuple[int, Reason]) -> int:
    return item[0]
