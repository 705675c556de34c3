"""Every limit of delivery in one place; `docs/delivery.md` lists them, and a test compares the two.

The modules read them when they need them, as `limits.NAME`.
"""

from __future__ import annotations

from typing import Final

MAX_IN_FLIGHT_BYTES = 20 << 20
"""Memory that the payloads in flight over one stream take before callers wait, exceeded by one payload at most.

A stream carries 100 MB/s and 100,000 rows/s at most, and an acknowledgement takes the service 0.2 s.
"""

BYTES_PER_ROW = 64
"""What a row of protobuf or JSON adds to its own bytes: the SDK keeps such rows one by one until they are
acknowledged, each in 46 bytes more than the row has (measured with SDK 1.10.0)."""

OPEN_TIMEOUT = 15.0
"""Seconds until a stream that does not open is a failure."""

ACK_TIMEOUT = 60.0
"""Seconds without a new acknowledgement, while calls are in flight, until the stream is given up."""

IDLE_CLOSE = 60.0
"""Seconds after which a stream that carries nothing is closed."""

BLOCKED_PAUSE = 60.0
"""Seconds added to the backoff where the service says that the table is blocked."""

MAX_STREAMS = 90
"""Streams that a writer opens within `STREAM_WINDOW` seconds before a search for rejected rows waits.

The SDK warns at 100 streams to one table within a minute.
"""

STREAM_WINDOW = 60.0
"""Seconds over which `MAX_STREAMS` counts."""

SPARE_STREAMS = 8
"""Streams beside these for the other batches of a writer whose search waits; each rejected call costs one."""

MAX_SEARCH_STREAMS = 2_000
"""Streams that the search for the rejected rows of one call may cost; then the rows that are left are given up."""

OUTAGE_LOG_INTERVAL: Final = 10.0
"""Seconds between two warnings about one outage."""
