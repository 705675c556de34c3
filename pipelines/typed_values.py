"""Rows as JSON twice over: in a form for people, and in one that keeps every value and its type.

The second form is the first, with a tag where JSON has no such value: ``{"$decimal": "1.10"}``, ``{"$bytes": "YWI="}``.
A RecordBatch or Table is an Arrow IPC stream as a whole.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import decimal
import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Self

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import Row
from apache_beam.utils.timestamp import Timestamp

from pipelines.arrow_values import row_of
from pipelines.csv_columns import RawText

__all__ = ["Number", "dumps", "exact", "fields_of", "loads", "plain", "restored"]

_PLAIN = (type(None), bool, str)
_MISSING = ("NaTType", "NAType")
_INT64 = 1 << 63


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a value as JSON that people read and correct: base64 for bytes, ISO 8601 for times.

    >>> plain({"id": 1, "raw": b"ab", "on": dt.date(2026, 1, 31)})
    {'id': 1, 'raw': 'YWI=', 'on': '2026-01-31'}
    """
    value = _python(value)
    if isinstance(value, _PLAIN) or type(value) is int:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _float_name(value)
    if isinstance(value, RawText):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return _iso(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if (fields := fields_of(value)) is not None:
        return {str(key): plain(inner) for key, inner in fields.items()}
    return [plain(inner) for inner in value] if _is_list(value) else str(value)


def exact(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a value as JSON from which `restored` makes the same value.

    >>> exact({"id": 1, "price": decimal.Decimal("1.10")})
    {'id': 1, 'price': {'$decimal': '1.10'}}
    """
    if isinstance(value, pa.RecordBatch | pa.Table):
        return {"$arrow": _base64(_ipc(value))}
    if isinstance(value, np.generic):
        return {"$numpy": [value.dtype.str, _base64(value.tobytes())]}
    value = _python(value)
    if isinstance(value, str):
        return value if _is_utf8(value) else {"$text": _base64(value.encode(errors="surrogatepass"))}
    if isinstance(value, _PLAIN):
        return value
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else {"$int": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": _float_name(value)}
    for tag, (kind, write, _) in _TAGS.items():
        if isinstance(value, kind):
            return {tag: write(value)}
    if (fields := fields_of(value)) is not None:
        if all(isinstance(key, str) and not key.startswith("$") and _is_utf8(key) for key in fields):
            return {key: exact(inner) for key, inner in fields.items()}
        return {"$map": [[exact(key), exact(inner)] for key, inner in fields.items()]}
    return [exact(inner) for inner in value] if _is_list(value) else str(value)


def restored(form: Any) -> Any:
    """Return the value of which `exact` made a form; rows are returned as dicts, RecordBatches and Tables as they were.

    >>> restored({"id": 1, "price": {"$decimal": "1.10"}})
    {'id': 1, 'price': Decimal('1.10')}
    """
    if isinstance(form, list):
        return [restored(inner) for inner in form]
    if not isinstance(form, dict):
        return float(form) if isinstance(form, Number) else form
    if len(form) == 1:
        ((tag, content),) = form.items()
        if tag in _READERS:
            return _READERS[tag](content)
    return {key: restored(inner) for key, inner in form.items()}


def fields_of(value: Any) -> dict[Any, Any] | None:
    """Return the fields of a row, struct or map; None for any other value."""
    if isinstance(value, pa.RecordBatch | pa.Table):
        return row_of(value)
    if isinstance(value, Row):
        return value.as_dict()
    if hasattr(value, "_asdict"):
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(value) if isinstance(value, Mapping) else None


class Number(float):
    """A number of a JSON text, with all its digits."""

    def __new__(cls, text: str) -> Self:
        """Read a number and remember its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def loads(text: str | bytes) -> Any:
    """Parse JSON; numbers with a fraction or an exponent keep their digits for `dumps`."""
    return json.loads(text, parse_float=Number)


def dumps(value: Any) -> str:
    r"""Write JSON in one line; text that UTF-8 cannot hold is escaped.

    >>> dumps(loads('{"v": 12345678901234567.89}'))
    '{"v": 12345678901234567.89}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(key)}: {dumps(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if isinstance(value, Number):
        return value.text
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_utf8(text) else json.dumps(value)


def _python(value: Any) -> Any:
    """Return a value of Python's own types where the sink treats both alike."""
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, np.generic):
        return str(value) if isinstance(value, np.datetime64 | np.timedelta64) else _python(value.item())
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dt.datetime) and getattr(value, "nanosecond", None):
        return value.isoformat()  # a timestamp of pandas, which the sink rejects as text likewise
    return int(value) if isinstance(value, int) and type(value) not in (int, bool) else value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # it has a part of a surrogate pair
        return False
    return True


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, set | frozenset | str | bytes)


def _float_name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _iso(value: Timestamp) -> str:
    try:
        return value.to_utc_datetime(has_tz=True).isoformat()
    except OverflowError:
        return str(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _ipc(rows: pa.RecordBatch | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue().to_pybytes()


def _arrow(text: str) -> pa.RecordBatch:
    with pa.ipc.open_stream(binascii.a2b_base64(text)) as reader:
        (batch,) = reader
    return batch


# For each tag the Python type, how its value is written as text, and how it is read. A datetime is a date, too.
_TAGS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "$bytes": (bytes, _base64, binascii.a2b_base64),
    "$decimal": (decimal.Decimal, str, decimal.Decimal),
    "$datetime": (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
    "$date": (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "$time": (dt.time, dt.time.isoformat, dt.time.fromisoformat),
    "$micros": (Timestamp, lambda value: value.micros, lambda micros: Timestamp(micros=micros)),
    "$uuid": (uuid.UUID, str, uuid.UUID),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    **{tag: read for tag, (_, _, read) in _TAGS.items()},
    "$int": int,
    "$float": float,
    "$text": lambda text: binascii.a2b_base64(text).decode(errors="surrogatepass"),
    "$numpy": lambda form: np.frombuffer(binascii.a2b_base64(form[1]), np.dtype(form[0]))[0],
    "$map": lambda pairs: {restored(key): restored(inner) for key, inner in pairs},
    "$arrow": _arrow,
}
