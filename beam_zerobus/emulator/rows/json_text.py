"""JSON text to Python values."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

__all__ = ["parse_json"]


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    A number beyond the range of DOUBLE is JSON too. It becomes an `orjson.Fragment`, which fits no column: the row is
    rejected for it, as for any other number out of range.

    Raises:
        ValueError: The text is not JSON.

    Example:
        >>> orjson.dumps(parse_json('{"x": -1e999}'))
        b'{"x":-1e999}'
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # for such a number, too
        return _with_large_numbers(text if isinstance(text, str) else text.decode())


def _with_large_numbers(text: str) -> Any:
    try:
        value = json.loads(text, parse_float=_number, parse_int=_number, parse_constant=_no_number)
        orjson.dumps(value)  # rejects half of a surrogate pair, which Python's parser lets through
    except (RecursionError, TypeError):
        raise ValueError("not JSON") from None
    return value


def _number(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.Fragment(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
