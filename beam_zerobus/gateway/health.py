"""``/health`` over HTTP, for Kubernetes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["HealthServer"]

_MAX_CONNECTIONS = 32
REQUEST_SECONDS = 10.0
"""Seconds that a connection has for its one request and the answer."""


class _Server(ThreadingHTTPServer):
    """Serves few connections at once, each for a limited time: anybody who reaches the port may use it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._connections.release()  # the system has no thread left
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        limit = threading.Timer(REQUEST_SECONDS, _cut_off, (request,))
        limit.daemon = True
        try:
            limit.start()
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left, or was cut off."""


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class HealthServer:
    """Answers ``GET /health``: 200 while the gateway accepts calls, 503 after.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.
        health: Returns the gateway's health.
    """

    def __init__(self, host: str, port: int, health: Callable[[], dict[str, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                state = health()
                if self.path.partition("?")[0] != "/health":
                    self._answer(404, {"error": "only /health is here"})
                else:
                    self._answer(200 if state["status"] == "serving" else 503, state)

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Log nothing: Kubernetes asks every few seconds."""

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="gateway-health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
