"""Protobuf records decoded column by column: one step reads a field of all records of a call.

Each record has a place, the position of its next byte. A step looks for the tag of one field at all places, reads the
values where it is found, and moves these places on. Fields are expected in the order of their numbers, each one once at
most, as encoders write them. Anything else, and any value that does not fit its column, is an `OddRecordsError`: the
call is then read record by record, which is slower, knows every rule of protobuf, and names the record to reject.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2

from beam_zerobus.emulator.rows.columns import BadValueError
from beam_zerobus.emulator.rows.descriptor import Messages
from beam_zerobus.emulator.rows.places import (
    OddRecordsError,
    Places,
    Records,
    check_within,
    numbers,
    sized,
    slices,
)
from beam_zerobus.emulator.rows.scalars import check_years, decimals, variants
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.arrow import canonical_type

__all__ = ["Message", "message_of"]

_PROTO = descriptor_pb2.FieldDescriptorProto
_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5
_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError, BadValueError)
# A list's elements are found one after the other; a few very long ones are found sooner record by record.
_FREE_STEPS = 64
_ELEMENTS_A_STEP = 64


Gather: TypeAlias = Callable[[pa.Array, pa.Array, pa.DataType], pa.Array]


class Value(Protocol):
    """Reads the values of a field."""

    @property
    def wire_type(self) -> int:
        """The wire type in the field's tag."""
        ...

    def skip(self, records: Records, at: Places, ends: Places) -> Places:
        """Return the places after the values that begin at these."""
        ...

    def read(self, records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:
        """Return the values, in the column's type, and the places after them; there is at least one.

        Raises:
            OddRecordsError: One must be read another way.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that has no parts."""

    wire_type: int
    wire: Callable[[Records, Places, Places], tuple[pa.Array, Places]]
    convert: Callable[[pa.Array], pa.Array]

    def skip(self, records: Records, at: Places, ends: Places) -> Places:
        """Return the places after the values."""
        if self.wire_type == _SIZED:
            return sized(records, at, ends)[1]
        if self.wire_type == _VARINT:
            return numbers(records, at)[1]
        return at + (8 if self.wire_type == _EIGHT_BYTES else 4)

    def read(self, records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:
        """Return the values."""
        values, nexts = self.wire(records, at, ends)
        try:
            return self.convert(values), nexts
        except _ERRORS:
            raise OddRecordsError from None


@dataclass(frozen=True, slots=True)
class Slot:
    """A field of a message.

    Attributes:
        index: Its place among the fields of the table or the struct.
        tag: Its tag; the bytes as a number, the first one lowest.
        tag_length: Bytes of the tag.
        arrow_type: The type of its column.
        value: Reads a value of it, or an element.
        gather: Makes lists or maps of elements; None for a field that is not repeated.
    """

    index: int
    tag: int
    tag_length: int
    arrow_type: pa.DataType
    value: Value
    gather: Gather | None

    def read(self, records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:
        """Return the column, and the places after the field."""
        if self.gather is not None:
            return self._read_repeated(records, at, ends, self.gather)
        found = self._found(records, at, ends)
        if found.all():
            values, nexts = self.value.read(records, at + self.tag_length, ends)
            check_within(nexts, ends)
            return values, nexts
        rows = np.flatnonzero(found)
        if not rows.size:
            return pa.nulls(len(at), self.arrow_type), at
        values, nexts = self.value.read(records, at[rows] + self.tag_length, ends[rows])
        check_within(nexts, ends[rows])
        at = at.copy()
        at[rows] = nexts
        return values.take(pa.array(np.cumsum(found) - 1, mask=~found)), at

    def _read_repeated(self, records: Records, at: Places, ends: Places, gather: Gather) -> tuple[pa.Array, Places]:
        at = at.copy()
        counts = np.zeros(len(at), np.int32)
        found: list[Places] = []
        total = 0
        rows = np.arange(len(at))
        while True:
            rows = rows[self._found(records, at[rows], ends[rows])]
            if not rows.size:
                break
            total += rows.size
            if len(found) > _FREE_STEPS + total // _ELEMENTS_A_STEP:
                raise OddRecordsError
            found.append(at[rows] + self.tag_length)
            at[rows] = self.value.skip(records, found[-1], ends[rows])
            check_within(at[rows], ends[rows])
            counts[rows] += 1
        offsets = pa.array(np.concatenate(([0], np.cumsum(counts))).astype(np.int32))
        if not found:
            return gather(offsets, pa.nulls(0, self._element_type), self.arrow_type), at
        # Elements lie in the order of the records, and within a record in their own.
        starts = np.sort(np.concatenate(found))
        elements, _ = self.value.read(records, starts, np.repeat(ends, counts))
        return gather(offsets, elements, self.arrow_type), at

    @property
    def _element_type(self) -> pa.DataType:
        if pa.types.is_map(self.arrow_type):
            return pa.struct([self.arrow_type.key_field, self.arrow_type.item_field])
        return self.arrow_type.value_type

    def _found(self, records: Records, at: Places, ends: Places) -> np.ndarray:
        mask = np.uint64((1 << 8 * self.tag_length) - 1)
        return (records.words[at] & mask == np.uint64(self.tag)) & (at < ends)


@dataclass(frozen=True, slots=True)
class Message:
    """A message: the fields of a table or struct, and those that it carries, in the order of their numbers."""

    fields: tuple[Field, ...]
    slots: tuple[Slot, ...]

    def columns(self, records: Records, at: Places, ends: Places) -> list[pa.Array]:
        """Return a column for each field of the messages that begin at these places, and end at those; at least one.

        Raises:
            OddRecordsError: A message must be read another way.
        """
        found: dict[int, pa.Array] = {}
        for slot in self.slots:
            found[slot.index], at = slot.read(records, at, ends)
        if (at != ends).any():
            raise OddRecordsError
        columns = []
        for index, field in enumerate(self.fields):
            column = found[index] if index in found else pa.nulls(len(at), canonical_type(field.type))
            if column.null_count and not field.nullable:
                raise OddRecordsError
            columns.append(column)
        return columns


@dataclass(frozen=True, slots=True)
class Nested:
    """A struct, or an entry of a map."""

    message: Message
    arrow_fields: tuple[pa.Field, ...]
    wire_type: int = _SIZED

    def skip(self, records: Records, at: Places, ends: Places) -> Places:
        """Return the places after the messages."""
        return sized(records, at, ends)[1]

    def read(self, records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:
        """Return the structs."""
        starts, nexts = sized(records, at, ends)
        columns = self.message.columns(records, starts, nexts)
        return pa.StructArray.from_arrays(columns, fields=list(self.arrow_fields)), nexts


def message_of(fields: Sequence[Field], message: descriptor_pb2.DescriptorProto, messages: Messages) -> Message:
    """Return what reads a message, whose descriptor was checked against the fields."""
    indexes = {field.name: index for index, field in enumerate(fields)}
    # Of two fields of one name, the last counts.
    carriers = {carrier.name: carrier for carrier in message.field}
    slots = []
    for carrier in sorted(carriers.values(), key=attrgetter("number")):
        index = indexes[carrier.name]
        slots.append(_slot(index, fields[index].type, carrier, messages))
    return Message(tuple(fields), tuple(slots))


def _slot(index: int, delta_type: DeltaType, carrier: Any, messages: Messages) -> Slot:
    arrow_type = canonical_type(delta_type)
    value: Value
    gather: Gather | None = None
    match delta_type:
        case Map(key, value_type, _):
            keys, items = _message(carrier, messages).field
            # Entries without key or value, which mean the default, are left to the other way.
            parts = (
                Field(name="key", type=key, nullable=False, number=1),
                Field(name="value", type=value_type, nullable=False, number=2),
            )
            slots = (_slot(0, key, keys, messages), _slot(1, value_type, items, messages))
            value, gather = Nested(Message(parts, slots), (arrow_type.key_field, arrow_type.item_field)), _maps
        case Array(element, _):
            value, gather = _value(element, carrier, messages), _lists
        case _:
            value = _value(delta_type, carrier, messages)
    tag, tag_length = _tag(carrier.number, value.wire_type)
    return Slot(index, tag, tag_length, arrow_type, value, gather)


def _message(carrier: Any, messages: Messages) -> descriptor_pb2.DescriptorProto:
    message = messages.of(carrier)
    assert message is not None  # noqa: S101 - the descriptor was checked
    return message


def _lists(offsets: pa.Array, elements: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(offsets, elements, type=arrow_type)


def _maps(offsets: pa.Array, entries: pa.StructArray, arrow_type: pa.DataType) -> pa.Array:
    keys, values = entries.flatten()
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    distinct = pa.table({"row": rows, "key": keys}).group_by(["row", "key"]).aggregate([])
    if len(distinct) != len(keys):
        raise OddRecordsError  # the last entry of a key counts
    return pa.MapArray.from_arrays(offsets, keys, values, type=arrow_type)


def _value(delta_type: DeltaType, carrier: Any, messages: Messages) -> Value:
    if isinstance(delta_type, Struct):
        inner = message_of(delta_type.fields, _message(carrier, messages), messages)
        return Nested(inner, tuple(canonical_type(delta_type)))
    wire_type, wire = _WIRE[carrier.type]
    return Scalar(wire_type, wire, _converter(delta_type))


def _converter(delta_type: DeltaType) -> Callable[[pa.Array], pa.Array]:
    arrow_type = canonical_type(delta_type)
    if isinstance(delta_type, Decimal):
        return lambda values: decimals(values.cast(pa.large_string()), arrow_type)
    if delta_type is Primitive.VARIANT:
        return lambda values: variants(values.cast(pa.large_string()).to_pylist(), "")
    return lambda values: check_years(delta_type, values.cast(arrow_type), "")


def _tag(number: int, wire_type: int) -> tuple[int, int]:
    """Return a tag as its bytes make a number, and how many bytes it has."""
    rest, tag, length = number << 3 | wire_type, 0, 0
    while True:
        tag |= (rest & 0x7F | (0x80 if rest > 0x7F else 0)) << 8 * length
        rest, length = rest >> 7, length + 1
        if not rest:
            return tag, length


def _int32(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:  # noqa: ARG001
    values, nexts = numbers(records, at)
    return pa.array(values.astype(np.uint32).view(np.int32)), nexts


def _int64(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:  # noqa: ARG001
    values, nexts = numbers(records, at)
    return pa.array(values.view(np.int64)), nexts


def _bool(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:  # noqa: ARG001
    values, nexts = numbers(records, at)
    return pa.array(values != 0), nexts


def _float(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:  # noqa: ARG001
    return pa.array(records.halves[at].view(np.float32)), at + 4


def _double(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:  # noqa: ARG001
    return pa.array(records.words[at].view(np.float64)), at + 8


def _bytes(records: Records, at: Places, ends: Places) -> tuple[pa.Array, Places]:
    starts, nexts = sized(records, at, ends)
    return slices(records, starts, nexts), nexts


_WIRE = {
    _PROTO.TYPE_INT32: (_VARINT, _int32),
    _PROTO.TYPE_INT64: (_VARINT, _int64),
    _PROTO.TYPE_BOOL: (_VARINT, _bool),
    _PROTO.TYPE_FLOAT: (_FOUR_BYTES, _float),
    _PROTO.TYPE_DOUBLE: (_EIGHT_BYTES, _double),
    _PROTO.TYPE_STRING: (_SIZED, _bytes),
    _PROTO.TYPE_BYTES: (_SIZED, _bytes),
}
