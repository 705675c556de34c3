"""Reads a recording, line by line."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from beam_zerobus.emulator.recording import VERSION
from beam_zerobus.errors import ConfigurationError

__all__ = ["body_of", "read_head", "read_lines"]

_KINDS = {
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
                is_known = line["at"] >= 0 and _KINDS[line["kind"]] <= line.keys()
            except (orjson.JSONDecodeError, KeyError, TypeError):
                is_known = False
            if is_known:
                yield line
            elif text.endswith(b"\n"):
                raise ConfigurationError(f"{path}, line {number}: this is not a line of a recording")


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
