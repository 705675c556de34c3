"""`Host`: the state that all streams of an emulator share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import grpc

from beam_zerobus.emulator.access.grants import GRANTS
from beam_zerobus.emulator.access.tokens import InvalidTokenError, Token, TokenIssuer
from beam_zerobus.emulator.counts.stats import StatsBook
from beam_zerobus.emulator.faults import FaultInjector, ScriptedFault
from beam_zerobus.emulator.limits import check_seconds
from beam_zerobus.emulator.recording.recorder import Recorder
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.table import Table

__all__ = ["Host", "OpenStream", "injected", "not_found"]


class OpenStream(Protocol):
    """A stream, as the emulator controls it from outside."""

    def finish(self, rejection: Rejection) -> None:
        """Acknowledge what is durable and end the stream with a status."""
        ...

    def rotate(self, seconds: float) -> None:
        """Announce that the server will close the stream, and close it so many seconds later."""
        ...

    def cut(self) -> None:
        """Break the stream's connection."""
        ...


class Host:
    """The state that all streams of an emulator share; `_streams` is used under `_lock`.

    Attributes:
        find_table: Finds a table by name.
        tokens: Checks access tokens.
        stats: Counts.
        injector: Decides on faults; replaced when faults are set.
        check_rows: Whether calls are decoded before they are acknowledged.
        port: The gRPC port, once it is bound.
        recorder: Records calls; None for no recording.
    """

    def __init__(
        self,
        *,
        find_table: Callable[[str], Table | None],
        tokens: TokenIssuer,
        stats: StatsBook,
        injector: FaultInjector,
        check_rows: bool,
    ) -> None:
        self.find_table = find_table
        self.tokens = tokens
        self.stats = stats
        self.injector = injector
        self.check_rows = check_rows
        self.port = 0
        self.recorder: Recorder | None = None
        self._lock = threading.Lock()
        self._streams: set[OpenStream] = set()

    def enter(self, stream: OpenStream) -> None:
        """Add a stream that begins."""
        with self._lock:
            self._streams.add(stream)

    def leave(self, stream: OpenStream) -> None:
        """Remove a stream that is over."""
        with self._lock:
            self._streams.discard(stream)

    def streams(self) -> list[OpenStream]:
        """Return the open streams."""
        with self._lock:
            return list(self._streams)

    def rotate(self, seconds: float) -> None:
        """Rotate all open streams.

        Raises:
            ConfigurationError: The number of seconds is out of range.
        """
        check_seconds("seconds", seconds)
        for stream in self.streams():
            stream.rotate(seconds)

    def authenticate(self, authorization: str | None) -> Token:
        """Return the token of the header `authorization`.

        Raises:
            Rejection: UNAUTHENTICATED.
        """
        kind, _, text = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not text:
            raise _unauthenticated("the header authorization must be 'Bearer' and an access token")
        try:
            return self.tokens.check(text)
        except InvalidTokenError as error:
            raise _unauthenticated(str(error)) from None

    def writable_table(self, token: Token, name: str) -> Table:
        """Return a table if a token allows writing to it.

        Raises:
            Rejection: PERMISSION_DENIED or NOT_FOUND.
        """
        if token.table is None or token.table.lower() != name.lower():
            raise _denied(f"the access token was not issued for table {name}")
        table = self.find_table(name)
        if table is None:
            raise not_found(name)
        missing = sorted(GRANTS - table.grants)
        if missing:
            raise _denied(f"the principal has no {', '.join(missing)} for table {name}; grant it explicitly")
        return table

    def note(self, table: str, rejection: Rejection) -> None:
        """Note a rejection for the page."""
        self.stats.activity.event("rejected", table, f"{rejection.code.name}: {rejection.message}")

    def check_token(self, token: Token) -> None:
        """Check again a token that was valid when the stream began.

        Raises:
            Rejection: UNAUTHENTICATED.
        """
        if self.tokens.is_expired(token):
            raise _unauthenticated("the access token has expired")
        if self.tokens.is_revoked(token):
            raise _unauthenticated("the access token was revoked")


def not_found(name: str) -> Rejection:
    """Return what a request for a table that does not exist gets."""
    return Rejection(grpc.StatusCode.NOT_FOUND, f"Table {name!r} cannot be found.")


def injected(fault: ScriptedFault) -> Rejection:
    """Return the status of a fault."""
    message = f"injected fault: {fault.code}" if fault.message is None else fault.message
    return Rejection(grpc.StatusCode[fault.code], message, causes=fault.causes)


def _denied(message: str) -> Rejection:
    return Rejection(grpc.StatusCode.PERMISSION_DENIED, f"Error 4024: {message}")


def _unauthenticated(message: str) -> Rejection:
    return Rejection(grpc.StatusCode.UNAUTHENTICATED, message)
