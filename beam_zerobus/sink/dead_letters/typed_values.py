"""Values as JSON that keeps each value and its type, with a tag where JSON has no such value.

``{"$decimal": "1.10"}``, ``{"$bytes": "YWI="}``. A row of a RecordBatch or Table is one tag as a whole: its fields, or
an Arrow IPC stream.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import Row
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.schema.float_names import float_name
from beam_zerobus.sink.dead_letters import arrow_values
from beam_zerobus.sink.dead_letters.arrow_fields import from_fields
from beam_zerobus.sink.dead_letters.json_text import Number, dumps, is_utf8
from beam_zerobus.sink.dead_letters.values import (
    OtherValue,
    as_python,
    fields_of,
    key_name,
    member,
    other_value,
)
from beam_zerobus.sink.raw_text import RawText

__all__ = ["exact", "exact_text", "restored"]

_INT64 = 1 << 63


def exact(value: Any) -> Any:
    """Return a value as JSON from which `restored` makes the same value.

    >>> exact({"id": 1, "price": decimal.Decimal("1.10")})
    {'id': 1, 'price': {'$decimal': '1.10'}}
    """
    if value is None or (type(value) is str and is_utf8(value)):  # first what is most frequent
        return value
    value = as_python(value)
    for tag, (fits, write, _) in _TAGS.items():
        if fits(value):
            return {tag: write(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {key_name(key): exact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [exact(inner) for inner in value]
    return exact(other_value(type(value).__name__, str(value)))


def exact_text(value: Any) -> str:
    """Return what `exact` returns as JSON text."""
    if type(value) is RawText:  # there may be one in each row
        return f'{{"$rawtext":"{_base64(value)}"}}'
    return dumps(exact(value))


def restored(form: Any) -> Any:
    """Return the value of which `exact` made a form; a dataclass is returned as a Row, a Table as a RecordBatch.

    >>> restored({"id": 1, "price": {"$decimal": "1.10"}})
    {'id': 1, 'price': Decimal('1.10')}
    """
    if isinstance(form, list):
        return [restored(inner) for inner in form]
    if not isinstance(form, dict):
        return float(form) if isinstance(form, Number) else form
    if len(form) == 1:
        ((tag, content),) = form.items()
        if tag in _TAGS:
            return _TAGS[tag][2](content)
    return {key: restored(inner) for key, inner in form.items()}


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _never(_: Any) -> bool:
    return False


def _is_pandas_timestamp(value: Any) -> bool:
    return isinstance(value, dt.datetime) and hasattr(value, "asm8")


def _is_large(value: Any) -> bool:
    return type(value) is int and not -_INT64 <= value < _INT64


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _needs_pairs(value: Any) -> bool:
    """Return whether JSON cannot hold the keys of a mapping."""
    if not isinstance(value, Mapping):
        return False
    keys = list(map(as_python, value))
    are_plain = all(isinstance(key, str) and not key.startswith("$") and is_utf8(key) for key in keys)
    return not are_plain or len(set(keys)) < len(keys)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _text_form(text: str) -> str:
    return _base64(text.encode(errors="surrogatepass"))


def _text(form: str) -> str:
    return base64.b64decode(form).decode(errors="surrogatepass")


def _numpy_form(value: np.generic) -> list[Any]:
    return [value.dtype.str, _base64(value.tobytes())]


def _numpy(form: list[Any]) -> Any:
    return np.frombuffer(base64.b64decode(form[1]), np.dtype(form[0]))[0]


def _pandas_form(timestamp: Any) -> list[Any]:
    # Its own value: its years and nanoseconds are not always those of the datetime that it is.
    offset = timestamp.utcoffset()
    return [*_numpy_form(timestamp.asm8), None if offset is None else offset.total_seconds()]


def _pandas(form: list[Any]) -> Any:
    pd: Any = import_module("pandas")  # only where a row had its timestamps
    timestamp, seconds = pd.Timestamp(_numpy(form)), form[2]
    if seconds is None:
        return timestamp
    return timestamp.tz_localize("UTC").tz_convert(dt.timezone(dt.timedelta(seconds=float(seconds))))


def _array_form(array: np.ndarray) -> list[Any]:
    content = exact(array.ravel().tolist()) if array.dtype.hasobject else _base64(array.tobytes())
    return [array.dtype.str, list(array.shape), content]


def _array(form: list[Any]) -> np.ndarray:
    kind, shape, content = form
    if isinstance(content, str):
        return np.frombuffer(base64.b64decode(content), np.dtype(kind)).reshape(shape)
    array = np.empty(len(content), object)
    for index, inner in enumerate(content):
        array[index] = restored(inner)
    return array.reshape(shape)


def _pairs_form(value: Any) -> list[Any]:
    return [[exact(key), exact(inner)] for key, inner in (fields_of(value) or {}).items()]


def _map_form(value: Any) -> list[Any]:
    """Return pairs; keys that the sink takes for one, as an enum member and its value, stay apart."""
    fields = fields_of(value) or {}
    forms = [exact(key) for key in fields]
    plain = [_key(restored(form)) for form in forms]
    equal, known = Counter(plain), set()
    for at, key in enumerate(fields):
        if isinstance(key, Enum) and equal[plain[at]] > 1:
            forms[at] = {"$member": [type(key).__name__, str(key.name), forms[at]]}
        elif plain[at] in known:
            forms[at] = exact(other_value(type(key).__name__, key_name(key)))
        else:
            known.add(plain[at])
    return [[form, exact(inner)] for form, inner in zip(forms, fields.values(), strict=True)]


def _row(pairs: list[Any]) -> Row:
    row = Row()
    vars(row).update((restored(name), restored(inner)) for name, inner in pairs)
    return row


def _tuple(pairs: list[Any]) -> Any:
    return _named_tuple(tuple(name for name, _ in pairs), tuple(restored(inner) for _, inner in pairs))


def _named_tuple(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _tuple_type(names)(values)


@cache
def _tuple_type(names: tuple[str, ...]) -> type:
    def reduce(self: tuple[Any, ...]) -> Any:  # Beam pickles elements
        return _named_tuple, (names, tuple(self))

    return type("NamedTuple", (tuple,), {"__slots__": (), "_fields": names, "__reduce__": reduce})


def _map(pairs: list[Any]) -> dict[Any, Any]:
    return {_key(restored(key)): restored(inner) for key, inner in pairs}


def _key(value: Any) -> Any:
    return tuple(map(_key, value)) if isinstance(value, list) else value  # a list cannot be a key, so it was a tuple


# For each tag: which values it is for, how they are written as JSON, and how they are read. The first that fits counts.
_TAGS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "$numpy": (_is(np.generic), _numpy_form, _numpy),
    "$int": (_is_large, hex, lambda text: int(text, 0)),
    "$float": (lambda value: isinstance(value, float) and not math.isfinite(value), float_name, float),
    "$text": (lambda value: isinstance(value, str) and not is_utf8(value), _text_form, _text),
    "$rawtext": (_is(RawText), _base64, lambda text: RawText(base64.b64decode(text))),
    "$bytes": (_is(bytes), _base64, base64.b64decode),
    "$decimal": (_is(decimal.Decimal), str, decimal.Decimal),
    "$pandas": (_is_pandas_timestamp, _pandas_form, _pandas),
    "$datetime": (_is(dt.datetime), dt.datetime.isoformat, dt.datetime.fromisoformat),
    "$date": (_is(dt.date), dt.date.isoformat, dt.date.fromisoformat),
    "$time": (_is(dt.time), dt.time.isoformat, dt.time.fromisoformat),
    "$micros": (_is(Timestamp), lambda value: value.micros, lambda micros: Timestamp(micros=micros)),
    "$uuid": (_is(uuid.UUID), str, uuid.UUID),
    "$fields": (_never, _never, from_fields),  # written a column at a time
    "$arrow": (_is(pa.RecordBatch, pa.Table), arrow_values.to_base64, arrow_values.from_base64),
    "$array": (lambda value: isinstance(value, np.ndarray) and value.ndim > 0, _array_form, _array),
    "$tuple": (lambda value: isinstance(value, tuple) and hasattr(value, "_fields"), _pairs_form, _tuple),
    "$row": (lambda value: isinstance(value, Row) or _is_dataclass(value), _pairs_form, _row),
    "$map": (_needs_pairs, _map_form, _map),
    "$member": (_never, _never, lambda form: member(form[0], form[1], _key(restored(form[2])))),  # only as a key
    "$other": (
        _is(OtherValue),
        lambda value: [type(value).__name__, _text_form(value.text)],
        lambda form: other_value(form[0], _text(form[1])),
    ),
}
