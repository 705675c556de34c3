"""A Zerobus server that answers oddly: acknowledgements and statuses that no honest server sends, on a script."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Self

import grpc

from beam_zerobus.emulator.wire import ZEROBUS_EPHEMERAL_STREAM, ZEROBUS_SERVICE, Request, Response

# For each oddity what is acknowledged, and after how many seconds; `offset` is the call's.
_ACKNOWLEDGEMENTS: dict[str, Callable[[int], list[tuple[float, int]]]] = {
    "good": lambda offset: [(0, offset)],
    "late": lambda offset: [(0.2, offset)],
    "repeated": lambda offset: [(0, offset)] * 5,
    "decreasing": lambda offset: [(0, offset), (0, offset - 1)],
    "out of range": lambda offset: [(0, offset + 1_000_000)],
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
_BODIES = {
    "nothing": b"",
    "not a message": b"\xff" * 20,
    "cut off": b"\x12\x7f",
    "another message": Response(create_stream_response={"stream_id": "again"}).SerializeToString(),
    "deep": b"\x7b" * 50_000 + b"\x7c" * 50_000,  # groups in groups
    "large": b"\x7a\x80\x80\xc0\x01" + bytes(3 << 20),  # an unknown field, below the SDK's limit of 4 MiB
    "huge": b"\x7a\x80\x80\x80\x03" + bytes(6 << 20),
}
HONEST = ("good", "late", "repeated", "decreasing")
ODDITIES = (*_ACKNOWLEDGEMENTS, *_STATUSES, *_BODIES, "end")
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
        acknowledged: The records of the calls of which the client was sent the acknowledgement.
        before_data: Whether each stream that opens acknowledges a call before there is one.
    """

    def __init__(self) -> None:
        self.script: deque[str] = deque()
        self.acknowledged: set[bytes] = set()
        self.before_data = False
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, request_deserializer=Request.FromString, response_serializer=_serialize
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(ZEROBUS_SERVICE, {ZEROBUS_EPHEMERAL_STREAM: handler})]
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

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.send_initial_metadata(())
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests, context, answers), daemon=True).start()
        while (answer := answers.get()) is not None:
            if isinstance(answer, tuple):
                code, message, details = answer
                context.set_trailing_metadata((("grpc-status-details-bin", details),) if details else ())
                context.abort(code, message)
            answer, records = answer if isinstance(answer, list) else (answer, ())
            yield answer
            with self._lock:
                self.acknowledged.update(records)

    def _read(self, requests: Iterator[Any], context: grpc.ServicerContext, answers: Any) -> None:
        waiting: list[bytes] = []
        try:
            for request in requests:
                if request.HasField("create_stream"):
                    answers.put(Response(create_stream_response={"stream_id": "odd"}))
                    if self.before_data:
                        answers.put(_acknowledgement(0))
                    continue
                call = request.ingest_record_batch
                waiting += call.proto_encoded_batch.records
                if self._answer(self._next(), call.offset_id, answers, tuple(waiting)):
                    waiting = []
        except grpc.RpcError:
            return  # the client went away
        finally:
            answers.put(None)

    def _answer(self, oddity: str, offset: int, answers: Any, waiting: tuple[bytes, ...]) -> bool:
        """Answer a call; return whether it, and all before it, are acknowledged."""
        if oddity == "end":
            answers.put(None)
        elif oddity in _STATUSES_OF_ALL:
            answers.put(_STATUSES_OF_ALL[oddity])
        elif oddity in _BODIES:
            answers.put(_BODIES[oddity])
        else:
            for delay, up_to in _ACKNOWLEDGEMENTS[oddity](offset):
                answer = [_acknowledgement(up_to), waiting if oddity in HONEST else ()]
                if delay:
                    threading.Timer(delay, answers.put, [answer]).start()
                else:
                    answers.put(answer)
        return oddity in HONEST


def _acknowledgement(offset: int) -> Any:
    return Response(ingest_record_response={"durability_ack_up_to_offset": offset})


def _serialize(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
