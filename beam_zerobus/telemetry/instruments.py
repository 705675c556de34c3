"""Every metric of beam_zerobus: its name, unit and meaning, as `docs/telemetry.md` lists them; all names are public."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.metrics import Histogram, Meter


@dataclass(frozen=True, slots=True, eq=False)  # compared, and hashed, by identity: they are constants
class Instrument:
    """A metric. A ``"sum"`` only grows, a ``"level"`` goes up and down, a ``"duration"`` is a histogram."""

    name: str
    kind: Literal["sum", "level", "duration"]
    unit: str
    description: str


SENT_MESSAGES: Final = Instrument(
    "messaging.client.sent.messages", "sum", "{message}", "Rows of finished batches; with error.type if not written"
)
OPERATION_DURATION: Final = Instrument(
    "messaging.client.operation.duration", "duration", "s", "Time from submitting a batch to its outcome"
)

BATCHES: Final = Instrument("beam_zerobus.batches", "sum", "{batch}", "Finished batches, by outcome")
ROWS: Final = Instrument("beam_zerobus.rows", "sum", "{row}", "Rows submitted")
ARROW_BYTES: Final = Instrument("beam_zerobus.arrow_bytes", "sum", "By", "Bytes submitted, in Arrow memory")
PAYLOADS: Final = Instrument("beam_zerobus.payloads", "sum", "{payload}", "Payloads that batches were encoded to")
WIRE_BYTES: Final = Instrument("beam_zerobus.wire_bytes", "sum", "By", "Bytes of those payloads, replays not counted")
ENCODE_DURATION: Final = Instrument("beam_zerobus.encode_duration", "duration", "s", "Time to encode a batch")
ACK_LATENCY: Final = Instrument(
    "beam_zerobus.ack_latency",
    "duration",
    "s",
    "Time from sending a batch's last payload to its last acknowledgement",
)
RETRIES: Final = Instrument("beam_zerobus.retries", "sum", "{retry}", "Failures followed by another try, by cause")
REPLAYED_ROWS: Final = Instrument(
    "beam_zerobus.replayed_rows", "sum", "{row}", "Rows sent again, acknowledgement unknown"
)
REPLAYED_PAYLOADS: Final = Instrument("beam_zerobus.replayed_payloads", "sum", "{payload}", "Payloads sent again")
REJECTED_ROWS: Final = Instrument("beam_zerobus.rejected_rows", "sum", "{row}", "Rows rejected, by type and stage")
STREAMS_OPENED: Final = Instrument("beam_zerobus.streams_opened", "sum", "{stream}", "Streams opened")
STREAMS_CLOSED: Final = Instrument("beam_zerobus.streams_closed", "sum", "{stream}", "Streams ended, by cause")
STREAMS_OPEN: Final = Instrument("beam_zerobus.streams_open", "level", "{stream}", "Streams open now")
TOKEN_REFRESHES: Final = Instrument("beam_zerobus.token_refreshes", "sum", "{token}", "Tokens fetched")
IN_FLIGHT_BYTES: Final = Instrument(
    "beam_zerobus.in_flight_bytes", "level", "By", "Encoded bytes without an outcome yet"
)
IN_FLIGHT_ROWS: Final = Instrument(
    "beam_zerobus.in_flight_rows", "level", "{row}", "Encoded rows without an outcome yet"
)
THROTTLED_TIME: Final = Instrument("beam_zerobus.throttled_time", "sum", "s", "Time waited before retries")
DEBUG_FILE_BYTES: Final = Instrument("beam_zerobus.debug_file_bytes", "sum", "By", "Bytes written to debug files")
DEBUG_FILE_FAILURES: Final = Instrument(
    "beam_zerobus.debug_file_failures", "sum", "{failure}", "Failures after which a writer's debug files stopped"
)

_ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Instrument))
COUNTED: Final = tuple(instrument for instrument in _ALL if instrument.kind != "duration")
"""What `Counts` keeps: everything but the durations."""

DURATIONS: Final = tuple(instrument for instrument in _ALL if instrument.kind == "duration")

# The SDK's default boundaries are for milliseconds.
BOUNDARIES: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds at which the buckets of durations end."""


def make_histogram(meter: Meter, instrument: Instrument) -> Histogram:
    """Create the histogram of a duration, with boundaries that suit seconds."""
    return meter.create_histogram(
        instrument.name,
        unit=instrument.unit,
        description=instrument.description,
        explicit_bucket_boundaries_advisory=BOUNDARIES,
    )
