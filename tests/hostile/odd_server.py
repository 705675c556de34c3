"""A Zerobus server that answers oddly: acknowledgements and statuses that no honest server sends, on a script."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Self

import grpc

from beam_zerobus.emulator.wire import FLIGHT_DO_PUT, FLIGHT_SERVICE, ZEROBUS_EPHEMERAL_STREAM, ZEROBUS_SERVICE
from tests.hostile.odd_wire import BODIES, EphemeralWire, FlightWire, Wire

# For each oddity what is acknowledged, and after how many seconds; `offset` is the call's.
_ACKNOWLEDGEMENTS: dict[str, Callable[[int], list[tuple[float, int]]]] = {
    "good": lambda offset: [(0, offset)],
    "late": lambda offset: [(0.2, offset)],
    "repeated": lambda offset: [(0, offset)] * 5,
    "decreasing": lambda offset: [(0, offset), (0, offset - 1)],
    "out of range": lambda offset: [(0, offset + 1_000_000)],
    "largest": lambda _: [(0, 2**63 - 1)],
    "before data": lambda offset: [(0, offset + 1)],
    "negative": lambda _: [(0, -5)],
    "silence": lambda _: [],
    "heartbeat": lambda offset: [(0.1 * n, offset - 1) for n in range(20)],
}
_SAYS_SO = "the server says so"
_ERROR_INFO = b"\x0a\x28type.googleapis.com/google.rpc.ErrorInfo\x12\x06\x0a\x04ODD!"
# A google.rpc.Status, as `grpc-status-details-bin` has it.
_DETAILS = b"\x08\x0e\x12\x12" + _SAYS_SO.encode() + b"\x1a" + bytes([len(_ERROR_INFO)]) + _ERROR_INFO
_STATUSES: dict[str, tuple[grpc.StatusCode, str, bytes]] = {
    "UNAVAILABLE": (grpc.StatusCode.UNAVAILABLE, _SAYS_SO, b""),
    "UNAVAILABLE with details": (grpc.StatusCode.UNAVAILABLE, _SAYS_SO, _DETAILS),
    "ABORTED with details that are not": (grpc.StatusCode.ABORTED, _SAYS_SO, b"\xff" * 99),
    "UNKNOWN with details without message": (grpc.StatusCode.UNKNOWN, "", _DETAILS),
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, _SAYS_SO, b""),
    "INTERNAL without message": (grpc.StatusCode.INTERNAL, "", b""),
    "the words of a wait": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Waiting for acknowledgement timed out", b""),
    "a long message": (grpc.StatusCode.DATA_LOSS, "odd " * 1_000, b""),
}
HONEST = ("good", "late", "repeated", "decreasing")
ODDITIES = (*_ACKNOWLEDGEMENTS, *_STATUSES, *BODIES, "end")
FINAL = {
    f"{code.name}, message {message!r}, {len(details)} bytes of details": (code, message, details)
    for code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    )
    for message in (_SAYS_SO, "")
    for details in (b"", _DETAILS)
}
_STATUSES_OF_ALL = {**_STATUSES, **FINAL}


class OddServer:
    """Takes streams and answers each call as the next oddity of `script` says; well when that is at its end.

    Attributes:
        acknowledged: The ids of rows of which the client was sent the acknowledgement.
        before_data: Whether each stream that opens acknowledges a call before there is one.
    """

    def __init__(self) -> None:
        self.script: deque[str] = deque()
        self.acknowledged: set[int] = set()
        self.before_data = False
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers(
            [
                self._handler(ZEROBUS_SERVICE, ZEROBUS_EPHEMERAL_STREAM, EphemeralWire),
                self._handler(FLIGHT_SERVICE, FLIGHT_DO_PUT, FlightWire),
            ]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait(10)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _next(self) -> str:
        with self._lock:
            return self.script.popleft() if self.script else "good"

    def _handler(self, service: str, method: str, wire: Callable[[], Wire]) -> grpc.GenericRpcHandler:
        def serve(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._stream(requests, context, wire())

        return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)})

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext, wire: Wire) -> Iterator[bytes]:
        context.send_initial_metadata((("x-odd", "yes"),))  # with an entry: never joined with a status
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests, answers, wire), daemon=True).start()
        while (answer := answers.get()) is not None:
            if len(answer) == 3:
                code, message, details = answer
                context.set_trailing_metadata((("grpc-status-details-bin", details),) if details else ())
                context.abort(code, message)
            body, ids = answer
            yield body
            with self._lock:
                self.acknowledged.update(ids)

    def _read(self, requests: Iterator[bytes], answers: Any, wire: Wire) -> None:
        waiting: tuple[int, ...] = ()
        try:
            for message in requests:
                call = wire.read(message)
                if call is None:
                    answers.put((wire.ready(), ()))
                    if self.before_data:
                        answers.put((wire.acknowledge(0), ()))
                    continue
                offset, ids = call
                waiting += ids
                if self._answer(self._next(), offset, answers, waiting, wire):
                    waiting = ()
        except grpc.RpcError:
            return  # the client went away
        finally:
            answers.put(None)

    def _answer(self, oddity: str, offset: int, answers: Any, waiting: tuple[int, ...], wire: Wire) -> bool:
        """Answer a call; return whether it, and all before it, are acknowledged."""
        if oddity == "end":
            answers.put(None)
        elif oddity in _STATUSES_OF_ALL:
            answers.put(_STATUSES_OF_ALL[oddity])
        elif oddity in BODIES:
            answers.put((wire.bodies.get(oddity, b""), ()))
        else:
            for delay, up_to in _ACKNOWLEDGEMENTS[oddity](offset):
                answer = (wire.acknowledge(up_to), waiting if oddity in HONEST else ())
                if delay:
                    threading.Timer(delay, answers.put, [answer]).start()
                else:
                    answers.put(answer)
        return oddity in HONEST
