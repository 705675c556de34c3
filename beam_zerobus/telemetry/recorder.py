"""`Recorder`: what a writer reports. Nothing here raises; only `flush` and `close` wait."""

from __future__ import annotations

from beam_zerobus.telemetry import instruments as of
from beam_zerobus.telemetry.batch import BatchSpan, Target
from beam_zerobus.telemetry.counts import InFlight
from beam_zerobus.telemetry.guard import harmless
from beam_zerobus.telemetry.live_spans import Source
from beam_zerobus.telemetry.redaction import label

__all__ = ["Recorder"]


class Recorder:
    """Metrics and spans of one writer; made by `open_recorder`, used from any thread.

    Args:
        source: Where metrics and spans go.
        table: ``catalog.schema.table``.
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
        name_in_metrics: What metrics call the table; empty for its name.
    """

    def __init__(self, source: Source, *, table: str, wire_format: str, name_in_metrics: str = "") -> None:
        self._target = Target(source, table, wire_format, name_in_metrics or table)

    def batch(self, rows: int, arrow_bytes: int) -> BatchSpan:
        """Begin the span ``send {table}`` of a batch, below the caller's current span if there is one."""
        self._target.has_news = True
        return BatchSpan(self._target, rows, arrow_bytes)

    @harmless
    def retry(self, cause: str, delay: float) -> None:
        """Count a failure that is followed by another try, and the `delay` seconds until then."""
        self._target.add((of.RETRIES, 1), more=(("beam_zerobus.cause", label(cause)),))
        self._target.add((of.THROTTLED_TIME, delay))

    @harmless
    def replayed(self, rows: int, payloads: int) -> None:
        """Count rows and payloads sent again because no acknowledgement arrived."""
        self._target.add((of.REPLAYED_ROWS, rows), (of.REPLAYED_PAYLOADS, payloads))

    @harmless
    def stream_opened(self) -> None:
        """Count a stream that was opened."""
        self._target.add((of.STREAMS_OPENED, 1), (of.STREAMS_OPEN, 1))

    @harmless
    def stream_closed(self, cause: str) -> None:
        """Count a stream that has ended."""
        self._target.add((of.STREAMS_OPEN, -1))
        self._target.add((of.STREAMS_CLOSED, 1), more=(("beam_zerobus.cause", label(cause)),))

    @harmless
    def token_refreshed(self) -> None:
        """Count a token that was fetched."""
        self._target.add((of.TOKEN_REFRESHES, 1))

    def in_flight(self) -> InFlight:
        """Return where a stream notes what is in flight on it."""
        return self._target.source.counts.in_flight(self._target.labels)

    @harmless
    def debug_file_bytes(self, n: int) -> None:
        """Count bytes written to debug files."""
        self._target.add((of.DEBUG_FILE_BYTES, n))

    @harmless
    def debug_files_failed(self) -> None:
        """Count a failure that stopped debug files."""
        self._target.add((of.DEBUG_FILE_FAILURES, 1))

    @harmless
    def flush(self, timeout: float | None = None) -> None:
        """Export what was recorded, with providers of our own; the application flushes its own.

        It does not wait while the receiver does not answer.

        Args:
            timeout: Seconds to wait at most; None means `Telemetry.flush_timeout`.
        """
        if self._target.has_news:
            self._target.has_news = False
            self._target.source.flush(timeout)

    @harmless
    def close(self) -> None:
        """Flush. Providers stay open for other writers until the process ends."""
        self._target.has_news = True
        self.flush()
