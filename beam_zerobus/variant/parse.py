r"""JSON texts to Python values that have lost nothing.

orjson is several times faster than Python's own parser, but rounds numbers to 64 bits and keeps one of two equal keys.
So all values are written as JSON again: if that is the text, spaces aside, nothing was lost. The other texts, such as
one with `1.50` or `\u00e9`, are parsed again by Python's parser, which keeps numbers as they are written.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from beam_zerobus.variant.numbers import Number
from beam_zerobus.variant.problems import Problem, VariantError

__all__ = ["parse_all"]

_SPACES = b" \t\r\n"
_LONG_INTEGER = 40  # digits; Python converts no more than 4,300, and none of these is an integer of Variant
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_all(texts: Sequence[bytes], problems: dict[int, Problem]) -> list[Any]:
    """Parse JSON texts: objects to dict, arrays to list, numbers to int, float or `Number`.

    Args:
        texts: The texts.
        problems: Gets the problem of each text that has no value, by its position.

    Returns:
        The values; None for a text with a problem.

    Example:
        >>> problems = {}
        >>> parse_all([b'{"a": 1}', b"[1.50]", b"{"], problems), problems
        ([{'a': 1}, ['1.50'], None], {2: <Problem.NOT_JSON: 'is not valid JSON'>})
    """
    values = _all_at_once(texts)
    if values is not None:
        return values
    values = [_parsed(text) for text in texts]
    for position, (text, value) in enumerate(zip(texts, values, strict=True)):
        if value is None or not _is_written_so(value, text):
            try:
                values[position] = _exactly(text)
            except VariantError as error:
                values[position] = None
                problems[position] = error.problem
    return values


def _all_at_once(texts: Sequence[bytes]) -> list[Any] | None:
    """Parse the texts as one array; return None if a text is invalid or loses something.

    Between the texts are numbers that no text can know. If they are at every second place, each text is one value: a
    text such as `1,2`, or two that are only together an array, cannot shift them.
    """
    if not texts:
        return []
    between = secrets.randbits(62)
    text = b"[%b]" % (b",%d," % between).join(texts)
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if (
        len(values) != 2 * len(texts) - 1
        or values[1::2] != [between] * (len(texts) - 1)
        or not _is_written_so(values, text)
    ):
        return None
    return values[::2]


def _is_written_so(value: Any, text: bytes) -> bool:
    """Return whether a text is what orjson writes for the value."""
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        return False
    # Spaces inside strings are dropped on both sides, from these copies only.
    return written == text or written.translate(None, _SPACES) == text.translate(None, _SPACES)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _exactly(text: bytes) -> Any:
    try:
        value = json.loads(
            text.decode(),
            parse_float=Number,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise VariantError(Problem.LONE_SURROGATE) from None
    except ValueError:
        raise VariantError(Problem.NOT_JSON) from None
    except RecursionError:
        raise VariantError(Problem.TOO_DEEP) from None
    return value


def _integer(token: str) -> int | Number:
    return int(token) if len(token) < _LONG_INTEGER else Number(token)


def _constant(_name: str) -> Any:
    raise VariantError(Problem.NOT_JSON)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise VariantError(Problem.DUPLICATE_KEY)
    return value
