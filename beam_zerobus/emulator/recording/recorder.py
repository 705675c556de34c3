"""`Recorder`: writes what arrives and what is answered, line by line."""

from __future__ import annotations

import base64
import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from beam_zerobus.emulator.access.tokens import Token, TokenIssuer
from beam_zerobus.emulator.recording import VERSION
from beam_zerobus.emulator.recording.masked_text import Columns
from beam_zerobus.emulator.recording.masks import CallMask, masked_request
from beam_zerobus.emulator.recording.secrets import Secrets
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.version import __version__

__all__ = ["Recorder", "RecorderOptions", "error_of", "path_of"]

_LOG = logging.getLogger(__name__)
TOKEN_PATH = "/oidc/v1/token"  # noqa: S105 - a path
_HEADERS = ("content-type", "content-encoding", "accept")
_MAX_CONNECTIONS = 10_000
_NOT_IN_HEADERS = re.compile(r"[^ -~\xa0-\xff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """What a recording is made of.

    Attributes:
        path: The file, which must not exist; or a directory, which gets a new file.
        mask_values: Whether values of rows are replaced.
        settings: Settings of the emulator, for the first line.
    """

    path: Path
    mask_values: bool
    settings: Mapping[str, Any]


class Recorder:
    """Writes a recording; the file, `_broken` and `_connections` are used under `_lock`.

    Each line is written at once, so that a kill of the process loses no line but the last. When a line cannot be
    written, recording ends and the log says so; the emulator goes on.

    Args:
        options: What to record.
        client_id: The client.
        client_secret: Its secret.
        control_token: The token of the control API.
        tokens: Checks tokens.
        columns_of: Returns the columns of a table, none for one that does not exist.

    Raises:
        ConfigurationError: The file exists, or cannot be made.
    """

    def __init__(
        self,
        options: RecorderOptions,
        *,
        client_id: str,
        client_secret: str,
        control_token: str,
        tokens: TokenIssuer,
        columns_of: Callable[[str], Columns],
    ) -> None:
        self._columns_of = columns_of
        self._masked = options.mask_values
        self._tokens = tokens
        self._secrets = Secrets(
            client_id=client_id,
            client_secret=client_secret,
            control_token=control_token,
            tokens=tokens,
            found=self._found,
        )
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._connections: dict[str, int] = {}
        self._within = threading.local()
        self._broken = False
        self._has_started = False
        self._start = time.monotonic()
        try:
            self._path = _new_file(options.path)
            self._file = self._path.open("wb")
        except FileExistsError:
            raise ConfigurationError(f"{options.path} exists: a recording needs a new file; name another") from None
        except OSError as error:
            raise ConfigurationError(
                f"the recording {options.path} cannot be written: {error.strerror}; name a file in a directory that "
                "you may write to"
            ) from None
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = {"zerobus_recording": VERSION, "version": __version__, "started": started, "masked": self._masked}
        self._file.write(orjson.dumps({**head, "client_id": client_id, **options.settings}) + b"\n")

    def close(self) -> None:
        """Write no more; remove the file if the emulator never started."""
        with self._lock:
            was_broken, self._broken = self._broken, True
            try:
                self._file.close()  # also writes what a full disk had left
            except OSError as error:
                if not was_broken:
                    self._ends(error)
        if not self._has_started:
            with suppress(OSError):
                self._path.unlink()

    def request(
        self, method: str, target: str, headers: Mapping[str, str], authorization: str | None, body: bytes
    ) -> int:
        """Record an HTTP request; return its number."""
        call = next(self._numbers)
        path = path_of(target)
        auth = self._secrets.auth(authorization)
        body = self._secrets.form(body) if path == TOKEN_PATH else self._secrets.removed(body)
        kept = _masked(partial(masked_request, path, body, self._columns_of)) if self._masked else body
        line = {
            "method": method,
            "path": self._clean(_from_slash(target)),
            "headers": self._kept(headers),
            "auth": auth,
        }
        self._write("request", call=call, **line, body=_text(kept))
        self._within.call = call
        return call

    def answer(self, call: int, status: int | None, body: bytes = b"") -> None:
        """Record the answer to an HTTP request; of its body the error, or the number of the token."""
        self._within.call = None
        line: dict[str, Any] = {"call": call, "status": status}
        if status is not None and status >= 400:
            line["error"] = error_of(self._secrets.removed(body))
        elif (token := _token_of(body)) is not None:
            line["token"] = self._secrets.number(token)
        self._write("answer", **line)

    def control(self, method: str, path: str, body: Mapping[str, Any], token: str | None = None) -> None:
        """Record what Python changes as a request of the control API; nothing while an HTTP request is answered.

        Args:
            method: The method of the request.
            path: Its path.
            body: Its body.
            token: The token that it would return.
        """
        if getattr(self._within, "call", None) is not None:
            return
        call = next(self._numbers)
        text: bytes | None = orjson.dumps(body, default=str)
        if self._masked:
            text = _masked(partial(masked_request, path, text or b"", self._columns_of))
        self._write(
            "request", call=call, method=method, path=path, headers={}, auth={"control": True}, body=_text(text)
        )
        self.answer(call, 200, b"" if token is None else orjson.dumps({"access_token": token}))

    def mark(self, kind: str) -> None:
        """Record ``"kill"``, ``"stop"`` or ``"start"``; once it has started, there is something to keep."""
        self._has_started = self._has_started or kind == "start"
        self._write(kind)

    def stream(self, peer: str, method: str, headers: Mapping[str, str], authorization: str | None) -> RecordedStream:
        """Record a gRPC call that begins."""
        call = next(self._numbers)
        auth = self._secrets.auth(authorization)
        with self._lock:
            if len(self._connections) >= _MAX_CONNECTIONS:
                self._connections.clear()
            connection = self._connections.setdefault(peer, call)
        self._write("stream", call=call, connection=connection, method=method, headers=self._kept(headers), auth=auth)
        return RecordedStream(self, call, CallMask(method, self._columns_of) if self._masked else None)

    def stream_line(self, kind: str, call: int, body: bytes | None, mask: CallMask | None = None) -> None:
        """Record a message of a gRPC call."""
        if body is not None:
            body = self._secrets.removed(body)
            body = body if mask is None else _masked(partial(mask.message, body))
        self._write(kind, call=call, body=_text(body))

    def stream_end(self, call: int, **line: Any) -> None:
        """Record a gRPC call's end."""
        self._write("end", call=call, **line)

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that matter; others may hold secrets."""
        lower = {name.lower(): self._clean(_NOT_IN_HEADERS.sub(" ", value)) for name, value in headers.items()}
        return {name: value for name, value in lower.items() if name in _HEADERS or name.startswith("x-databricks-")}

    def _clean(self, text: str) -> str:
        return self._secrets.removed(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def _found(self, token: Token, number: int) -> None:
        """Record a token that was issued before the recording began."""
        call = next(self._numbers)
        body = {"table": token.table, "life": token.expires_at - self._tokens.now(), "admin": token.is_admin}
        line = {"method": "POST", "path": "/control/tokens", "headers": {}, "auth": {"control": True}}
        self._write("request", call=call, **line, body=_text(orjson.dumps(body)))
        self._write("answer", call=call, status=200, token=number)

    def _write(self, kind: str, **line: Any) -> None:
        rest = orjson.dumps({"kind": kind, **line})[1:]
        with self._lock:
            if self._broken:
                return
            at = time.monotonic() - self._start  # under the lock, so that it grows from line to line
            try:
                self._file.write(b'{"at":%.6f,%s\n' % (at, rest))
                self._file.flush()
            except OSError as error:
                self._broken = True
                self._ends(error)

    def _ends(self, error: OSError) -> None:
        _LOG.error("recording to %s ends, since the file cannot be written: %s", self._path, error)


class RecordedStream:
    """A gRPC call that is recorded.

    Args:
        recorder: Writes the lines.
        call: The call's number.
        mask: Replaces values; None to keep them.
    """

    def __init__(self, recorder: Recorder, call: int, mask: CallMask | None) -> None:
        self._recorder = recorder
        self._call = call
        self._mask = mask

    def message(self, body: bytes) -> None:
        """Record a message of the client."""
        self._recorder.stream_line("message", self._call, body, self._mask)

    def half_close(self) -> None:
        """Record that the client sends no more."""
        self._recorder.stream_line("half_close", self._call, None)

    def response(self, body: bytes) -> None:
        """Record a message to the client."""
        self._recorder.stream_line("response", self._call, body)

    def end(self, by: str, code: str | None, message: str | None, details: bytes | None) -> None:
        """Record the end: by whom, and the status if there is one."""
        self._recorder.stream_end(self._call, by=by, code=code, message=message, details=_text(details))


def _new_file(path: Path) -> Path:
    """Make an empty file for its owner only, since rows are in it."""
    if not path.is_dir():
        path.touch(mode=0o600, exist_ok=False)
        return path
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in itertools.count(1):
        file = path / f"calls-{stamp}-{number}.jsonl"
        with suppress(FileExistsError):
            file.touch(mode=0o600, exist_ok=False)
            break
    return file


def _masked(mask: Callable[[], bytes | None]) -> bytes | None:
    """Return what a mask makes of a body; None if it fails, since a recording must not end a call."""
    try:
        return mask()
    except Exception:  # noqa: BLE001 - whatever clients send
        _LOG.exception("a body is left out of the recording, since it could not be masked")
        return None


def path_of(target: str) -> str:
    """Return the path of a request's target, as the emulator's HTTP port reads it.

    Example:
        >>> path_of("http://localhost/control/tables?a=b"), path_of("/health")
        ('/control/tables', '/health')
    """
    try:
        return urlsplit(target).path
    except ValueError:
        return target.partition("?")[0]


def _from_slash(target: str) -> str:
    """Return a target without scheme and host, which a client of a proxy sends."""
    return target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]


def _token_of(body: bytes) -> str | None:
    """Return the token that an answer issues; None if it is another one."""
    if b'"access_token"' not in body:
        return None
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    token = content.get("access_token") if isinstance(content, dict) else None
    return token if isinstance(token, str) else None


def error_of(body: bytes) -> list[str]:
    """Return the code and the message of an error's body, as either of Databricks' APIs has them; else nothing.

    Example:
        >>> error_of(b'{"error_code": "NOT_FOUND", "message": "no such table"}')
        ['NOT_FOUND', 'no such table']
    """
    try:
        content = orjson.loads(body)
        names = ("error_code", "message") if "error_code" in content else ("error", "error_description")
        return [str(content[name]) for name in names]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []


def _text(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode()
