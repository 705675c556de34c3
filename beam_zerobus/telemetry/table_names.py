"""The names of tables in metrics, whose number a process bounds."""

from __future__ import annotations

import threading

__all__ = ["OTHER_TABLES", "name_in_metrics"]

OTHER_TABLES = "other"
"""Stands for the tables that have no metrics of their own."""

_lock = threading.Lock()
_named: set[str] = set()


def name_in_metrics(table: str, limit: int) -> str:
    """Return the name under which a table is counted: its own for the first ones of the process.

    Args:
        table: ``catalog.schema.table``.
        limit: How many tables of the process may have their own.

    Example:
        >>> name_in_metrics("main.eu.not_seen_before", limit=0)
        'other'
    """
    with _lock:
        if table not in _named:
            if len(_named) >= limit:
                return OTHER_TABLES
            _named.add(table)
        return table
