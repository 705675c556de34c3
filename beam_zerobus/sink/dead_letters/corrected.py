"""A dead letter that people may have corrected, as an element for the sink."""

from __future__ import annotations

import base64
import binascii
import decimal
import math
from collections.abc import Callable, Mapping
from typing import Any

from beam_zerobus.batching.json_objects import json_key
from beam_zerobus.schema import Array, Decimal, DeltaType, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.casts.decimals import exact_decimal
from beam_zerobus.schema.texts import INTEGERS
from beam_zerobus.schema.unique_keys import unique_keys
from beam_zerobus.sink.dead_letters.json_text import Number, dumps, loads
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import restored
from beam_zerobus.sink.dead_letters.values import fields_of, items_of, key_name

__all__ = ["to_element"]

_WHOLE = Decimal(38, 0)


def to_element(
    letter: Mapping[str, Any], schema: TableSchema | None = None, *, correct: Callable[[Any], Any] = lambda row: row
) -> Any:
    """Return the row of a dead letter as an element for the sink.

    Unchanged values are exactly those of the rejected row. Changed ones are read as the sink reads JSON.

    Args:
        letter: What `to_json` returned, parsed by `loads`; or what `to_record` returned.
        schema: The table's schema, which says how changed values are read; None reads them as they are.
        correct: Corrects the row as it is in the file: a dict, or text that is not valid JSON.

    Example:
        >>> to_element({"element": {"id": 2, "raw": "YWI="}, "typed": {"id": "two", "raw": {"$bytes": "YWI="}}})
        {'id': 2, 'raw': b'ab'}
    """
    element, typed = letter["element"], letter.get("typed")
    if typed is None:  # the row is JSON text, or from an earlier version, which had none for plain values
        return _json_text(element, correct)
    if isinstance(typed, str):  # of Parquet
        value = restored(loads(typed))
        element = element if isinstance(value, bytes) else loads(element)
    else:
        value = restored(typed)
    readable = value.decode(errors="backslashreplace") if isinstance(value, bytes) else _readable(value)
    columns = None if schema is None else Struct(schema.columns)
    return _merged(value, readable, correct(element), columns)


def _json_text(element: Any, correct: Callable[[Any], Any]) -> str:
    if not isinstance(element, str):
        return dumps(correct(element))
    try:
        parsed = loads(element)
    except (ValueError, RecursionError):
        corrected = correct(element)
        return corrected if isinstance(corrected, str) else dumps(corrected)
    before = dumps(parsed)
    after = dumps(correct(parsed))
    return element if after == before else after  # as it was, down to the digits


def _readable(value: Any) -> Any:
    """Return what `loads` makes of a value's form for people, with which a letter is compared."""
    return loads(dumps(plain(value)))


def _merged(value: Any, readable: Any, corrected: Any, delta_type: DeltaType | None) -> Any:
    """Return a value with the parts replaced that differ from its readable form."""
    if dumps(readable) == dumps(corrected):
        return value
    fields = None if delta_type is Primitive.VARIANT else fields_of(value)
    if fields is not None and isinstance(readable, dict) and isinstance(corrected, dict):
        keys = {key_name(key): key for key in fields}
        return {
            keys.get(name, name): _merged(fields[keys[name]], readable[name], inner, _type_of(delta_type, name))
            if name in keys
            else _from_json(inner, _type_of(delta_type, name))
            for name, inner in corrected.items()
        }
    items = items_of(value) if isinstance(readable, list) else None
    if items is not None and isinstance(corrected, list) and len(items) == len(corrected):
        kind = delta_type.element if isinstance(delta_type, Array) else None
        return [_merged(*parts, kind) for parts in zip(items, readable, corrected, strict=True)]
    if delta_type in (None, Primitive.VARIANT):  # others take pairs, too
        corrected = _with_objects(value, corrected)
    return _from_json(corrected, delta_type)


def _with_objects(value: Any, corrected: Any) -> Any:
    """Return what people wrote with objects for the pairs of mappings whose keys are equal as text."""
    fields = fields_of(value)
    if fields is None:
        items = items_of(value)
        if items is None or not isinstance(corrected, list) or len(items) != len(corrected):
            return corrected
        return [_with_objects(*pair) for pair in zip(items, corrected, strict=True)]
    by_name = {key_name(key): inner for key, inner in fields.items()}
    if len(by_name) < len(fields) and _are_pairs(corrected):
        return unique_keys([(name, _with_objects(by_name.get(name), inner)) for name, inner in corrected])
    if isinstance(corrected, dict):
        return {name: _with_objects(by_name.get(name), inner) for name, inner in corrected.items()}
    return corrected


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in value
    )


def _type_of(delta_type: DeltaType | None, name: str) -> DeltaType | None:
    """Return the type of a struct's field or of a map's values."""
    if isinstance(delta_type, Struct):
        return next((field.type for field in delta_type.fields if field.name.lower() == name.lower()), None)
    return delta_type.value if isinstance(delta_type, Map) else None


def _from_json(value: Any, delta_type: DeltaType | None) -> Any:  # noqa: PLR0911 - one for each kind of type
    """Return a value that people wrote in JSON as one that the sink takes for a type."""
    if delta_type is Primitive.BINARY and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            return value
    if delta_type is Primitive.VARIANT:
        return value if isinstance(value, str) else dumps(value)
    if isinstance(value, Number):
        return _number(value, delta_type)
    if isinstance(value, list):
        kind = delta_type.element if isinstance(delta_type, Array) else None
        return [_from_json(inner, kind) for inner in value]
    if isinstance(value, dict):
        key_type = delta_type.key if isinstance(delta_type, Map) else Primitive.STRING
        return unique_keys(
            [(json_key(name, key_type), _from_json(inner, _type_of(delta_type, name))) for name, inner in value.items()]
        )
    return value


def _number(number: Number, delta_type: DeltaType | None) -> Any:
    """Return a number that people wrote: only FLOAT and DOUBLE round it, and none makes infinity of it."""
    if isinstance(delta_type, Decimal):
        return number.text
    if math.isinf(number):
        return decimal.Decimal(number)  # which no other column takes
    if delta_type in (*INTEGERS, Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ) and number.is_integer():
        exact = exact_decimal(number.text, _WHOLE)
        return int(exact) if isinstance(exact, decimal.Decimal) else number.text
    return float(number)
