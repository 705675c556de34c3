"""The writers that a process shares, one for each configuration: of one table, or of many.

A DoFn does not live as long as the worker: some runners set one up for every bundle, and drop it without teardown. So
writers live here. A `Lease` keeps one open; after the last lease the writer stays open for a while, so that the next
bundle finds its stream open. At the end of the process all are closed (see `endings.py`).
"""

from __future__ import annotations

import itertools
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from beam_zerobus.errors import ZerobusError
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.pool import WriterPool
from beam_zerobus.writer.writers_config import WritersConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["Lease", "SharedWriters", "acquire", "close_all"]

LINGER_SECONDS = 300.0

_Writer = TypeVar("_Writer", ZerobusWriter, WriterPool)


@dataclass(slots=True, eq=False)
class _Shared(Generic[_Writer]):
    writer: _Writer
    leases: int = 0
    idle_since: float = 0.0
    drained: Counters = field(default_factory=Counters)


class Lease(Generic[_Writer]):
    """The right to use a shared writer until `release`; releasing twice does nothing."""

    def __init__(self, shared_writers: SharedWriters, shared: _Shared[_Writer]) -> None:
        self._shared_writers = shared_writers
        self._shared: _Shared[_Writer] = shared
        self._released = False

    @property
    def writer(self) -> _Writer:
        """The shared writer, or writers of many tables; do not close it."""
        return self._shared.writer

    def drain_counters(self) -> Counters:
        """Return what the writer counted since any lease of it was last asked."""
        return self._shared_writers._drain(self._shared)

    def release(self) -> None:
        """Return the writer."""
        if not self._released:
            self._released = True
            self._shared_writers._return(self._shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class SharedWriters:
    """Writers by configuration and process.

    Invariants, under the one lock:
    - `_writers` holds the writer that the next `acquire` of a key gets, unless it is closed.
    - A writer without leases is closed after `linger` seconds by the timer, which runs while there is any writer; at
      once if it is that of one table and knows no schema, such as that of a missing table: there is nothing to keep for
      the next lease. Writers of many tables keep which tables are missing.
    - `drained` of a shared writer is what `drain_counters` has returned of its counters.

    Writers are closed outside the lock.
    """

    def __init__(self, linger: float = LINGER_SECONDS) -> None:
        self._linger = linger
        self._lock = threading.Lock()
        self._writers: dict[tuple[str, int], _Shared[Any]] = {}
        self._timer: threading.Timer | None = None

    @overload
    def acquire(self, config: WriterConfig) -> Lease[ZerobusWriter]: ...

    @overload
    def acquire(self, config: WritersConfig) -> Lease[WriterPool]: ...

    def acquire(self, config: WriterConfig | WritersConfig) -> Lease[Any]:
        """Return a lease of the process's writer for `config`, made if there is none; opens nothing yet."""
        key = (config.key, os.getpid())
        with self._lock:
            shared = self._writers.get(key)
            if shared is None or shared.writer.closed:
                shared = self._writers[key] = _Shared(_writer_for(config))
            shared.leases += 1
            self._start_timer()
            return Lease(self, shared)

    def close(self) -> None:
        """Close every writer, leased or not."""
        with self._lock:
            writers = [shared.writer for (_, pid), shared in self._writers.items() if pid == os.getpid()]
            self._writers.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for writer in writers:
            _close(writer)

    def start_anew(self) -> None:
        """Start anew in a forked child; the parent's writers stay, untouched, under the parent's process id."""
        self._lock = threading.Lock()
        self._timer = None

    def _return(self, shared: _Shared[Any]) -> None:
        with self._lock:
            shared.leases -= 1
            shared.idle_since = time.monotonic()
            if shared.leases or not isinstance(shared.writer, ZerobusWriter) or shared.writer.schema is not None:
                return
            for key in [key for key, other in self._writers.items() if other is shared]:
                del self._writers[key]
        _close(shared.writer)

    def _drain(self, shared: _Shared[Any]) -> Counters:
        with self._lock:
            counted = shared.writer.counters
            fresh, shared.drained = counted - shared.drained, counted
            return fresh

    def _start_timer(self) -> None:
        if self._timer is None:
            timer = threading.Timer(self._linger, self._close_idle)
            timer.daemon = True
            with suppress(RuntimeError):  # the system has no thread left: the next lease tries again
                timer.start()
                self._timer = timer

    def _close_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._timer = None
            idle = [
                key
                for key, shared in self._writers.items()
                if not shared.leases and now - shared.idle_since >= self._linger and key[1] == os.getpid()
            ]
            closing = [self._writers.pop(key).writer for key in idle]
            if self._writers:
                self._start_timer()
        for writer in closing:
            _close(writer)


def _writer_for(config: WriterConfig | WritersConfig) -> ZerobusWriter | WriterPool:
    if isinstance(config, WritersConfig):
        return WriterPool(config, _new_shard())
    return ZerobusWriter.from_config(config, shard=_new_shard())


def _close(writer: ZerobusWriter | WriterPool) -> None:
    with suppress(ZerobusError):  # it is logged, and there is no caller to raise it to
        writer.close()


_numbers = itertools.count()


def _new_shard() -> str:
    """Return a name that no other worker's debug files have."""
    return f"{platform.node()}-{os.getpid()}-{next(_numbers)}{uuid.uuid4().hex[:6]}"


_of_process = SharedWriters()
acquire = _of_process.acquire
close_all = _of_process.close
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_of_process.start_anew)
