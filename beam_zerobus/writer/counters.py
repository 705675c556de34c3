"""What a writer has done so far, as plain numbers; the same events go to OpenTelemetry."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace

from beam_zerobus.telemetry import Recorder

__all__ = ["Counters", "CountersOfWriter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counts of one writer in one process; a snapshot.

    Attributes:
        rows_written: Rows acknowledged.
        rows_failed: Rows rejected, each with its reason.
        rows_replayed: Rows sent again because no acknowledgement arrived; the table has at most as many duplicates.
        batches_sent: Batches whose rows are all acknowledged or rejected.
        bytes_sent: Encoded bytes of these batches.
        retries: Failures that were followed by another try.
        streams_opened: Streams opened.
        throttled_seconds: Seconds waited before retries.
        debug_file_failures: Failures after which debug files stopped.

    Example:
        >>> Counters(rows_written=10) - Counters(rows_written=4)
        Counters(rows_written=6)
    """

    rows_written: int = 0
    rows_failed: int = 0
    rows_replayed: int = 0
    batches_sent: int = 0
    bytes_sent: int = 0
    retries: int = 0
    streams_opened: int = 0
    throttled_seconds: float = 0.0
    debug_file_failures: int = 0

    def __sub__(self, earlier: Counters) -> Counters:
        """Return what was counted since an earlier snapshot."""
        return Counters(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})

    def __add__(self, other: Counters) -> Counters:
        """Return what two writers counted together."""
        return Counters(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __repr__(self) -> str:
        counted = {f.name: value for f in fields(self) if (value := getattr(self, f.name))}
        return f"Counters({', '.join(f'{name}={value}' for name, value in counted.items())})"


class CountersOfWriter:
    """Counts the events of one writer, from any thread.

    Invariant, under the one lock: `_now` holds everything counted so far.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._now = Counters()

    def snapshot(self) -> Counters:
        """Return everything counted so far."""
        return self._now

    def batch_done(self, *, rows_written: int, rows_failed: int, size_bytes: int) -> None:
        """Count a batch whose rows are all acknowledged or rejected."""
        self._add(rows_written=rows_written, rows_failed=rows_failed, batches_sent=1, bytes_sent=size_bytes)

    def batch_failed(self, *, rows_written: int) -> None:
        """Count the acknowledged rows of a batch that failed as a whole."""
        self._add(rows_written=rows_written)

    def replayed(self, rows: int) -> None:
        """Count rows of a payload that is sent once more."""
        self._add(rows_replayed=rows)
        self._recorder.replayed(rows, 1)

    def retried(self, cause: str, wait: float) -> None:
        """Count a failure after which `wait` seconds pass before the next try."""
        self._add(retries=1, throttled_seconds=wait)
        self._recorder.retry(cause, wait)

    def stream_opened(self) -> None:
        """Count an opened stream."""
        self._add(streams_opened=1)
        self._recorder.stream_opened()

    def stream_closed(self, cause: str) -> None:
        """Note that a stream has ended, and why."""
        self._recorder.stream_closed(cause)

    def debug_file_bytes(self, written: int) -> None:
        """Note bytes written to debug files."""
        self._recorder.debug_file_bytes(written)

    def debug_files_failed(self) -> None:
        """Count a failure that stopped the debug files."""
        self._add(debug_file_failures=1)
        self._recorder.debug_files_failed()

    def _add(self, **amounts: float) -> None:
        with self._lock:
            counted = {name: getattr(self._now, name) + amount for name, amount in amounts.items()}
            self._now = replace(self._now, **counted)
