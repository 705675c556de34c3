"""A server whose answers a test writes itself, for both protocols: for what the emulator never says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Self

import grpc

from beam_zerobus.emulator.wire import (
    FLIGHT_DO_PUT,
    FLIGHT_SERVICE,
    ZEROBUS_EPHEMERAL_STREAM,
    ZEROBUS_SERVICE,
    PutResult,
    Response,
    flight_acknowledgement,
)

Script = Callable[["Dialogue"], Iterator[bytes]]


class Dialogue:
    """One stream's requests and context, and the answers of its protocol."""

    def __init__(self, requests: Iterator[bytes], context: grpc.ServicerContext, *, arrow: bool) -> None:
        self.requests = requests
        self.context = context
        self.arrow = arrow

    def read(self) -> bytes:
        return next(self.requests)

    def ready(self) -> bytes:
        """Read the opening and return the answer that opens the stream."""
        self.read()
        if self.arrow:
            return flight_acknowledgement(-1, 0)
        return Response(create_stream_response={"stream_id": "scripted"}).SerializeToString()

    def acknowledgement(self, offset: int, rows: int) -> bytes:
        if self.arrow:
            return flight_acknowledgement(offset, rows)
        return Response(ingest_record_response={"durability_ack_up_to_offset": offset}).SerializeToString()

    def nothing(self) -> bytes:
        """Return an acknowledgement without its fields."""
        return (PutResult() if self.arrow else Response(ingest_record_response={})).SerializeToString()

    def wait(self) -> None:
        """Say nothing more until the client is gone."""
        while self.context.is_active():
            time.sleep(0.02)

    def end(self, code: str, message: str) -> Any:
        self.context.abort(grpc.StatusCode[code], message)


class ScriptedServer:
    """Serves each stream with `script`, after the response's headers unless `with_headers` is false.

    The headers have an entry, so that gRPC does not join them with a status that follows at once.
    """

    def __init__(self, script: Script, *, with_headers: bool = True) -> None:
        self.script = script
        self.with_headers = with_headers
        self.streams = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers(
            (
                self._handler(ZEROBUS_SERVICE, ZEROBUS_EPHEMERAL_STREAM, arrow=False),
                self._handler(FLIGHT_SERVICE, FLIGHT_DO_PUT, arrow=True),
            )
        )
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _handler(self, service: str, method: str, *, arrow: bool) -> grpc.GenericRpcHandler:
        def serve(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            self.streams += 1
            if self.with_headers:
                context.send_initial_metadata((("x-scripted", "yes"),))
            yield from self.script(Dialogue(requests, context, arrow=arrow))

        return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None)
