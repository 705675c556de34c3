"""How large rows are in Arrow's memory."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["bytes_of"]


def bytes_of(rows: pa.RecordBatch | pa.Table) -> int:
    """Return the bytes of rows; of views with pyarrow before 23 those of the rows around them too.

    Example:
        >>> bytes_of(pa.record_batch({"id": range(1_000)}).slice(500, 10))
        80
    """
    try:
        return int(rows.nbytes)
    except pa.ArrowTypeError:  # pyarrow before 23 does not measure views
        return int(rows.get_total_buffer_size())
