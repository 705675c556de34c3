"""Faults that the emulator injects: scripted ones at a given call, random ones with a seed, and rows that it rejects.

    Faults(script=(ScriptedFault("status", at_call=3, code="UNAVAILABLE", after_storing=True),))
    Faults(seed=1, rate=0.2, kinds=("status", "drop", "slow_ack"))
    Faults(reject_rows=(RejectRows(column="name", value="bad"),))

Passed to `Emulator(faults=...)`, or set while it runs: ``emulator.faults = Faults(...)``. Setting them restarts all
counts.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import grpc
import pyarrow as pa

from beam_zerobus.emulator.limits import check_seconds
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.errors import ConfigurationError

__all__ = ["FaultInjector", "FaultKind", "Faults", "RejectRows", "ScriptedFault"]

FaultKind: TypeAlias = Literal[
    "reject",
    "no_answer",
    "wrong_answer",
    "status",
    "drop",
    "slow_ack",
    "no_ack",
    "wrong_ack",
    "close",
    "hang",
    "token",
]
"""The kinds of faults.

| kind | strikes | what happens |
| --- | --- | --- |
| reject | a stream's creation | the stream ends with `code` before it is ready |
| no_answer | a stream's creation | it is never answered |
| wrong_answer | a stream's creation | it is answered by an acknowledgement, which does not open it |
| status | a call | the stream ends with `code`, before or after storing the call; it is not acknowledged |
| drop | a call | the connection is cut without a status, before or after storing |
| slow_ack | a call | its acknowledgement, and those after it, are `delay` seconds late |
| no_ack | a call | it is stored and never acknowledged by itself; the acknowledgement of a later call covers it |
| wrong_ack | a call | it is not stored; calls that were never sent are acknowledged with it |
| close | a call | the close signal: the server closes the stream after `delay` seconds |
| hang | a call | the server no longer reads or answers on this stream |
| token | a request for a token | the token endpoint answers `http_status` |
"""

_PLACES = dict.fromkeys(get_args(FaultKind), "at_call") | {
    "reject": "at_stream",
    "no_answer": "at_stream",
    "wrong_answer": "at_stream",
    "token": "at_token",
}
_TRANSIENT = ("UNAVAILABLE", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class ScriptedFault:
    """One fault at a given moment.

    Attributes:
        kind: The kind of fault; see `FaultKind`.
        at_call: The call that it strikes, counted from 1 over all streams since the faults were set.
        at_stream: The stream whose creation it strikes (``"reject"``, ``"no_answer"``, ``"wrong_answer"``), counted
            likewise.
        at_token: The request for a token that it strikes (``"token"``), counted likewise.
        times: How many calls, streams or requests in a row it strikes from there on.
        table: Count only events of this table; None counts all.
        code: Name of the gRPC status (``"reject"``, ``"status"``); with ``"status"`` also ``"OK"``: the stream ends
            without an error.
        message: Text of the status, possibly empty; None gives one that says that it is injected.
        causes: Causes of a schema mismatch, such as ``("FIELD_NOT_IN_TABLE",)``, in the status's ``ErrorInfo``.
        after_storing: Store the call's rows first (``"status"``, ``"drop"``): they are in the table, unacknowledged.
        delay: Seconds (``"slow_ack"``, ``"close"``).
        http_status: Answer of the token endpoint (``"token"``).

    Raises:
        ConfigurationError: A value is out of range, or the moment does not fit the kind.

    Example:
        >>> ScriptedFault("status", at_call=3).code
        'UNAVAILABLE'
    """

    kind: FaultKind
    at_call: int | None = None
    at_stream: int | None = None
    at_token: int | None = None
    times: int = 1
    table: str | None = None
    code: str = "UNAVAILABLE"
    message: str | None = None
    causes: tuple[str, ...] = ()
    after_storing: bool = False
    delay: float = 0.5
    http_status: int = 503

    def __post_init__(self) -> None:
        _check_kinds((self.kind,))
        place = _PLACES[self.kind]
        given = [name for name in ("at_call", "at_stream", "at_token") if getattr(self, name) is not None]
        if given != [place]:
            raise ConfigurationError(
                f"ScriptedFault({self.kind!r}): set {place}, and only it, to say when; got {given}"
            )
        if self.at < 1 or self.times < 1:
            raise ConfigurationError(f"ScriptedFault({self.kind!r}): {place} and times count from 1")
        if (self.kind, self.code) != ("status", "OK"):
            _check_codes((self.code,))
        _check_http_statuses((self.http_status,))
        check_seconds(f"ScriptedFault({self.kind!r}): delay", self.delay)

    @property
    def ends_stream(self) -> bool:
        """Whether the stream ends with the call that it strikes."""
        return self.kind in ("status", "drop")

    @property
    def at(self) -> int:
        """The call, stream or request that it strikes first."""
        return next(at for at in (self.at_call, self.at_stream, self.at_token) if at is not None)


@dataclass(frozen=True, slots=True)
class RejectRows:
    """Rows that the service rejects although they fit the table: the whole call is rejected, INVALID_ARGUMENT.

    Attributes:
        column: The column to look at.
        value: The value that is rejected.
        predicate: Instead of both: a function of a row, as a dict, that returns true for rejected rows.
        table: Only rows of this table; None means all tables.

    Raises:
        ConfigurationError: Both of column and predicate are set, or neither.

    Example:
        >>> RejectRows(column="id", value=7).matches(pa.RecordBatch.from_pydict({"id": [5, 7]}))
        1
    """

    column: str | None = None
    value: Any = None
    predicate: Callable[[dict[str, Any]], bool] | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        if (self.column is None) == (self.predicate is None):
            raise ConfigurationError("RejectRows: set either column and value, or predicate")

    def matches(self, rows: pa.RecordBatch) -> int | None:
        """Return the index of the first row that is rejected, or None."""
        if self.predicate is not None:
            return next((index for index, row in enumerate(rows.to_pylist()) if self.predicate(row)), None)
        if self.column not in rows.schema.names:
            return None
        column = rows.column(self.column)
        try:
            wanted = pa.scalar(True) if self.value is None else pa.scalar(self.value, column.type)
        except (pa.ArrowException, TypeError):
            return None  # a column of this name with another type, in another table
        found = (column.is_null() if self.value is None else column).index(wanted).as_py()
        return found if found >= 0 else None

    def check(self, table: str, rows: pa.RecordBatch) -> None:
        """Reject a call that holds such a row.

        Raises:
            Rejection: INVALID_ARGUMENT, naming the record.
        """
        if self.table is None or _key(self.table) == _key(table):
            record = self.matches(rows)
            if record is not None:
                where = f"column '{self.column}'" if self.column is not None else "a row"
                raise Rejection.invalid(f"{where} has a value that this server rejects (record {record})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults that the emulator injects, and how often.

    Attributes:
        script: Faults at given moments.
        rate: Chance of a random fault for each call, each stream's creation and each request for a token.
        seed: Fixes the random faults: the n-th call, stream and request always get the same.
        kinds: The kinds of random faults. Those that make a client wait for its whole timeout, such as ``"hang"``, and
            answers that are wrong are not in the default.
        codes: The gRPC statuses of random ``"reject"`` and ``"status"`` faults.
        http_statuses: The answers of random ``"token"`` faults.
        max_delay: Upper bound in seconds of random ``"slow_ack"`` and ``"close"`` delays.
        ack_delay: Delay in seconds of every acknowledgement (the real service takes about 0.2).
        ack_interval: Least seconds between two acknowledgements of a stream: coarse acknowledgements.
        reject_rows: Rows that are rejected although they fit the table.

    Raises:
        ConfigurationError: A value is out of range or unknown.

    Example:
        >>> Faults(seed=1, rate=0.2, kinds=("status", "drop")).rate
        0.2
    """

    script: tuple[ScriptedFault, ...] = ()
    rate: float = 0.0
    seed: int = 0
    kinds: tuple[FaultKind, ...] = ("reject", "status", "drop", "slow_ack", "close", "token")
    codes: tuple[str, ...] = _TRANSIENT
    http_statuses: tuple[int, ...] = (429, 500, 503)
    max_delay: float = 0.2
    ack_delay: float = 0.0
    ack_interval: float = 0.0
    reject_rows: tuple[RejectRows, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(f"Faults.rate={self.rate!r}: set a chance from 0 to 1")
        for name in ("max_delay", "ack_delay", "ack_interval"):
            check_seconds(f"Faults.{name}", getattr(self, name))
        for name in ("kinds", "codes", "http_statuses"):
            if self.rate and not getattr(self, name):
                raise ConfigurationError(f"Faults.{name} is empty: random faults are chosen from it")
        _check_kinds(self.kinds)
        _check_codes(self.codes)
        _check_http_statuses(self.http_statuses)


def _key(table: str | None) -> str | None:
    """Return what tables are compared by: names match without regard to case."""
    return table if table is None else table.lower()


def _check_kinds(kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in get_args(FaultKind):
            raise ConfigurationError(f"fault kind {kind!r}: use one of {', '.join(get_args(FaultKind))}")


def _check_codes(codes: tuple[str, ...]) -> None:
    for code in codes:
        if code not in grpc.StatusCode.__members__ or code == "OK":
            names = ", ".join(name for name in grpc.StatusCode.__members__ if name != "OK")
            raise ConfigurationError(f"gRPC status {code!r}: use one of {names}")


def _check_http_statuses(statuses: tuple[int, ...]) -> None:
    for status in statuses:
        if not 400 <= status <= 599:
            raise ConfigurationError(f"HTTP status {status!r}: set one from 400 to 599")


class FaultInjector:
    """Decides for each event whether a fault strikes; `_counts` is used under `_lock`.

    Args:
        faults: What to inject.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str | None], int] = {}

    def on_call(self, table: str) -> ScriptedFault | None:
        """Return the fault of the next call into a table."""
        return self._next("at_call", table)

    def on_stream(self, table: str) -> ScriptedFault | None:
        """Return the fault of the next stream's creation."""
        return self._next("at_stream", table)

    def on_token(self, table: str | None) -> ScriptedFault | None:
        """Return the fault of the next request for a token."""
        return self._next("at_token", table)

    def _next(self, place: str, table: str | None) -> ScriptedFault | None:
        counts = self._count(place, table)
        for fault in self.faults.script:
            counted = _key(fault.table)
            if _PLACES[fault.kind] == place and counted in counts:
                count = counts[counted]
                if fault.at <= count < fault.at + fault.times:
                    return fault
        return self._random(place, counts[None]) if self.faults.rate else None

    def _count(self, place: str, table: str | None) -> Mapping[str | None, int]:
        """Count an event for everything (None) and for its table."""
        table = _key(table)
        with self._lock:
            for key in {(place, None), (place, table)}:
                self._counts[key] = self._counts.get(key, 0) + 1
            return {None: self._counts[place, None], table: self._counts[place, table]}

    def _random(self, place: str, count: int) -> ScriptedFault | None:
        faults = self.faults
        kinds = [kind for kind in faults.kinds if _PLACES[kind] == place]
        # A generator for each event: the fault does not depend on the order of threads.
        chance = random.Random(f"{faults.seed} {place} {count}")  # noqa: S311 - not a secret
        if not kinds or chance.random() >= faults.rate:
            return None
        return ScriptedFault(
            chance.choice(kinds),
            at_call=count if place == "at_call" else None,
            at_stream=count if place == "at_stream" else None,
            at_token=count if place == "at_token" else None,
            code=chance.choice(faults.codes),
            after_storing=chance.random() < 0.5,
            delay=chance.uniform(0, faults.max_delay),
            http_status=chance.choice(faults.http_statuses),
        )
