"""The values of an Arrow row as Python values, without a type that cannot hold them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["row_of"]

_EPOCH = dt.datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NANOS = 10**9


def row_of(rows: pa.RecordBatch | pa.Table) -> dict[str, Any]:
    """Return the first row as Python values.

    Times that Python's types cannot hold become microseconds since 1970, dates days, and nanoseconds text; the sink
    takes all of them. Text that is not UTF-8 becomes bytes.

    >>> row_of(pa.table({"id": [1], "at": pa.array([253402300800], pa.timestamp("s"))}))
    {'id': 1, 'at': 253402300800000000}
    """
    return {name: _value(column[0]) for name, column in zip(rows.schema.names, rows.columns, strict=True)}


def _value(scalar: pa.Scalar) -> Any:  # noqa: PLR0911 - one for each kind of value
    if isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
        return None if not scalar.is_valid else _value(scalar.value)
    if isinstance(scalar, pa.RunEndEncodedScalar):
        return _value(pc.run_end_decode(pa.array([scalar], scalar.type))[0])
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(scalar[index]) for index, name in enumerate(scalar.type.names)}
    if isinstance(scalar, pa.MapScalar):
        pairs = [(_value(pair[0]), _value(pair[1])) for pair in scalar.values]
        try:
            return dict(pairs)
        except TypeError:  # a key that is a struct or list
            return pairs
    if isinstance(scalar, pa.ListScalar):  # and its subclasses
        return [_value(inner) for inner in scalar.values]
    if isinstance(scalar, pa.TimestampScalar):
        return _timestamp(scalar.value, scalar.type)
    if isinstance(scalar, pa.Date32Scalar):
        return _date(scalar.value)
    if isinstance(scalar, pa.Date64Scalar):
        return _date(scalar.value // 86_400_000)
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):
        return str(scalar)


def _timestamp(value: int, kind: pa.TimestampType) -> Any:
    micros, nanos = divmod(value * (_NANOS // _PER_SECOND[kind.unit]), 1_000)
    try:
        moment = _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        return micros
    if nanos:
        return f"{moment.isoformat(timespec='microseconds')}{nanos:03}{'Z' if kind.tz else ''}"
    return moment.replace(tzinfo=dt.UTC) if kind.tz else moment


def _date(days: int) -> Any:
    try:
        return dt.date.fromordinal(days + 719_163)
    except (ValueError, OverflowError):
        return days
