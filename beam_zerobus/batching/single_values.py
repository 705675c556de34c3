"""A single Python value as what pyarrow converts exactly, or the reason why its column cannot hold it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import orjson

from beam_zerobus.batching.json_objects import json_text
from beam_zerobus.batching.misfit import MisfitError, WrongTypeError
from beam_zerobus.schema import RowErrorType
from beam_zerobus.schema.missing import MISSING_TYPES
from beam_zerobus.schema.unique_keys import RepeatedKeyError, unique_keys

__all__ = [
    "base64_text",
    "binary",
    "boolean",
    "is_missing",
    "json_variant",
    "may_not_be_plain",
    "plain",
    "present",
    "text",
    "variant",
]


def is_missing(value: Any) -> bool:
    """Return whether a value is a null of Python, pandas or numpy."""
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    return isinstance(value, np.datetime64) and bool(np.isnat(value))


def plain(value: Any) -> Any:
    """Return the value of an enum member, None for a null of Python, pandas or numpy, and anything else as it is."""
    if isinstance(value, Enum):
        value = value.value
    return None if is_missing(value) else value


def may_not_be_plain(kind: type) -> bool:
    """Return whether `plain` may change values of a type."""
    return issubclass(kind, Enum | np.datetime64) or kind.__name__ in MISSING_TYPES


def present(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter of values as `plain` returns them, which keeps nulls."""

    def one(value: Any) -> Any:
        value = plain(value)
        return None if value is None else convert(value)

    return one


def boolean(value: Any) -> bool:
    """Return a value of a BOOLEAN column."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise WrongTypeError("does not fit; pass a bool")


def text(value: Any) -> str:
    """Return a value of a STRING column."""
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise MisfitError(
                "is not UTF-8; decode it first, or use BINARY in the table", RowErrorType.INVALID_UTF8
            ) from None
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        missing = isinstance(value, float) and math.isnan(value)
        raise MisfitError(
            "is NaN, which pandas uses for a missing value; pass None" if missing else "does not fit; pass a str"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("holds half a surrogate pair; correct the row", RowErrorType.INVALID_UTF8) from None
    return str(value)


def variant(value: Any) -> str:
    """Return a value of a VARIANT column: JSON text as it is, any other value as JSON text."""
    return _variant(value, _python_as_json)


def json_variant(value: Any) -> str:
    """Return a value of a VARIANT column, from JSON: its numbers stay as they are in the text."""
    return _variant(value, json_text)


def _variant(value: Any, write: Callable[[Any], str]) -> str:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return text(value)
    try:
        return write(value)
    except RepeatedKeyError as error:
        raise MisfitError(
            f"has an object with the key {error.key!r} twice, as keys in JSON are text; drop one of them",
            RowErrorType.INVALID_JSON,
        ) from None
    except (TypeError, ValueError, RecursionError):
        raise MisfitError("cannot be written as JSON; pass JSON text, or dicts, lists, numbers and text") from None


_as_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_CHECK = json.JSONDecoder(parse_int=str, parse_float=str, object_pairs_hook=unique_keys)


def _python_as_json(value: Any) -> str:
    try:
        text = _as_json(value)
    except TypeError:
        text = _as_json(_all_plain(value))
    try:
        orjson.dumps(value)  # which is fast, and takes keys of text only
    except TypeError:
        _CHECK.decode(text)
    return text


def _all_plain(value: Any) -> Any:
    """Return a value with what `plain` does to a single one done to all that it holds."""
    if isinstance(value, dict):
        return unique_keys([(_all_plain(key), _all_plain(inner)) for key, inner in value.items()])
    if isinstance(value, list | tuple):
        return [_all_plain(inner) for inner in value]
    return plain(value)


def binary(value: Any) -> bytes:
    """Return a value of a BINARY column."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise WrongTypeError("does not fit; pass bytes")


def base64_text(value: Any) -> bytes:
    """Return a value of a BINARY column, from JSON."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise MisfitError(
                "is not base64, which JSON needs for BINARY; correct the row", RowErrorType.INVALID_TEXT
            ) from None
    return binary(value)
