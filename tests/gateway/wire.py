"""Messages of Arrow Flight as bytes, to damage them, and what a client sends as bytes of TCP."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
from pyarrow import flight

from tests.gateway.conftest import TABLE


class Message(NamedTuple):
    """A FlightData: the header and body of an IPC message, as `data_header` and `data_body`."""

    header: bytes
    body: bytes

    def encoded(self, *, table: str | None = None) -> bytes:
        """Return the message of protobuf; the first of a call names the table."""
        path = b"" if table is None else field(1, b"\x08\x01" + field(3, table.encode()))
        return path + field(2, self.header) + field(1000, self.body)


def messages(batches: Iterable[pa.RecordBatch], compression: str | None = None) -> list[Message]:
    """Return the schema, the dictionaries and the batches as messages."""
    batches = list(batches)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    return [Message(m.metadata.to_pybytes(), b"" if m.body is None else m.body.to_pybytes()) for m in reader]


class Oracle(flight.FlightServerBase):
    """Reads what pyarrow reads, up to the first damage: what a gateway may write, and nothing else."""

    def __init__(self) -> None:
        self.rows: set[tuple[object, object]] = set()
        super().__init__("grpc://127.0.0.1:0")

    def do_put(self, context: object, descriptor: object, reader: Any, writer: object) -> None:
        with suppress(pa.ArrowException, OSError, AttributeError, ValueError):
            for chunk in reader:
                chunk.data.validate()
                columns = [_as_bytes(column) for column in chunk.data.columns]
                for column in columns:
                    column.validate(full=True)
                for row in pa.RecordBatch.from_arrays(columns, names=chunk.data.schema.names).to_pylist():
                    self.rows.add((row.get("id"), _as_text(row.get("device"))))


def call(channel: grpc.Channel, encoded: Iterable[bytes], timeout: float = 60) -> list[bytes]:
    """Send messages in one DoPut, and return the results up to its end, whatever that is."""
    put = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut")
    answers = []
    with suppress(grpc.RpcError):
        for answer in put(iter(encoded), timeout=timeout):
            answers.append(answer)  # noqa: PERF402  those before an error count
    return answers


@contextmanager
def recorder(address: tuple[str, int]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Pass one connection on to `address`; give where to connect, and a function that returns what a client sent."""
    sent = bytearray()

    def relay() -> None:
        near, _ = server.accept()
        with near, socket.create_connection(address) as far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in ready.select():
                    content = key.fileobj.recv(65_536)
                    if not content:
                        return
                    if key.fileobj is near:
                        sent.extend(content)
                    key.data.sendall(content)

    with socket.create_server(("127.0.0.1", 0)) as server:
        relaying = threading.Thread(target=relay)
        relaying.start()
        yield f"grpc://127.0.0.1:{server.getsockname()[1]}", lambda: bytes(sent)
        relaying.join(20)
        assert not relaying.is_alive()


def named(sent: Iterable[Message], table: str = TABLE) -> Iterator[bytes]:
    """Yield messages as bytes; the first one names the table."""
    for number, message in enumerate(sent):
        yield message.encoded(table=None if number else table)


def field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _as_bytes(column: pa.Array) -> pa.Array:
    """Return text as bytes, so that a value that is not UTF-8 does not hide the others."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _as_bytes(column.dictionary), safe=False)
    return column.view(pa.binary()) if pa.types.is_string(column.type) else column


def _as_text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
