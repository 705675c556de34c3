"""A server on loopback that answers byte by byte what a test gives it, as no HTTP library would."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class OddServer:
    """Serves each connection in a thread with `answer`, which yields bytes; what it yields is sent at once."""

    def __init__(self, answer: Callable[[Request], Iterator[bytes]], tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.tls = tls
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.stopping.set()
        for opened in (self._listener, *self._connections):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), ExitStack() as stack:
            stack.enter_context(connection)
            if self.tls is not None:
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
            request = _read_request(connection)
            self.requests.append(request)
            for part in self.answer(request):
                connection.sendall(part)


def _read_request(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data and not data.startswith(b"\x16"):  # 0x16 begins a TLS handshake
        chunk = connection.recv(65536)
        if not chunk:
            raise ValueError("the client went away")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    if data.startswith(b"\x16"):
        return Request("TLS", "", {}, data)
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(re.sub(r"\D", "", headers.get("content-length", "0")))
    while len(body) < length:
        body += connection.recv(65536)
    return Request(method, target, headers, body)


def whole(status: int, body: object = b"", *headers: str) -> Callable[[Request], Iterator[bytes]]:
    """Answer everything with one status and body; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "\r\n".join([f"HTTP/1.1 {status} Because", f"Content-Length: {len(content)}", *headers])

    def answer(_: Request) -> Iterator[bytes]:
        yield head.encode() + b"\r\n\r\n" + content

    return answer


def dripped(at_once: bytes, drip: Callable[[], Iterator[bytes]], server: Callable[[], OddServer]) -> Callable:
    """Answer `at_once`, and then what `drip` yields, ten pieces a second, until the server is stopped."""

    def answer(_: Request) -> Iterator[bytes]:
        yield at_once
        for piece in drip():
            if server().stopping.wait(0.1):
                return
            yield piece

    return answer
