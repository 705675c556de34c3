"""`ReplayedCall`: one recorded gRPC call, sent again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.wire import (
    FLIGHT_SERVICE,
    ZEROBUS_PERSISTENT_STREAM,
    ZEROBUS_SERVICE,
    PersistentResponse,
    PutResult,
    Response,
)

__all__ = ["End", "ReplayedCall"]

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class End:
    """The status that ended a call.

    Attributes:
        code: Name of the gRPC status.
        message: Its text.
        details: Its serialized details, empty for none.
    """

    code: str
    message: str
    details: bytes = b""

    def __str__(self) -> str:
        return f"{self.code} {self.message!r}" if self.message else self.code


@dataclass(slots=True)
class Progress:
    """What the client of a call has received.

    Attributes:
        responses: How many responses that do not acknowledge what was sent.
        acknowledged: The last offset that is acknowledged.
    """

    responses: int = 0
    acknowledged: int = -1

    def add(self, method: str, body: bytes, sent: int) -> None:
        """Count a response to a client that has sent so many messages."""
        offset = _acknowledged(method, body)
        if offset is None or offset > sent:
            self.responses += 1
        else:
            self.acknowledged = max(self.acknowledged, offset)

    def reaches(self, other: Progress) -> bool:
        """Return whether it is at least as far as another."""
        return self.responses >= other.responses and self.acknowledged >= other.acknowledged


class ReplayedCall:
    """One recorded gRPC call, sent again; `_progress` and `_end` are used under `_changed`.

    Args:
        channel: The connection.
        method: The method's full name.
        metadata: The call's metadata.
    """

    def __init__(self, channel: grpc.Channel, method: str, metadata: list[tuple[str, str]]) -> None:
        self.method = method
        self.expected = Progress()
        self.messages = 0
        self.is_skipped = False
        self._progress = Progress()
        self._end: End | None = None
        self._changed = threading.Condition()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = channel.stream_stream(method)(self._requests(), metadata=metadata)
        threading.Thread(target=self._receive, name=f"replay {method}", daemon=True).start()

    def _requests(self) -> Iterator[bytes]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def send(self, message: bytes | None) -> None:
        """Send a message; None says that no more follow."""
        if message is not None:
            self.messages += 1
        self._outgoing.put(message)

    def cancel(self) -> None:
        """Leave, as the recorded client did."""
        self._outgoing.put(None)
        self._call.cancel()

    def expect(self, response: bytes) -> None:
        """Count a response that was recorded."""
        self.expected.add(self.method, response, self.messages)

    def wait_for_responses(self, seconds: float) -> bool:
        """Wait until what was recorded is received, or the call is over; return whether one of both happened."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._end is not None or self._progress.reaches(self.expected), timeout=seconds
            )

    def wait_for_end(self, seconds: float) -> End | None:
        """Wait until the call is over; return its status, None if it goes on."""
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, timeout=seconds)
            return self._end

    @property
    def is_over(self) -> bool:
        """Whether the call is over."""
        with self._changed:
            return self._end is not None

    @property
    def progress(self) -> Progress:
        """What was received so far."""
        with self._changed:
            return self._progress

    def _receive(self) -> None:
        try:
            for response in self._call:
                with self._changed:
                    self._progress.add(self.method, response, self.messages)
                    self._changed.notify_all()
        except grpc.RpcError:
            pass  # the status says it
        details = dict(self._call.trailing_metadata() or ()).get(_DETAILS, b"")
        end = End(self._call.code().name, self._call.details() or "", details)
        with self._changed:
            self._end = end
            self._changed.notify_all()


def _acknowledged(method: str, body: bytes) -> int | None:
    """Return the offset that a response acknowledges; None if it is something else."""
    service, name = method.split("/")[1:]
    try:
        if service == ZEROBUS_SERVICE:
            kind: Any = PersistentResponse if name == ZEROBUS_PERSISTENT_STREAM else Response
            response = kind.FromString(body)
            if response.WhichOneof("payload") == "ingest_record_response":
                return int(response.ingest_record_response.durability_ack_up_to_offset)
        elif service == FLIGHT_SERVICE:
            found = json.loads(PutResult.FromString(body).app_metadata)
            if "close_stream_duration_ms" not in found and found["ack_up_to_offset"] >= 0:
                return int(found["ack_up_to_offset"])
    except (DecodeError, ValueError, KeyError, TypeError):
        pass
    return None
