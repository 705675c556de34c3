"""`Channel`: everything between a submission and the service, once the table's schema is known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from beam_zerobus.delivery.budget import budget_of_process
from beam_zerobus.delivery.delivery import Delivery
from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.delivery.rate_limiter import StreamRateLimiter
from beam_zerobus.delivery.retry import Breaker
from beam_zerobus.delivery.stream import Stream, open_stream
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.delivery.supervisor import Hooks
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import RowError
from beam_zerobus.logs import get_logger
from beam_zerobus.telemetry import Recorder
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.counters import CountersOfWriter
from beam_zerobus.writer.current_conversion import CurrentConversion
from beam_zerobus.writer.deadlines import seconds_until
from beam_zerobus.writer.debug_record import DebugRecorder, open_debug_recorder
from beam_zerobus.writer.submission import Submission

__all__ = ["Channel"]

_log = get_logger(__name__)


class Channel:
    """Encodes batches and sends them over the streams of one writer, and records them in debug files.

    Args:
        config: The writer's settings.
        shard: The part of debug files' names that no other worker has.
        current_conversion: The conversion for the schema, which is known.
        tokens: What signs streams in.
        counters: Counts what happens.
        recorder: Where in-flight levels go.

    Raises:
        ConfigurationError: The directory of the debug files cannot be written.
    """

    def __init__(
        self,
        config: WriterConfig,
        *,
        shard: str | None,
        current_conversion: CurrentConversion,
        tokens: TokenSource,
        counters: CountersOfWriter,
        recorder: Recorder,
    ) -> None:
        self._config = config
        self._current_conversion = current_conversion
        self._tokens = tokens
        conversion = current_conversion.resolve(None)
        self._debug: DebugRecorder | None = None
        if config.debug_files is not None:
            self._debug = open_debug_recorder(config.debug_files, conversion, shard=shard, counters=counters)
        self._deliveries: list[Delivery] = []
        if not config.dry_run:
            breaker, rate_limiter = Breaker(), StreamRateLimiter(config.table)
            self._deliveries = [
                Delivery(
                    config.table,
                    conversion=conversion,
                    hooks=self._hooks(conversion),
                    retry=config.retry,
                    breaker=breaker,
                    rate_limiter=rate_limiter,
                    monitor=counters,
                    in_flight=recorder.in_flight(),
                    budget=budget_of_process,
                )
                for _ in range(config.streams_per_worker)
            ]
            budget_of_process.join(config.max_in_flight_bytes)

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes without an outcome, over all streams."""
        return sum(delivery.in_flight_bytes for delivery in self._deliveries)

    @property
    def in_flight_rows(self) -> int:
        """Rows without an outcome, over all streams."""
        return sum(delivery.in_flight_rows for delivery in self._deliveries)

    def send(self, submission: Submission, conversion: Conversion) -> None:
        """Encode a batch payload by payload, and send each as soon as it is encoded.

        Raises:
            ConversionError: The batch's schema cannot fit the table's.
            ClosedError: The writer is closed.
        """
        delivery = min(self._deliveries, key=lambda d: d.in_flight_bytes) if self._deliveries else None
        record = self._debug.begin(submission, conversion) if self._debug is not None else None
        framed = record is not None and record.takes_protobuf
        payloads = conversion.payloads(submission.batch, without=submission.unread, framed=framed)
        while True:
            with _room(delivery, submission) as may_send:
                payload = _next_payload(payloads, submission) if may_send else None
                if payload is not None and len(payload.rows):
                    _send_payload(payload, submission, conversion, delivery)
                    if record is not None:
                        record.record(payload)
            if payload is None or submission.is_encoded:
                break
        if record is not None:
            record.end()
        submission.span.waiting_started()
        submission.seal()

    def record_failed_rows(self, submission: Submission, failed_rows: Sequence[RowError]) -> None:
        """Mark the failed rows of a batch in the debug files."""
        if self._debug is not None:
            self._debug.reject(submission, failed_rows)

    def cancel(self, submission: Submission) -> None:
        """Send nothing more of a submission."""
        for delivery in self._deliveries:
            delivery.cancel(submission)

    def close(self, deadline: float | None) -> None:
        """Close the streams and the debug files; what has no outcome fails with ClosedError."""
        try:
            for delivery in self._deliveries:
                delivery.stop()
            for delivery in self._deliveries:  # all of them are stopping already
                delivery.join(seconds_until(deadline))
        finally:
            if self._deliveries:
                budget_of_process.leave(self._config.max_in_flight_bytes)
        if self._debug is not None:
            self._debug.close(seconds_until(deadline))

    def _hooks(self, first: Conversion) -> Hooks:
        return Hooks(
            open_stream=self._open_stream,
            forget_token=self._tokens.invalidate,
            conversion=lambda: self._current_conversion.if_known or first,
            refresh=self._current_conversion.refresh,
        )

    def _open_stream(self, conversion: Conversion) -> Stream:
        config = self._config
        spec = StreamSpec.of(conversion, compression=config.arrow_compression)
        try:
            stream = open_stream(
                spec, endpoint=config.endpoint or "", workspace_url=config.workspace_url, tokens=self._tokens
            )
        except StreamFailure as failure:
            if failure.kind is FailureKind.REJECTED:
                failure.differences = self._current_conversion.differences()
                failure.of_table = self._current_conversion.may_change
            raise
        _log.debug("Opened a stream to %s at %s for %s", config.table, config.endpoint, config.wire_format)
        return stream


def _room(delivery: Delivery | None, submission: Submission) -> AbstractContextManager[bool]:
    """Return a block in which the caller may encode and send a payload."""
    return nullcontext(not submission.done) if delivery is None else delivery.room(submission)


def _next_payload(payloads: Iterator[Payload], submission: Submission) -> Payload | None:
    started = time.perf_counter()
    with submission.span.encoding():
        payload = next(payloads, None)
    submission.encode_seconds += time.perf_counter() - started
    if payload is not None:
        submission.opened(payload)
    return payload


def _send_payload(payload: Payload, submission: Submission, conversion: Conversion, delivery: Delivery | None) -> None:
    if delivery is None:  # a dry run
        submission.settle([payload.rows], (), 0)
        return
    with submission.span.sending():
        delivery.send(payload.unframed(), submission, conversion)
    submission.span.sent(1, payload.size_bytes)
