"""What the emulator counts, and the calls that it records on request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from beam_zerobus.emulator.counts.activity import Activity
from beam_zerobus.emulator.counts.stream_rate import StreamRate

__all__ = ["RecordedCall", "Stats", "StatsBook", "StreamStats", "TableStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStats:
    """Counts of one table since the emulator was made.

    Attributes:
        streams_opened: Streams that were created.
        streams_open: Streams that are open now.
        calls: Calls that arrived, accepted or not, REST requests among them.
        rows_received: Rows of these calls.
        bytes_received: Bytes of these calls on the wire.
        rows_acknowledged: Rows whose acknowledgement was sent.
        streams_last_minute: Streams that were created within the last minute.
        most_streams_a_minute: The most streams that were created within any minute; the service expects 100 at most.
    """

    streams_opened: int = 0
    streams_open: int = 0
    calls: int = 0
    rows_received: int = 0
    bytes_received: int = 0
    rows_acknowledged: int = 0
    streams_last_minute: int = 0
    most_streams_a_minute: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStats:
    """One stream.

    Attributes:
        stream_id: Its id, as sent to the client.
        table: The table it writes to.
        wire_format: ``"proto"``, ``"json"``, ``"avro"`` or ``"arrow"``.
        calls: Calls that arrived.
        acknowledged_offset: The last offset that was acknowledged; -1 for none.
        end: None while it is open, else ``"closed"`` by the client, ``"gone"`` without a status, or the status sent.
    """

    stream_id: str
    table: str
    wire_format: str
    calls: int = 0
    acknowledged_offset: int = -1
    end: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call as received; recorded if the emulator was made with ``record_calls=True``.

    Attributes:
        table: The table.
        stream_id: The stream; empty for a REST request.
        offset: The call's offset within the stream.
        records: protobuf rows as bytes, JSON rows as str, a `pa.RecordBatch`, or parsed rows of a REST request.
        rows: Number of rows.
    """

    table: str
    stream_id: str
    offset: int
    records: Any = field(repr=False)
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The counts of one moment.

    Attributes:
        streams_opened: Streams that were created, over all tables.
        streams_open: Streams that are open now.
        most_streams_open: The most streams that were open at once.
        tokens_issued: Access tokens issued.
        tables: Counts of each table that exists or had a stream.
        streams: Every stream, in the order of creation.
        faults: How often each kind of fault was injected.
        calls: The recorded calls, in the order of arrival; empty unless recording is on.
    """

    streams_opened: int
    streams_open: int
    most_streams_open: int
    tokens_issued: int
    tables: Mapping[str, TableStats]
    streams: tuple[StreamStats, ...]
    faults: Mapping[str, int]
    calls: tuple[RecordedCall, ...] = field(repr=False)


class StatsBook:
    """Collects the counts; every field is used under `_lock`.

    Attributes:
        activity: What happened last; it has a lock of its own.
    """

    def __init__(self, *, record_calls: bool) -> None:
        self.record_calls = record_calls
        self.activity = Activity()
        self._lock = threading.Lock()
        self._tables: dict[str, TableStats] = {}
        self._rates: dict[str, StreamRate] = {}
        self._streams: dict[str, StreamStats] = {}
        self._calls: list[RecordedCall] = []
        self._faults: Counter[str] = Counter()
        self._tokens = 0
        self._most_open = 0

    def snapshot(self) -> Stats:
        """Return the current counts."""
        with self._lock:
            tables = {name: self._with_rate(name, table) for name, table in self._tables.items()}
            return Stats(
                streams_opened=sum(table.streams_opened for table in tables.values()),
                streams_open=self._open(),
                most_streams_open=self._most_open,
                tokens_issued=self._tokens,
                tables=MappingProxyType(tables),
                streams=tuple(self._streams.values()),
                faults=MappingProxyType(dict(self._faults)),
                calls=tuple(self._calls),
            )

    def reset(self) -> None:
        """Forget everything but streams that are open."""
        self.activity.reset()
        with self._lock:
            open_streams = [replace(stream, calls=0) for stream in self._streams.values() if stream.end is None]
            self._streams = {stream.stream_id: stream for stream in open_streams}
            self._tables, self._rates, self._calls, self._tokens = {}, {}, [], 0
            self._faults.clear()
            for stream in open_streams:
                self._add(stream.table, streams_opened=1, streams_open=1)

    def table_created(self, table: str) -> None:
        """Add a table."""
        with self._lock:
            self._tables.setdefault(table, TableStats())

    def stream_opened(self, stream_id: str, table: str, wire_format: str) -> None:
        """Count a stream that was created."""
        with self._lock:
            self._streams[stream_id] = StreamStats(stream_id=stream_id, table=table, wire_format=wire_format)
            self._add(table, streams_opened=1, streams_open=1)
            self._rates.setdefault(table, StreamRate(table)).opened()
            self._most_open = max(self._most_open, self._open())
        self.activity.stream_opened(stream_id, table, wire_format)

    def stream_ended(self, stream_id: str, end: str) -> None:
        """Note how a stream ended."""
        with self._lock:
            stream = self._streams[stream_id]
            self._streams[stream_id] = replace(stream, end=end)
            self._add(stream.table, streams_open=-1)
        self.activity.stream_ended(stream_id, stream.table, end)

    def call_received(self, stream_id: str, rows: int, size: int, call: RecordedCall | None) -> None:
        """Count a call."""
        with self._lock:
            stream = self._streams[stream_id]
            self._streams[stream_id] = replace(stream, calls=stream.calls + 1)
            self._add(stream.table, calls=1, rows_received=rows, bytes_received=size)
            if call is not None:
                self._calls.append(call)
        self.activity.call(stream.table, rows, size, stream_id)

    def acknowledged(self, stream_id: str, offset: int, rows: int) -> None:
        """Count an acknowledgement of so many more rows."""
        with self._lock:
            stream = self._streams[stream_id]
            self._streams[stream_id] = replace(stream, acknowledged_offset=offset)
            self._add(stream.table, rows_acknowledged=rows)
        self.activity.acknowledged(stream_id, offset)

    def request_received(self, table: str, rows: int, size: int, call: RecordedCall | None) -> None:
        """Count a REST request."""
        with self._lock:
            self._add(table, calls=1, rows_received=rows, bytes_received=size)
            if call is not None:
                self._calls.append(call)
        self.activity.call(table, rows, size)

    def request_acknowledged(self, table: str, rows: int) -> None:
        """Count the answer to a REST request, by which its rows are acknowledged."""
        with self._lock:
            self._add(table, rows_acknowledged=rows)
        self.activity.answered(table, rows)

    def fault_injected(self, kind: str) -> None:
        """Count a fault."""
        with self._lock:
            self._faults[kind] += 1
        self.activity.event("fault", "", kind)

    def token_issued(self) -> None:
        """Count a token."""
        with self._lock:
            self._tokens += 1

    def _open(self) -> int:
        return sum(table.streams_open for table in self._tables.values())

    def _with_rate(self, name: str, table: TableStats) -> TableStats:
        rate = self._rates.get(name)
        if rate is None:
            return table
        return replace(table, streams_last_minute=rate.last_minute, most_streams_a_minute=rate.most)

    def _add(self, table: str, **increments: int) -> None:
        counts = self._tables.get(table, TableStats())
        changed = {name: getattr(counts, name) + increment for name, increment in increments.items()}
        self._tables[table] = replace(counts, **changed)
