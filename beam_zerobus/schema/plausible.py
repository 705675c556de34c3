"""The sign of a wrong unit: all timestamps of a batch lie in January 1970."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.logs import get_logger
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Primitive

__all__ = ["JanuaryWatch"]

_log = get_logger(__name__)

_JANUARY = 31 * 86_400 * 1_000_000  # microseconds; seconds and milliseconds of today, read as such, lie in it
_warned: set[tuple[str, str]] = set()
_TIMESTAMPS = (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ)


class JanuaryWatch:
    """Warns once a process of each timestamp column whose values in a batch all lie in January 1970.

    Args:
        schema: The table's.
        table: ``catalog.schema.table``, for the message.
    """

    def __init__(self, schema: TableSchema, *, table: str) -> None:
        self._table = table
        self._columns = {n: column.name for n, column in enumerate(schema.columns) if column.type in _TIMESTAMPS}

    def check(self, batch: pa.RecordBatch) -> None:
        """Look at a batch in the table's columns; the first value decides mostly."""
        for number, name in [*self._columns.items()] if batch.num_rows else ():
            values = batch.column(number)
            first = values[0]
            if not first.is_valid or 0 <= first.value < _JANUARY:
                self._check_all(values, number, name)

    def _check_all(self, values: pa.Array, number: int, name: str) -> None:
        ends = pc.min_max(values.cast(pa.int64())).as_py()
        if ends["min"] is not None and ends["min"] >= 0 and ends["max"] < _JANUARY:
            self._columns.pop(number, None)
            if (self._table, name) in _warned:
                return
            _warned.add((self._table, name))
            _log.warning(
                "Table %s: every value of column %r in a batch of %d rows lies in January 1970; if the column holds "
                'seconds or milliseconds since 1970, set epoch_unit="s" or epoch_unit="ms"',
                self._table,
                name,
                len(values),
            )
