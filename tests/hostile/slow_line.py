"""A line to a server whose answers arrive a few bytes at a time while `slow` is set."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Self


class SlowLine:
    """A TCP proxy on loopback; requests pass at full speed."""

    def __init__(self, port: int) -> None:
        self.slow = False
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in list(self._open):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, may_be_slow: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 if may_be_slow and self.slow else 1 << 16):
                target.sendall(data)
                if may_be_slow and self.slow:
                    time.sleep(0.1)
        for opened in (source, target):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
