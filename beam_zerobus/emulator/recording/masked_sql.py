"""SQL statements without what they may hold of rows: texts and comments, and all of one that is not executed."""

from __future__ import annotations

import re

import orjson

from beam_zerobus.emulator.recording.masked_text import masked_value

__all__ = ["masked_statement"]

_EXECUTED = re.compile(r"\s*(CREATE|ALTER|GRANT|REVOKE|SHOW|DESCRIBE|DESC)\b", re.IGNORECASE)
# Names in backquotes are first: a quote inside one begins no text. What is not closed goes to the end.
_HIDDEN = re.compile(
    r"""(?P<name>`(?:[^`]|``)*`)
      | (?P<text>'(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z))
      | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))""",
    re.VERBOSE | re.DOTALL,
)
_KEPT = {"warehouse_id", "catalog", "schema", "wait_timeout", "on_wait_timeout", "disposition", "format"}


def masked_statement(body: bytes) -> bytes:
    """Return the body of a request that executes a statement, masked.

    Example:
        >>> masked_statement(b'{"statement": "INSERT INTO t VALUES (42)", "parameters": [{"value": "Zurich"}]}')
        b'{"statement":"INSERT","parameters":[{"xxxxx":"xxxxxx"}]}'
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return b"x" * len(body)
    if not isinstance(request, dict):
        return orjson.dumps(masked_value(request))
    return orjson.dumps({name: _member(name, value) for name, value in request.items()})


def _member(name: str, value: object) -> object:
    if name == "statement" and isinstance(value, str):
        value = _HIDDEN.sub(_hidden, value)
        return value if _EXECUTED.match(value) else _first_word(value)
    return value if name in _KEPT else masked_value(value)


def _first_word(statement: str) -> str:
    """Return the first word, which the emulator's answer names."""
    found = re.match(r"\s*\w*", statement)
    return found[0] if found else ""


def _hidden(found: re.Match[str]) -> str:
    text = found[0]
    if found["name"]:
        return text
    if found["comment"]:
        return re.sub(r"[^\n]", " ", text)
    return text[0] + "x" * (len(text) - 2) + text[-1] if len(text) > 1 and text[-1] == text[0] else text[0]
