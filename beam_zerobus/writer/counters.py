"""What a writer has done so far, as plain numbers, for Beam's metrics and for OpenTelemetry at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from beam_zerobus.telemetry import InFlight, Recorder

__all__ = ["Counters"]

NAMES: Final = (
    "rows_written",
    "rows_failed",
    "rows_replayed",
    "batches_sent",
    "bytes_sent",
    "retries",
    "streams_opened",
    "throttled_seconds",
    "debug_file_failures",
)


class Counters:
    """Counts for one writer.

    Beam drops increments made outside a bundle's thread, so background threads count here and the bundle's thread
    takes the difference with `drain`.

    Invariant, under the one lock: `_drained` is what `drain` has handed out of `_total`.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._total: Counter[str] = Counter()
        self._drained: Counter[str] = Counter()

    def total(self) -> Mapping[str, float]:
        """Return all counts since the writer was made, by the names in `NAMES`."""
        with self._lock:
            return {name: self._total[name] for name in NAMES}

    def drain(self) -> Mapping[str, float]:
        """Return what has been counted since the last drain."""
        with self._lock:
            fresh = {name: self._total[name] - self._drained[name] for name in NAMES}
            self._drained = self._total.copy()
            return fresh

    def batch_done(self, *, rows_written: int, rows_failed: int, size_bytes: int) -> None:
        """Count a batch whose rows are all acknowledged or rejected."""
        self._add(rows_written=rows_written, rows_failed=rows_failed, batches_sent=1, bytes_sent=size_bytes)

    def replayed(self, rows: int) -> None:
        """Count rows of a payload that is handed to a stream once more."""
        self._add(rows_replayed=rows)
        self._recorder.replayed(rows, 1)

    def retried(self, cause: str, wait: float) -> None:
        """Count a failure after which `wait` seconds pass before the next try."""
        self._add(retries=1, throttled_seconds=wait)
        self._recorder.retry(cause, wait)
        self._recorder.throttled(wait)

    def stream_opened(self) -> None:
        """Count an opened stream."""
        self._add(streams_opened=1)
        self._recorder.stream_opened()

    def stream_closed(self, cause: str) -> None:
        """Note that a stream has ended, and why."""
        self._recorder.stream_closed(cause)

    def in_flight(self) -> InFlight:
        """Return where a delivery keeps what is in flight."""
        return self._recorder.in_flight()

    def debug_file_bytes(self, written: int) -> None:
        """Note bytes written to debug files."""
        self._recorder.debug_file_bytes(written)

    def debug_files_failed(self) -> None:
        """Count a failure that stopped the debug files."""
        self._add(debug_file_failures=1)
        self._recorder.debug_files_failed()

    def _add(self, **amounts: float) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._total[name] += amount  # type: ignore[assignment]
