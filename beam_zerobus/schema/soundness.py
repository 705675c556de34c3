"""Whether a RecordBatch from outside can be read at all: damaged offsets would make Arrow read outside its memory."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

__all__ = ["children", "require_sound"]

# Types with values that are not valid, each with one that has the same layout and takes any value.
_ANY_VALUE = {
    pa.string().id: pa.binary(),
    pa.large_string().id: pa.large_binary(),
    pa.string_view().id: pa.binary_view(),
    pa.date64().id: pa.int64(),
    pa.time32("s").id: pa.int32(),
    pa.time64("us").id: pa.int64(),
}
_LISTS_OF_NULLS = {
    pa.list_(pa.null()).id: pa.list_(pa.null()),
    pa.large_list(pa.null()).id: pa.large_list(pa.null()),
    pa.list_view(pa.null()).id: pa.list_view(pa.null()),
    pa.large_list_view(pa.null()).id: pa.large_list_view(pa.null()),
    pa.map_(pa.string(), pa.null()).id: pa.list_(pa.null()),
}


def require_sound(batch: pa.RecordBatch) -> None:
    r"""Check lengths, offsets, indices and counts of nulls, at any depth.

    Odd values, such as text that is not UTF-8, are not damage: they can be read, and a writer rejects them row by row.

    Each call into Arrow may pass the interpreter's lock to another thread, so there are few of them: a column of a
    primitive type without nulls needs no other check than that of its length.

    Raises:
        pa.ArrowInvalid: The batch is damaged.

    Example:
        >>> require_sound(pa.record_batch({"text": pa.array([b"caf\xe9"]).view(pa.string())}))
    """
    batch.validate()
    for column in batch.columns:
        if column.null_count or not pa.types.is_primitive(column.type):
            _require_sound(column)


def _require_sound(array: pa.Array) -> None:
    any_value = _any_value(array.type)
    if any_value is not None:
        array.view(any_value).validate(full=True)
        return
    try:
        array.validate(full=True)
    except pa.ArrowException:  # perhaps only because of odd values inside
        inside = list(children(array))
        if not inside:
            raise
        _with_nulls(array, inside).validate(full=True)
        for child in inside:
            _require_sound(child)


def _any_value(kind: pa.DataType) -> pa.DataType | None:
    """Return a type with the same layout that takes any value; None where each value is valid anyway."""
    return pa.binary(kind.byte_width) if pa.types.is_decimal(kind) else _ANY_VALUE.get(kind.id)


def children(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays inside of one: storage, indices and dictionary, runs, fields, elements."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield array.storage
    elif pa.types.is_dictionary(kind):
        yield from (array.indices, array.dictionary)
    elif pa.types.is_run_end_encoded(kind):
        yield from (array.run_ends, array.values)
    elif pa.types.is_struct(kind) or pa.types.is_union(kind):
        yield from (array.field(number) for number in range(kind.num_fields))
    elif pa.types.is_nested(kind):  # the lists, and maps, whose values are structs
        yield array.values


def _with_nulls(array: pa.Array, inside: list[pa.Array]) -> pa.Array:
    """Return an array with nulls inside, where odd values are: it is valid if its own offsets and counts are."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _nulls(0)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(inside[0], _nulls(len(inside[1])))
    hidden = array.offset if pa.types.is_struct(kind) or pa.types.is_union(kind) else 0  # `field` leaves them out
    nulls = [_nulls(hidden + len(child)) for child in inside]
    if pa.types.is_run_end_encoded(kind):
        nulls[0] = inside[0]
    buffers = array.buffers()[: kind.num_buffers]
    return pa.Array.from_buffers(_of_nulls(kind), len(array), buffers, array.null_count, array.offset, children=nulls)


def _nulls(count: int) -> pa.Array:
    """Return nulls, of which a damaged message may have any number; those of `pyarrow.nulls` need memory."""
    return pa.Array.from_buffers(pa.null(), count, [None])


def _of_nulls(kind: pa.DataType) -> pa.DataType:
    """Return the type with nulls inside."""
    types = pa.types
    if types.is_struct(kind):
        return pa.struct([pa.field(str(number), pa.null()) for number in range(kind.num_fields)])
    if types.is_union(kind):
        fields = [pa.field(str(number), pa.null()) for number in range(kind.num_fields)]
        return pa.union(fields, kind.mode, kind.type_codes)
    if types.is_run_end_encoded(kind):
        return pa.run_end_encoded(kind.run_end_type, pa.null())
    return pa.list_(pa.null(), kind.list_size) if types.is_fixed_size_list(kind) else _LISTS_OF_NULLS[kind.id]
