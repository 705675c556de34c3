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
    values: list[Any] = []
    _parse(texts, values, problems)
    return values


def _parse(texts: Sequence[bytes], values: list[Any], problems: dict[int, Problem]) -> None:
    """Append the values of texts; halve the texts until those that orjson cannot read are alone."""
    found = _together(texts)
    if found is None and len(texts) > 1:
        half = len(texts) // 2
        _parse(texts[:half], values, problems)
        _parse(texts[half:], values, problems)
        return
    some, lossy = ([None], [0]) if found is None else found
    start = len(values)
    values.extend(some)
    for position in lossy:
        try:
            values[start + position] = _exactly(texts[position])
        except VariantError as error:
            values[start + position] = None
            problems[start + position] = error.problem


def _together(texts: Sequence[bytes]) -> tuple[list[Any], list[int]] | None:
    """Parse texts as one array; return their values, and the positions of those that lost something.

    Between the texts are numbers that no text can know. If they are at every second place, each text is one value: a
    text such as `1,2`, or two that are only together an array, cannot shift them.

    Returns:
        None if a text is invalid.
    """
    if not texts:
        return [], []
    between = secrets.randbits(62)
    separator = b",%d," % between
    text = b"[%b]" % separator.join(texts)
    try:
        found = orjson.loads(text)
        written = orjson.dumps(found)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # orjson writes less deep values than it reads
        return None
    if len(found) != 2 * len(texts) - 1 or found[1::2] != [between] * (len(texts) - 1):
        return None
    values: list[Any] = found[::2]
    if written == text:
        return values, []
    # Spaces inside strings are dropped on both sides, from these copies only.
    parts, written_parts = (some[1:-1].translate(None, _SPACES).split(separator) for some in (text, written))
    if parts == written_parts:
        return values, []
    return values, [position for position, part in enumerate(parts) if part != written_parts[position]]


def _exactly(text: bytes) -> Any:
    try:
        value = _EXACT.decode(text.decode())
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


_EXACT = json.JSONDecoder(parse_float=Number, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object)
