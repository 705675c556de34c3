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
_STATUSES = {
    "UNAVAILABLE": (grpc.StatusCode.UNAVAILABLE, "the server says so"),
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, "the server says so"),
    "INTERNAL without message": (grpc.StatusCode.INTERNAL, ""),
    "the words of a wait": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Waiting for acknowledgement timed out"),
}
HONEST = ("good", "late", "repeated", "decreasing")
ODDITIES = (*_ACKNOWLEDGEMENTS, *_STATUSES, "end")


class OddServer:
    """Takes streams and answers each call as the next oddity of `script` says; well when that is at its end.

    Attributes:
        acknowledged: The records of the calls that were acknowledged as they should be.
    """

    def __init__(self) -> None:
        self.script: deque[str] = deque()
        self.acknowledged: list[bytes] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, request_deserializer=Request.FromString, response_serializer=Response.SerializeToString
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
                context.abort(*answer)
            yield answer

    def _read(self, requests: Iterator[Any], context: grpc.ServicerContext, answers: Any) -> None:
        waiting: list[bytes] = []
        try:
            for request in requests:
                if request.HasField("create_stream"):
                    answers.put(Response(create_stream_response={"stream_id": "odd"}))
                    continue
                call = request.ingest_record_batch
                waiting += call.proto_encoded_batch.records
                if self._answer(self._next(), call.offset_id, answers):
                    with self._lock:
                        self.acknowledged += waiting
                    waiting = []
        except grpc.RpcError:
            return  # the client went away
        finally:
            answers.put(None)

    def _answer(self, oddity: str, offset: int, answers: Any) -> bool:
        """Answer a call; return whether it, and all before it, are acknowledged."""
        if oddity == "end":
            answers.put(None)
        elif oddity in _STATUSES:
            answers.put(_STATUSES[oddity])
        else:
            for delay, up_to in _ACKNOWLEDGEMENTS[oddity](offset):
                answer = Response(ingest_record_response={"durability_ack_up_to_offset": up_to})
                if delay:
                    threading.Timer(delay, answers.put, [answer]).start()
                else:
                    answers.put(answer)
        return oddity in HONEST
