"""`Host`: what all streams of an emulator share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import grpc

from beam_zerobus.emulator.faults import FaultInjector
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.stats import StatsBook
from beam_zerobus.emulator.table import Table
from beam_zerobus.emulator.tokens import InvalidTokenError, Token, TokenIssuer

__all__ = ["Host", "OpenStream"]


class OpenStream(Protocol):
    """What the emulator does to a stream from outside."""

    def finish(self, rejection: Rejection) -> None:
        """Acknowledge what is durable and end it with a status."""
        ...

    def cut(self) -> None:
        """Break its connection."""
        ...


class Host:
    """What all streams of an emulator share; `_streams` is read and written under `_lock`.

    Attributes:
        find_table: Finds a table by name.
        tokens: Checks access tokens.
        stats: Counts.
        injector: Decides on faults; replaced when the faults are.
        check_rows: Whether calls are decoded before they are acknowledged.
        port: The gRPC port, once it is bound.
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
        self._lock = threading.Lock()
        self._streams: set[OpenStream] = set()

    def enter(self, stream: OpenStream) -> None:
        """A stream begins."""
        with self._lock:
            self._streams.add(stream)

    def leave(self, stream: OpenStream) -> None:
        """A stream is over."""
        with self._lock:
            self._streams.discard(stream)

    def streams(self) -> list[OpenStream]:
        """Return the streams that are open."""
        with self._lock:
            return list(self._streams)

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

    def check_token(self, token: Token) -> None:
        """Check again what was good when the stream began.

        Raises:
            Rejection: UNAUTHENTICATED.
        """
        if token.expired:
            raise _unauthenticated("the access token has expired")
        if self.tokens.is_revoked(token):
            raise _unauthenticated("the access token was revoked")


def _unauthenticated(message: str) -> Rejection:
    return Rejection(grpc.StatusCode.UNAUTHENTICATED, message)
