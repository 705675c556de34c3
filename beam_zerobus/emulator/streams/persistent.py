"""Persistent streams, which the service has in development: a client resumes one after what was committed."""

from __future__ import annotations

import json
import re
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import grpc

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.table import Table

__all__ = ["PersistentStream", "PersistentStreams"]

_DIRECTORY = Path("_zerobus") / "streams"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class PersistentStream:
    """One stream.

    Attributes:
        stream_id: Its id.
        file: What is kept of it on disk; None for a table in memory.
        committed: The last offset that is durable; -1 for none.
        retired: Whether it can never be resumed.
        is_open: Whether a client is connected.
        in_flight: Calls that are being stored.
    """

    stream_id: str
    file: Path | None
    committed: int = -1
    retired: bool = False
    is_open: bool = False
    in_flight: int = 0


class PersistentStreams:
    """All persistent streams, each with a file in its table's directory; every field is used under `_lock`.

    The file is written after rows are durable and before they are acknowledged. A kill between the two makes the client
    send rows again that are stored already; none is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Weak, so that a dropped table and its rows are freed.
        self._streams: WeakKeyDictionary[Table, dict[str, PersistentStream]] = WeakKeyDictionary()

    def create(self, table: Table) -> PersistentStream:
        """Return a new stream, which is open.

        Raises:
            Rejection: INTERNAL: its file cannot be written.
        """
        stream_id = str(uuid.uuid4())
        stream = PersistentStream(stream_id, _file(stream_id, table), is_open=True)
        with self._lock:
            _write(stream)
            self._streams.setdefault(table, {})[stream_id] = stream
        return stream

    def resume(self, stream_id: str, table: Table) -> PersistentStream:
        """Return a stream that was created before, and open it.

        Raises:
            Rejection: NOT_FOUND; or ABORTED, if it is still open or calls of it are still being stored; or DATA_LOSS,
                if its file is damaged.
        """
        with self._lock:
            stream = self._found(stream_id, table)
            if stream.retired:
                raise Rejection(grpc.StatusCode.NOT_FOUND, f"stream {stream_id} was retired; create another")
            if stream.is_open or stream.in_flight:
                raise Rejection(grpc.StatusCode.ABORTED, f"stream {stream_id} is still open; resume it later")
            stream.is_open = True
            return stream

    def retire(self, stream_id: str, table: Table) -> None:
        """Make a stream one that can never be resumed; a client that is connected is not disturbed.

        Raises:
            Rejection: NOT_FOUND; DATA_LOSS, if its file is damaged; or INTERNAL, if that cannot be written.
        """
        with self._lock:
            stream = self._found(stream_id, table)
            stream.retired = True
            _write(stream)

    def leave(self, stream: PersistentStream) -> None:
        """Note that the client is no longer connected."""
        with self._lock:
            stream.is_open = False

    def storing(self, stream: PersistentStream) -> None:
        """Note that a call is being stored."""
        with self._lock:
            stream.in_flight += 1

    def stored(self, stream: PersistentStream, offset: int | None) -> None:
        """Note that a call is durable, or with None that it is not stored.

        Raises:
            Rejection: INTERNAL: its file cannot be written.
        """
        with self._lock:
            stream.in_flight -= 1
            # After a call that is not stored, none is committed: the client resumes at that one.
            if offset == stream.committed + 1:
                stream.committed = offset
                _write(stream)

    def _found(self, stream_id: str, table: Table) -> PersistentStream:
        streams = self._streams.setdefault(table, {})
        stream = streams.get(stream_id)
        if stream is None and _ID.fullmatch(stream_id):
            file = _file(stream_id, table)
            if file is not None and file.exists():
                stream = streams[stream_id] = _load(stream_id, file)
        if stream is None:
            raise Rejection(grpc.StatusCode.NOT_FOUND, f"table {table.name} has no stream {stream_id[:100]!r}")
        return stream


def _file(stream_id: str, table: Table) -> Path | None:
    return None if table.path is None else table.path / _DIRECTORY / f"{stream_id}.json"


def _load(stream_id: str, file: Path) -> PersistentStream:
    """Read a stream's file; a power cut, or a hand, may have damaged it."""
    try:
        state = json.loads(file.read_text())
        committed, retired = state["committed"], state["retired"]
        if type(committed) is not int or committed < -1 or type(retired) is not bool:
            raise ValueError("not the state of a stream")
    except OSError as error:
        why = f"the file of stream {stream_id} cannot be read: {error.strerror}; make {file} readable"
        raise Rejection(grpc.StatusCode.INTERNAL, why) from None
    except (KeyError, RecursionError, TypeError, ValueError):
        why = f"the file of stream {stream_id} is damaged: remove {file}, and create another stream"
        raise Rejection(grpc.StatusCode.DATA_LOSS, why) from None
    return PersistentStream(stream_id, file, committed, retired)


def _write(stream: PersistentStream) -> None:
    file = stream.file
    if file is None or not file.parents[2].exists():  # the table may have been dropped
        return
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"committed": stream.committed, "retired": stream.retired}))
        new.replace(file)
    except OSError as error:
        why = f"the file of stream {stream.stream_id} cannot be written: {error.strerror}; make {file} writable"
        raise Rejection(grpc.StatusCode.INTERNAL, why) from None
