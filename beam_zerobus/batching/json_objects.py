"""JSON text to Python values and back, with all digits of its numbers.

orjson is several times as fast as Python's own parser, but reads a number with a fraction, or beyond 64 bits, as a
float. Where that could change a value, Python's parser reads the text once more. Both accept the same text: what orjson
rejects, Python's parser may still read, such as a number that no float can hold. Of two equal keys in an object both
keep the last, but for `parse_strictly`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from beam_zerobus.schema import Array, Decimal, DeltaType, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.rescue import Verbatim
from beam_zerobus.schema.texts import INTEGERS
from beam_zerobus.schema.unique_keys import unique_keys

__all__ = [
    "FIRST_LOST",
    "JsonNumber",
    "LostDigitsError",
    "json_bytes",
    "json_key",
    "json_parser",
    "json_text",
    "parse_exactly",
    "parse_long_numbers",
    "parse_strictly",
    "parsed_as",
    "type_name",
]

FIRST_LOST = 2**63
"""From here on, a whole number in the text was read as a float if it was read by orjson."""

_DIGITS_OF_INT64 = 19  # with a sign, numbers of 18 digits have as many characters and are read exactly too
_DIGITS_BEYOND_DOUBLE = 400
_WHOLE_NUMBER = re.compile("-?(?:0|[1-9][0-9]*)")
_FORM = r"[0-9][.eE]|[0-9]{19}|[\s:\[,]-0"
_MAY_CHANGE, _MAY_CHANGE_BYTES = re.compile(_FORM), re.compile(_FORM.encode())
_LONG_FORM = r"[0-9.]{16}|[0-9][eE]"  # any other number is exactly the float that it is read as, if that is whole
_LONG, _LONG_BYTES = re.compile(_LONG_FORM), re.compile(_LONG_FORM.encode())


class LostDigitsError(Exception):
    """A number was read as a float that may not have all its digits; read the text with `parse_long_numbers`."""


class JsonNumber(Verbatim):
    """A number as it is in the text: one with a fraction, an exponent or many digits.

    Attributes:
        text: The number's text.
    """

    __slots__ = ()

    def number(self) -> float | int:
        """Return an int for a whole number, else the nearest float; infinity if it is too large for a float.

        Example:
            >>> JsonNumber("80241446968629135069").number(), JsonNumber("1e400").number()
            (80241446968629135069, inf)
        """
        if self.text.lstrip("-").isdigit():
            # JSON allows no leading zeros: a number with more digits is too large for every type in any case.
            return int(self.text[:_DIGITS_BEYOND_DOUBLE])
        return float(self.text)


def json_key(key: Any, delta_type: DeltaType) -> Any:
    """Return the key of a JSON object, which is always text, as a key of a map; text of another form stays text.

    Example:
        >>> json_key("-5", Primitive.INT), json_key("true", Primitive.BOOLEAN), json_key("05", Primitive.INT)
        (-5, True, '05')
    """
    if not isinstance(key, str):
        return key
    if delta_type is Primitive.BOOLEAN:
        return {"true": True, "false": False}.get(key, key)
    return int(key[:_DIGITS_BEYOND_DOUBLE]) if delta_type in INTEGERS and _WHOLE_NUMBER.fullmatch(key) else key


def type_name(value: object) -> str:
    """Return the name of a value's Python type, for messages."""
    return type(value.number() if isinstance(value, JsonNumber) else value).__name__


def json_parser(schema: TableSchema) -> Callable[[Any], Any]:
    """Return the fastest parser of JSON text whose numbers are exact enough for a table.

    Its floats from `FIRST_LOST` on may have been whole numbers with other digits.
    """
    if any(_shows_digits(column.type) for column in schema.columns):
        return _parse_with_digits
    return orjson.loads


def _shows_digits(delta_type: DeltaType) -> bool:
    match delta_type:
        case Array(element):
            return _shows_digits(element)
        case Map(key, value):
            return _shows_digits(key) or _shows_digits(value)
        case Struct(fields):
            return any(_shows_digits(field.type) for field in fields)
        case _:
            return isinstance(delta_type, Decimal) or delta_type is Primitive.VARIANT


def _parse_with_digits(text: Any) -> Any:
    return parse_exactly(text) if _may_change(text) else orjson.loads(text)


def parsed_as(parse: Callable[[Any], Any], elements: Sequence[Any], records: list[Any]) -> list[Any]:
    """Return the records that orjson read from elements, as another parser would have read them.

    Example:
        >>> parsed_as(parse_exactly, ['{"a": 1.50}'], [{"a": 1.5}])[0]["a"].text
        '1.50'
    """
    if parse is orjson.loads:
        return records
    return [
        parse_exactly(text) if _may_change(text) else record for text, record in zip(elements, records, strict=True)
    ]


def _may_change(text: Any) -> bool:
    pattern: re.Pattern[Any] = _MAY_CHANGE if isinstance(text, str) else _MAY_CHANGE_BYTES
    return pattern.search(text) is not None


def parse_long_numbers(text: Any) -> Any:
    """Parse JSON; a float that is a whole number is one in the text, and others may have lost digits.

    Raises:
        ValueError: The text is not valid JSON.

    Example:
        >>> parsed = parse_long_numbers('{"a": 5.0, "b": 5.00000000000000001}'), parse_long_numbers('{"a": 5.0}')
        >>> type(parsed[0]["b"]).__name__, type(parsed[1]["a"]).__name__
        ('JsonNumber', 'float')
    """
    pattern: re.Pattern[Any] = _LONG if isinstance(text, str) else _LONG_BYTES
    return parse_exactly(text) if pattern.search(text) else orjson.loads(text)


def parse_exactly(text: str | bytes | bytearray | memoryview) -> Any:
    """Parse JSON; numbers that could lose digits are `JsonNumber`. Of two equal keys in an object the last one is kept.

    Raises:
        ValueError: The text is not valid JSON.

    Example:
        >>> parse_exactly('{"a": 1, "b": 1.50}')["b"].text
        '1.50'
    """
    return _DECODER.decode(text if isinstance(text, str) else bytes(text).decode())


def parse_strictly(text: str | bytes | bytearray | memoryview) -> Any:
    """Parse JSON as `parse_exactly` does, but reject objects with the same key twice.

    Raises:
        RepeatedKeyError: An object has the same key twice.
        ValueError: The text is not valid JSON.

    Example:
        >>> parse_strictly('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        beam_zerobus.schema.unique_keys.RepeatedKeyError: an object has the key 'a' twice
    """
    return _STRICT_DECODER.decode(text if isinstance(text, str) else bytes(text).decode())


def _whole(text: str) -> int | JsonNumber:
    return JsonNumber(text) if len(text) >= _DIGITS_OF_INT64 or text == "-0" else int(text)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")


_NUMBERS: dict[str, Any] = {"parse_float": JsonNumber, "parse_int": _whole, "parse_constant": _no_constant}
_DECODER = json.JSONDecoder(**_NUMBERS)
_STRICT_DECODER = json.JSONDecoder(**_NUMBERS, object_pairs_hook=unique_keys)


def json_text(value: Any) -> str:
    """Write what `json_parser` or `parse_exactly` read, with each number as in the text.

    Raises:
        TypeError: Text in it has half a surrogate pair, or it is nested too deep.

    Example:
        >>> json_text(parse_exactly('{"price": 1.50, "id": 80241446968629135069}'))
        '{"price":1.50,"id":80241446968629135069}'
    """
    return json_bytes(value).decode()


def json_bytes(value: Any) -> bytes:
    """Return what `json_text` returns, in UTF-8.

    Raises:
        TypeError: As `json_text`.

    Example:
        >>> json_bytes({"id": 1})
        b'{"id":1}'
    """
    return orjson.dumps(value, default=_fragment)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, JsonNumber):
        return orjson.Fragment(value.text)
    raise TypeError
