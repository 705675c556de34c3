"""`JsonEncoder`: rows as JSON objects, written column by column.

A null column or field is left out. Other values have the form that they have in protobuf, because the service reads
both alike:

| Delta | JSON |
| --- | --- |
| integers | number |
| FLOAT, DOUBLE | number; the strings "NaN", "Infinity", "-Infinity" where JSON has no number |
| BOOLEAN | true, false |
| STRING | string |
| BINARY | string, base64 |
| DECIMAL | string, plain digits |
| DATE | number, days since 1970-01-01 |
| TIMESTAMP, TIMESTAMP_NTZ | number, microseconds since 1970-01-01T00:00:00 (UTC) |
| ARRAY | array; null elements as null |
| MAP | object; keys as strings, null values as null |
| STRUCT | object |
| VARIANT | string of JSON |
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.encoding.base import MAX_CALL_BYTES, Payload
from beam_zerobus.encoding.decimals import plain_text
from beam_zerobus.encoding.splitting import Encoded, fill_payloads, without_large
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["JsonEncoder"]

_SLICE_ROWS = 8192
_MUST_BE_ESCAPED = r'["\\\x00-\x1f]'
_INTEGERS = {Primitive.DATE: pa.int32(), Primitive.TIMESTAMP: pa.int64(), Primitive.TIMESTAMP_NTZ: pa.int64()}
_TEXT_TYPES = frozenset({Primitive.STRING, Primitive.VARIANT, Primitive.BINARY})
_TEXT = pa.large_string()


class JsonEncoder:
    """Turns RecordBatches of one table into JSON rows; thread-safe.

    Args:
        schema: The table's columns.
        max_payload_bytes: The most bytes of a payload, including the framing of its records.

    Example:
        >>> encoder = JsonEncoder(TableSchema.from_ddl("id INT, name STRING"))
        >>> batch = pa.RecordBatch.from_pydict({"id": pa.array([1, 2], pa.int32()), "name": ["a", None]})
        >>> [payload.records for payload in encoder.encode(batch)]
        [['{"id":1,"name":"a"}', '{"id":2}']]
    """

    def __init__(self, schema: TableSchema, max_payload_bytes: int = MAX_CALL_BYTES) -> None:
        self._fields = schema.columns
        self._limit = max_payload_bytes

    def encode(self, batch: pa.RecordBatch) -> Iterator[Payload]:
        """Yield the batch's rows in order; see `beam_zerobus.encoding.Encoder`."""
        yield from fill_payloads(self._encoded(batch), self._limit)

    def _encoded(self, batch: pa.RecordBatch) -> Iterator[Encoded]:
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            part = batch.slice(start, _SLICE_ROWS)
            text = _objects(part.columns, self._fields)
            lengths = pc.binary_length(text).to_numpy(zero_copy_only=False)
            records = text.to_numpy(zero_copy_only=False).tolist()
            yield without_large(records, lengths, range(start, start + part.num_rows), self._limit)


def _join(*parts: pa.Array | str) -> pa.Array:
    """Concatenate; if a part is null, the result is null."""
    texts = [pa.scalar(part, _TEXT) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar("", _TEXT))


def _objects(columns: Sequence[pa.Array], fields: Sequence[Field]) -> pa.Array:
    # Each member starts with its own comma: Arrow's null_handling="skip" loses rows in which every part is null.
    members = [
        _join(f",{json.dumps(field.name)}:", _value(column, field.type))
        for column, field in zip(columns, fields, strict=True)
    ]
    joined = pc.binary_join_element_wise(*members, pa.scalar("", _TEXT), null_handling="replace", null_replacement="")
    return _join("{", pc.ascii_ltrim(joined, characters=","), "}")


def _value(array: pa.Array, delta_type: DeltaType) -> pa.Array:
    """Return the JSON text of each value as large_string; null for null."""
    if isinstance(delta_type, Struct):
        children = [array.field(i) for i in range(len(delta_type.fields))]
        return _null_where(array, _objects(children, delta_type.fields))
    if isinstance(delta_type, Array):
        return _join("[", _joined_inner(array, _value(array.values, delta_type.element)), "]")
    if isinstance(delta_type, Map):
        keys = _value(array.keys, delta_type.key)
        if delta_type.key not in _TEXT_TYPES:
            keys = _join('"', pc.replace_substring(keys, pattern='"', replacement=""), '"')
        entries = _join(keys, ":", _null_as_text(_value(array.items, delta_type.value)))
        return _join("{", _joined_inner(array, entries), "}")
    if isinstance(delta_type, Decimal):
        return _join('"', plain_text(array), '"')
    return _primitive(array, delta_type)


def _primitive(array: pa.Array, delta_type: Primitive) -> pa.Array:
    if delta_type in (Primitive.STRING, Primitive.VARIANT):
        return _quoted(array.cast(_TEXT))
    if delta_type is Primitive.BINARY:
        encoded = [None if value is None else f'"{b64encode(value).decode()}"' for value in array.to_pylist()]
        return pa.array(encoded, _TEXT)
    if delta_type in (Primitive.FLOAT, Primitive.DOUBLE):
        return _floats(array)
    if delta_type in _INTEGERS:
        array = array.view(_INTEGERS[delta_type])
    return array.cast(_TEXT)


def _quoted(text: pa.Array) -> pa.Array:
    quoted = _join('"', text, '"')
    special = pc.fill_null(pc.match_substring_regex(text, _MUST_BE_ESCAPED), fill_value=False)
    if not pc.any(special).as_py():
        return quoted
    escaped = [json.dumps(value, ensure_ascii=False) for value in text.filter(special).to_pylist()]
    return pc.replace_with_mask(quoted, special, pa.array(escaped, _TEXT))


def _floats(array: pa.Array) -> pa.Array:
    text = array.cast(_TEXT)
    text = pc.if_else(pc.equal(text, "-0"), "-0.0", text)  # an integer to many parsers, which have no negative zero
    unusual = pc.fill_null(pc.invert(pc.is_finite(array)), fill_value=False)
    if not pc.any(unusual).as_py():
        return text
    names = {"nan": '"NaN"', "-nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
    written = [names[value] for value in text.filter(unusual).to_pylist()]
    return pc.replace_with_mask(text, unusual, pa.array(written, _TEXT))


def _joined_inner(array: pa.Array, texts: pa.Array) -> pa.Array:
    """Join the texts of each list or map with commas."""
    offsets = array.offsets.cast(pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, _null_as_text(texts))
    return _null_where(array, pc.binary_join(lists, pa.scalar(",", _TEXT)))


def _null_as_text(texts: pa.Array) -> pa.Array:
    return pc.fill_null(texts, pa.scalar("null", _TEXT)) if texts.null_count else texts


def _null_where(array: pa.Array, texts: pa.Array) -> pa.Array:
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, _TEXT)) if array.null_count else texts
