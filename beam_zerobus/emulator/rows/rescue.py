"""The rescue column: receives fields of JSON records that the table does not have or that do not fit their column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.columns import BadValueError, Column, Source

__all__ = ["rescue"]


def rescue(rows: Sequence[dict[str, Any]], columns: Sequence[Column], rescue_column: str) -> None:
    """Move what does not fit out of its column, and into the rescue column as one JSON object a record.

    What is missing or does not fit in a NOT NULL column stays as it is, and is rejected later.

    Args:
        rows: The records; they are changed.
        columns: The table's columns.
        rescue_column: The column that receives them.

    Raises:
        Rejection: A record sets the rescue column.
    """
    for index, row in enumerate(rows):
        if rescue_column in row:
            raise Rejection.invalid(
                f"column '{rescue_column}' is the rescue column, which a record must not set (record {index})"
            )
    rescued: list[dict[str, Any]] = [{} for _ in rows]
    names = {column.field.name for column in columns}
    for row, taken in zip(rows, rescued, strict=True):
        for name in row.keys() - names:
            taken[name] = row.pop(name)
    for column in columns:
        name, source = column.field.name, column.source
        if column.field.nullable and source is not None and not _fits(source, rows):
            for row, taken in zip(rows, rescued, strict=True):
                if not _fits(source, [row]):
                    taken[name] = row.pop(name)
    for row, taken in zip(rows, rescued, strict=True):
        if taken:
            row[rescue_column] = orjson.dumps(taken, option=orjson.OPT_SORT_KEYS).decode()


def _fits(source: Source, rows: Sequence[dict[str, Any]]) -> bool:
    try:
        source.read(rows)
    except BadValueError:
        return False
    return True
