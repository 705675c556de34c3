"""The types of Avro that fastavro reads otherwise than the sink does, or not at all.

It knows some logical types only, and represents some of them by values that the sink does not take. Of a map with the
same key twice it keeps the last value only.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import fastavro.read

from beam_zerobus.schema.unique_keys import RepeatedKeyError, unique_keys

__all__ = ["exact_schema"]

_EPOCH = dt.datetime(1970, 1, 1)
_DAY_MICROS = 86_400_000_000

# Logical types get names of their own, which are registered with fastavro: no other reader in the process is affected.
_PREFIX = "beam-zerobus-"
_MAP = f"{_PREFIX}map"


def exact_schema(schema: Any) -> Any:
    """Return a schema that reads the same bytes, with values that the sink takes.

    Raises:
        ValueError: A record has two fields with the same name.
    """
    return _exact(schema, count())


def _exact(schema: Any, numbers: Iterator[int]) -> Any:
    if isinstance(schema, list):
        return [_exact(branch, numbers) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "map":
        return _entries(_exact(schema["values"], numbers), next(numbers))
    renamed = {key: _exact(value, numbers) if key in ("type", "items") else value for key, value in schema.items()}
    renamed.pop("default", None)  # only a reader's schema needs it, and that of a map is not an array
    if "fields" in schema:
        try:
            unique_keys([(field["name"], field) for field in schema["fields"]])
        except RepeatedKeyError as error:  # fastavro would keep the last field only
            raise ValueError(f"a record of its schema has the field {error.key!r} twice") from None
        renamed["fields"] = [_exact(field, numbers) for field in schema["fields"]]
    kind = f"{schema.get('type')}-{schema.get('logicalType')}"
    if kind in _CONVERSIONS:
        renamed["logicalType"] = _PREFIX + schema["logicalType"]
    else:
        renamed.pop("logicalType", None)
    return renamed


def _entries(values: Any, number: int) -> dict[str, Any]:
    """Return the schema of a map as an array of its entries, which has the same bytes."""
    fields = [{"name": "key", "type": "string"}, {"name": "value", "type": values}]
    items = {"type": "record", "name": f"beam_zerobus_entry_{number}", "fields": fields}
    return {"type": "array", "items": items, "logicalType": _MAP}


def _map(entries: list[dict[str, Any]], *_: Any) -> Any:
    """Return a dict; pairs if a key is there twice, which the sink rejects in a MAP."""
    found = {entry["key"]: entry["value"] for entry in entries}
    return found if len(found) == len(entries) else [(entry["key"], entry["value"]) for entry in entries]


def _date(days: int, *_: Any) -> dt.date | int:
    try:
        return dt.date.fromordinal(days + 719_163)
    except (ValueError, OverflowError):
        return days  # beyond the years of Python's dates; the sink rejects the row


def _local(nanos_per_unit: int) -> Callable[..., Any]:
    """Return the conversion of a number of units since 1970 to a datetime without a zone."""

    def convert(value: int, *_: Any) -> Any:
        micros, nanos = divmod(value * nanos_per_unit, 1_000)
        try:
            moment = _EPOCH + dt.timedelta(microseconds=micros)
        except OverflowError:
            return micros  # beyond the years of Python's datetimes; the sink rejects the row
        # Text keeps nanoseconds, and the sink rejects the row.
        return f"{moment.isoformat(timespec='microseconds')}{nanos:03}" if nanos else moment

    return convert


def _instant(nanos_per_unit: int) -> Callable[..., Any]:
    """Return the conversion of a number of units since 1970 to a datetime in UTC."""
    to_local = _local(nanos_per_unit)

    def convert(value: int, *_: Any) -> Any:
        local = to_local(value)
        if isinstance(local, dt.datetime):
            return local.replace(tzinfo=dt.UTC)
        return f"{local}Z" if isinstance(local, str) else local

    return convert


def _time(micros_per_unit: int) -> Callable[..., Any]:
    """Return the conversion of a number of units since midnight to ISO 8601 text, as Delta has no time of day."""

    def convert(value: int, *_: Any) -> Any:
        micros = value * micros_per_unit
        if not 0 <= micros < _DAY_MICROS:
            return value
        return (_EPOCH + dt.timedelta(microseconds=micros)).time().isoformat()

    return convert


def _bytes_decimal(value: bytes, schema: Mapping[str, Any], *_: Any) -> Decimal:
    digits = tuple(map(int, str(abs(unscaled := int.from_bytes(value, "big", signed=True)))))
    return Decimal((int(unscaled < 0), digits, -schema.get("scale", 0)))


def _uuid_bytes(value: bytes, *_: Any) -> str:
    return str(uuid.UUID(bytes=value))


_CONVERSIONS: dict[str, Callable[..., Any]] = {
    "int-date": _date,
    "long-timestamp-millis": _instant(1_000_000),
    "long-timestamp-micros": _instant(1_000),
    "long-timestamp-nanos": _instant(1),
    "long-local-timestamp-millis": _local(1_000_000),
    "long-local-timestamp-micros": _local(1_000),
    "long-local-timestamp-nanos": _local(1),
    "int-time-millis": _time(1_000),
    "long-time-micros": _time(1),
    "bytes-decimal": _bytes_decimal,
    "fixed-decimal": _bytes_decimal,
    "fixed-uuid": _uuid_bytes,
}
for _kind, _conversion in _CONVERSIONS.items():
    _avro_type, _, _logical_type = _kind.partition("-")
    fastavro.read.LOGICAL_READERS[f"{_avro_type}-{_PREFIX}{_logical_type}"] = _conversion
fastavro.read.LOGICAL_READERS[f"array-{_MAP}"] = _map
