"""`PartitionWindow`: how many partitions of a table are written within a few seconds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import grpc
import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection

__all__ = ["WINDOW_SECONDS", "PartitionWindow"]

WINDOW_SECONDS = 5.0


class PartitionWindow:
    """Rejects a call that would write more partitions within five seconds than the limit.

    Invariant, under `_lock`: `_written` has the last writing of each partition, the oldest first.

    Args:
        columns: The table's partition columns.
        limit: The most partitions; None for any number.
        clock: Returns the present moment in seconds.
    """

    def __init__(self, columns: Sequence[str], limit: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._columns = list(columns)
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._written: OrderedDict[Hashable, float] = OrderedDict()

    def check(self, rows: pa.RecordBatch) -> None:
        """Count the partitions of a call's rows.

        Raises:
            Rejection: RESOURCE_EXHAUSTED; the call's partitions are not counted then.
        """
        if self._limit is None or not self._columns or not rows.num_rows:
            return
        values = pa.Table.from_batches([rows.select(self._columns)]).group_by(self._columns).aggregate([])
        called = set(zip(*(column.to_pylist() for column in values.columns), strict=True))
        with self._lock:
            now = self._clock()
            while self._written and next(iter(self._written.values())) <= now - WINDOW_SECONDS:
                self._written.popitem(last=False)
            if len(called | self._written.keys()) > self._limit:
                raise Rejection(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"more than {self._limit} partitions of the table would be written within "
                    f"{WINDOW_SECONDS:.0f} seconds; send fewer, or later",
                )
            for partition in called:
                self._written[partition] = now
                self._written.move_to_end(partition)
