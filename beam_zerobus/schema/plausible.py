"""The sign of a wrong unit: all timestamps of a batch lie in January 1970."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Primitive

__all__ = ["warn_of_january_1970"]

_log = get_logger(__name__)

_JANUARY = 31 * 86_400 * 1_000_000  # microseconds; seconds and milliseconds of today, read as such, lie in it
_TIMESTAMPS = (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ)

_warned: dict[tuple[str, str], object] = {}  # the tables and columns that were warned of


def warn_of_january_1970(batch: pa.RecordBatch, schema: TableSchema, *, table: str) -> None:
    """Warn, once a process, of each timestamp column whose values in a batch all lie in January 1970.

    Args:
        batch: The rows, in the table's columns.
        schema: The table's.
        table: ``catalog.schema.table``, for the message.
    """
    for number, column in enumerate(schema.columns):
        if column.type not in _TIMESTAMPS:
            continue
        values = batch.column(number)
        if _all_in_january(values) and _is_first(table, column.name):
            _log.warning(
                "Table %s: every value of column %r in a batch of %s lies in January 1970; if the column holds "
                'seconds or milliseconds since 1970, set epoch_unit="s" or epoch_unit="ms"',
                table,
                column.name,
                counted(len(values), "row"),
            )


def _all_in_january(values: pa.Array) -> bool:
    """Return whether there are values, and all are in January 1970; usually the first one decides."""
    if not len(values) or (values[0].is_valid and not 0 <= values[0].value < _JANUARY):
        return False
    ends = pc.min_max(values.cast(pa.int64())).as_py()
    return ends["min"] is not None and ends["min"] >= 0 and ends["max"] < _JANUARY


def _is_first(table: str, column: str) -> bool:
    this_call = object()
    return _warned.setdefault((table, column), this_call) is this_call  # atomic; a lock could be held after a fork
