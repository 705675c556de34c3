"""`Activity`: what happened last, for the emulator's page: rows, calls, events, streams; all bounded."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

__all__ = ["Activity", "Event", "SeenCall", "SeenStream"]

MAX_ROWS = 50
"""Rows of a table that are kept."""

MAX_BYTES = 1 << 20
"""Bytes of these rows; a single row may have more."""

_MAX_TABLES = 200
_MAX_CALLS = 100
_MAX_EVENTS = 200
_MAX_STREAMS = 200
_MAX_WAITING = 10_000
_RATE_SECONDS = 5


@dataclass(slots=True, kw_only=True)
class SeenCall:
    """A call of a client.

    Attributes:
        number: Counts calls from 1.
        at: When it arrived, in seconds since the epoch.
        table: Its table.
        way: The wire format of its stream, or ``"rest"``.
        stream_id: Its stream; empty for a request.
        offset: Its number within the stream.
        rows: Number of rows.
        size: Bytes on the wire.
        latency: Seconds until its acknowledgement or its answer was sent; None before that.
    """

    number: int
    at: float
    table: str
    way: str
    stream_id: str
    offset: int
    rows: int
    size: int
    latency: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened other than a call.

    Attributes:
        number: Counts events from 1.
        at: Seconds since the epoch.
        kind: ``"opened"``, ``"ended"``, ``"rejected"``, ``"fault"``.
        where: The table, or the request.
        text: What happened, and why.
    """

    number: int
    at: float
    kind: str
    where: str
    text: str


class Rate:
    """Rows in each of the last seconds.

    Example:
        >>> rate = Rate(3)
        >>> rate.add(10.2, 5); rate.add(12.9, 1)
        >>> rate.seconds(13.1)
        [0, 1, 0]
    """

    def __init__(self, seconds: int) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=seconds)
        self._seconds = seconds

    def add(self, now: float, rows: int) -> None:
        """Count rows."""
        second = int(now)
        if self._counts and self._counts[-1][0] >= second:
            second, rows = self._counts[-1][0], self._counts[-1][1] + rows
            self._counts.pop()
        self._counts.append((second, rows))

    def seconds(self, now: float) -> list[int]:
        """Return the rows of each second, the oldest first, this one last."""
        last, counts = int(now), dict(self._counts)
        return [counts.get(second, 0) for second in range(last - self._seconds + 1, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenStream:
    """How fast a stream is at one moment.

    Attributes:
        age: Seconds since it was opened.
        rows: Rows that arrived.
        bytes: Bytes that arrived.
        rows_a_second: The mean over the last whole seconds; 0 once it has ended.
        latency: The median of the last latencies in seconds; None before the first acknowledgement.
        waiting: Calls that are not acknowledged.
    """

    age: float
    rows: int
    bytes: int
    rows_a_second: float
    latency: float | None
    waiting: int


@dataclass(slots=True, kw_only=True)
class StreamActivity:
    """What happened on one stream.

    Attributes:
        opened: When it was opened, in seconds of the monotonic clock.
        way: Its wire format.
        rows: Rows that arrived.
        size: Bytes that arrived.
        calls: Calls that arrived.
        rate: Rows of the last seconds.
        waiting: Calls that are not acknowledged, with the moment of their arrival.
        latencies: Seconds from the arrival to the acknowledgement of the last calls.
        has_ended: Whether the stream is over.
    """

    opened: float
    way: str
    rows: int = 0
    size: int = 0
    calls: int = 0
    rate: Rate = field(default_factory=lambda: Rate(_RATE_SECONDS + 1))
    waiting: deque[tuple[SeenCall, float]] = field(default_factory=lambda: deque(maxlen=_MAX_WAITING))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    has_ended: bool = False

    def seen(self, now: float) -> SeenStream:
        """Return how fast the stream is; over its life, if that is shorter than the last seconds."""
        age = now - self.opened
        recent = 0 if self.has_ended else sum(self.rate.seconds(now)[:-1])
        return SeenStream(
            age=age,
            rows=self.rows,
            bytes=self.size,
            rows_a_second=recent / max(1.0, min(_RATE_SECONDS, age)),
            latency=statistics.median(self.latencies) if self.latencies else None,
            waiting=len(self.waiting),
        )


@dataclass(slots=True)
class RecentRows:
    """The last rows of a table.

    Attributes:
        chunks: The rows as they arrived, each with the bytes that it keeps alive.
        rows: How many rows.
        size: How many bytes.
    """

    chunks: deque[tuple[pa.RecordBatch, int]] = field(default_factory=deque)
    rows: int = 0
    size: int = 0

    def add(self, chunk: pa.RecordBatch, size: int) -> None:
        """Add rows, and drop those that are no longer among the last."""
        self.chunks.append((chunk, size))
        self.rows += chunk.num_rows
        self.size += size
        while len(self.chunks) > 1:
            oldest, its_size = self.chunks[0]
            if self.rows - oldest.num_rows < MAX_ROWS and self.size <= MAX_BYTES:
                return
            self.chunks.popleft()
            self.rows -= oldest.num_rows
            self.size -= its_size


class Activity:
    """Collects what happened last; every field is used under `_lock`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._calls: deque[SeenCall] = deque(maxlen=_MAX_CALLS)
            self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
            self._streams: dict[str, StreamActivity] = {}
            self._chunks: dict[str, RecentRows] = {}
            self._rate = Rate(60)

    def stream_opened(self, stream_id: str, table: str, way: str) -> None:
        """Note a stream that was created."""
        with self._lock:
            while len(self._streams) >= _MAX_STREAMS:
                ended = (known for known, stream in self._streams.items() if stream.has_ended)
                del self._streams[next(ended, next(iter(self._streams)))]
            self._streams[stream_id] = StreamActivity(opened=time.monotonic(), way=way)
            self._note("opened", table, f"{way} stream {stream_id[:8]}")

    def stream_ended(self, stream_id: str, table: str, end: str) -> None:
        """Note how a stream ended."""
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.waiting.clear()
                stream.has_ended = True
            self._note("ended", table, f"stream {stream_id[:8]}: {end}")

    def call(self, table: str, rows: int, size: int, stream_id: str = "") -> None:
        """Note a call; without a stream it is a request."""
        now = time.monotonic()
        with self._lock:
            stream = self._streams.get(stream_id)
            seen = SeenCall(
                number=next(self._numbers),
                at=time.time(),
                table=table,
                way="rest" if not stream_id else stream.way if stream is not None else "stream",
                stream_id=stream_id,
                offset=0 if stream is None else stream.calls,
                rows=rows,
                size=size,
            )
            self._calls.append(seen)
            self._rate.add(now, rows)
            if stream is not None:
                stream.calls += 1
                stream.rows += rows
                stream.size += size
                stream.rate.add(now, rows)
                stream.waiting.append((seen, now))

    def acknowledged(self, stream_id: str, offset: int) -> None:
        """Note that the calls of a stream up to an offset are acknowledged."""
        now = time.monotonic()
        with self._lock:
            stream = self._streams.get(stream_id)
            while stream is not None and stream.waiting and stream.waiting[0][0].offset <= offset:
                seen, arrived = stream.waiting.popleft()
                seen.latency = now - arrived
                stream.latencies.append(seen.latency)

    def answered(self, table: str, rows: int) -> None:
        """Note the answer to a request, the first of so many rows into the table that has none."""
        with self._lock:
            for seen in self._calls:
                if not seen.stream_id and seen.latency is None and (seen.table, seen.rows) == (table, rows):
                    seen.latency = time.time() - seen.at
                    return

    def event(self, kind: str, where: str, text: str) -> None:
        """Note a rejection or a fault."""
        with self._lock:
            self._note(kind, where, text)

    def stored(self, table: str, chunk: object) -> None:
        """Keep the last rows of a chunk that is durable; one that is not decoded is skipped."""
        if not isinstance(chunk, pa.RecordBatch) or not chunk.num_rows:
            return
        chunk, size = _tail(chunk)
        with self._lock:
            while table not in self._chunks and len(self._chunks) >= _MAX_TABLES:
                del self._chunks[next(iter(self._chunks))]
            self._chunks.setdefault(table, RecentRows()).add(chunk, size)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the last rows of a table, the newest first."""
        with self._lock:
            recent = self._chunks.get(table)
            chunks = [] if recent is None else [chunk for chunk, _ in recent.chunks]
        rows = [row for chunk in chunks for row in chunk.to_pylist()]
        return rows[: -MAX_ROWS - 1 : -1]

    def calls(self) -> list[SeenCall]:
        """Return the last calls, the newest first."""
        with self._lock:
            return [replace(call) for call in reversed(self._calls)]  # an acknowledgement changes those here

    def events(self) -> list[Event]:
        """Return the last events, the newest first."""
        with self._lock:
            return list(reversed(self._events))

    def streams(self) -> dict[str, SeenStream]:
        """Return the last streams, by their ids."""
        with self._lock:
            now = time.monotonic()
            return {stream_id: stream.seen(now) for stream_id, stream in self._streams.items()}

    def rows_each_second(self) -> list[int]:
        """Return the rows that arrived in each of the last 60 seconds, this one last."""
        with self._lock:
            return self._rate.seconds(time.monotonic())

    def _note(self, kind: str, where: str, text: str) -> None:
        self._events.append(
            Event(number=next(self._numbers), at=time.time(), kind=kind, where=where[:300], text=text[:1000])
        )


def _tail(chunk: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Return the last rows of a chunk, and the bytes that they keep alive: the whole chunk's if these are few."""
    rows = min(MAX_ROWS, chunk.num_rows)
    size: int = chunk.get_total_buffer_size()
    if size <= MAX_BYTES // 2:
        return (chunk if rows == chunk.num_rows else chunk.slice(chunk.num_rows - rows)), size
    chunk = _last(chunk, rows)
    while (size := chunk.nbytes) > MAX_BYTES and chunk.num_rows > 1:
        chunk = _last(chunk, chunk.num_rows // 2)
    return chunk, size


def _last(chunk: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    # What is taken is copied, so that the chunk is freed.
    return chunk.take(pa.array(range(chunk.num_rows - rows, chunk.num_rows)))
