"""A client's program as a process: commands go in by line, and each has one line for an answer.

| command | what the program does |
| --- | --- |
| `open ENDPOINT WORKSPACE FORMAT TABLE CLIENT_ID SECRET PATIENCE SCHEMA` | opens a stream, recovery on |
| `send RECORD...` | sends one call, a single record by the client's method for one; answers its offset |
| `wait OFFSET` | waits until the call is acknowledged |
| `flush`, `close` | as the client's methods of these names |

Records and a descriptor are in hexadecimal digits, an Arrow schema is `name:type:null,...`; `columns:` and Unity
Catalog's description of the table, in hexadecimal digits, is for clients that make either themselves. PATIENCE is the
client's limit for a missing acknowledgement, in milliseconds. Recovery tries 600 times with 200 ms between, as long as
a server may take to start. Answers are `ok`, `ok OFFSET` and `error KIND MESSAGE`, where KIND is `final`, `retriable`,
or `unknown` if the client does not say. The first line is `ok`: the program runs.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A program's answer to one command."""

    ok: bool
    offset: int | None = None
    kind: str = ""
    message: str = ""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a client: quiet, and without a proxy to this machine."""
    return {**os.environ, "RUST_LOG": "off", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}


class Program:
    """A running program, which ends with the context."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            command,
            env=environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        first = self._answer("the program starts")
        if not first.ok:
            raise AssertionError(f"the program did not start; its output is in {log}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def ask(self, *words: str | int) -> Answer:
        """Send a command; return the answer.

        Raises:
            AssertionError: There is none in time, or the program ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._answer(str(words[0]))

    def _answer(self, what: str) -> Answer:
        try:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
        except Empty:
            raise AssertionError(f"{what}: no answer within {PATIENCE_SECONDS:g} s") from None
        if line is None:
            raise AssertionError(f"{what}: the program ended with {self._process.wait(timeout=10)}")
        verdict, _, rest = line.partition(" ")
        if verdict == "ok":
            return Answer(ok=True, offset=int(rest) if rest else None)
        kind, _, message = rest.partition(" ")
        if verdict != "error" or not kind:
            raise AssertionError(f"{what}: the program wrote {line[:200]!r}")
        return Answer(ok=False, kind=kind, message=message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        self._reader.join(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()
