"""Reads a recording, line by line."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from beam_zerobus.emulator.recording import VERSION
from beam_zerobus.errors import ConfigurationError

__all__ = ["body_of", "read_head", "read_lines"]

_MAX_AT = 10**9
_MEMBERS = {
    "request": {"call", "method", "path", "headers", "auth", "body"},
    "answer": {"call", "status"},
    "stream": {"call", "connection", "method", "headers", "auth"},
    "message": {"call", "body"},
    "half_close": {"call"},
    "response": {"call", "body"},
    "end": {"call", "by", "code", "message", "details"},
    "kill": set(),
    "stop": set(),
    "start": set(),
}
_METHODS = {"request": re.compile(r"[A-Z]+"), "stream": re.compile(r"/[!-.0-~]+/[!-.0-~]+")}
_HEADER = {"request": re.compile(r"[^\0\r\n\u0100-\U0010ffff]*"), "stream": re.compile(r"[ -~]*")}
_NAME = {"request": re.compile(r"[!-9;-~]+"), "stream": re.compile(r"[a-z0-9_.-]+")}
_ENDS = {"server", "client", "connection"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "client_id": lambda value: isinstance(value, str) and value != "",
    "token_life": _is_number,
    "readable_after": _is_number,
    "max_partitions": lambda value: value is None or _is_count(value),
    "in_development": lambda value: isinstance(value, bool),
}


def read_head(path: Path) -> dict[str, Any]:
    """Return the first line of a recording.

    Raises:
        ConfigurationError: The file cannot be read, or is not a recording of this version.
    """
    try:
        with path.open("rb") as file:
            head = orjson.loads(file.readline())
        version = head["zerobus_recording"]
    except OSError as error:
        raise ConfigurationError(f"the recording {path} cannot be read: {error.strerror}") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ConfigurationError(
            f"{path} is not a recording: name a file that beam-zerobus emulator --record has written"
        ) from None
    if version != VERSION:
        raise ConfigurationError(f"{path} is a recording of version {version}; this release reads version {VERSION}")
    for name, is_valid in _SETTINGS.items():
        if not is_valid(head.get(name, object)):
            raise ConfigurationError(f"the first line of {path} has no valid {name}")
    found: dict[str, Any] = head
    return found


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines after the first; a last line that was cut by a kill is left out.

    Raises:
        ConfigurationError: A line is not one of a recording.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if number == 1:
                continue
            try:
                line = orjson.loads(text)
                is_known = _is_line(line)
            except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
                is_known = False
            if is_known:
                yield line
            elif text.endswith(b"\n"):
                raise ConfigurationError(f"{path}, line {number}: this is not a line of a recording")


def _is_line(line: dict[str, Any]) -> bool:  # noqa: PLR0911 - one for each kind
    kind = line["kind"]
    if not (_is_number(line["at"]) and line["at"] < _MAX_AT and _MEMBERS[kind] <= line.keys()):
        return False
    if "call" in _MEMBERS[kind] and not _is_count(line["call"]):
        return False
    match kind:
        case "request":
            # A path without the slash would be a part of the host: the secrets would go elsewhere.
            return isinstance(line["path"], str) and line["path"][:1] == "/" and _is_begin(line)
        case "stream":
            return _is_count(line["connection"]) and _is_begin(line)
        case "answer":
            error = line.get("error")
            is_error = error is None or (isinstance(error, list) and all(isinstance(one, str) for one in error))
            is_status = line["status"] is None or _is_count(line["status"])
            return is_error and is_status and ("token" not in line or _is_count(line["token"]))
        case "end":
            texts = (line["code"], line["message"])
            return line["by"] in _ENDS and all(text is None or isinstance(text, str) for text in texts)
        case _:
            return True


def _is_begin(line: dict[str, Any]) -> bool:
    """Return whether method, headers and auth can be sent."""
    auth = line["auth"]
    return (
        _METHODS[line["kind"]].fullmatch(line["method"]) is not None
        and all(
            _NAME[line["kind"]].fullmatch(name) and _HEADER[line["kind"]].fullmatch(text)
            for name, text in line["headers"].items()
        )
        and (auth is None or (isinstance(auth, dict) and ("token" not in auth or _is_count(auth["token"]))))
    )


def body_of(line: dict[str, Any], member: str = "body") -> bytes | None:
    """Return the bytes of a line; None where they were left out.

    Raises:
        ConfigurationError: The text is not Base64.
    """
    text = line[member]
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise ConfigurationError(f"call {line['call']} has a {member} that is not Base64") from None
