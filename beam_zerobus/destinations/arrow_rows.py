"""The table of each row of a RecordBatch or Table, by a template and with Arrow's kernels."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.destinations.split import Split, bad_table, checked_name, row_errors
from beam_zerobus.destinations.template import Path, Template
from beam_zerobus.schema.casts.base import from_views
from beam_zerobus.schema.reasons import Reason

__all__ = ["split_arrow"]

_Part: TypeAlias = str | bytes | None
"""A value that is a part of a name; bytes are not UTF-8."""


def split_arrow(template: Template, named: str, batch: pa.RecordBatch | pa.Table) -> Split:
    """Return the rows' positions by table. Python sees each combination of values once, not each row.

    Args:
        template: Chooses the tables.
        named: What messages call it.
        batch: The rows.
    """
    rows = batch.num_rows
    if not rows:
        return Split({})
    codes: np.ndarray | None = None  # a number for each combination of values so far; None where there is one
    combinations: list[tuple[_Part, ...]] = [()]
    for path in template.fields:
        column = _column(batch, path)
        if column is None or isinstance(column, pa.DataType):
            return Split({}, row_errors(dict.fromkeys(range(rows), _unusable(named, path, column))))
        first = column[0]
        if not column.null_count and pc.all(pc.equal(column, first)).as_py():  # much faster than encoding it
            (value,) = _texts(column.slice(0, 1).cast(pa.string()))
            combinations = [(*combination, value) for combination in combinations]
            continue
        encoded = column.cast(pa.string()).dictionary_encode(null_encoding="encode")
        values = _texts(encoded.dictionary)
        codes, combinations = _combined(codes, combinations, encoded.indices.to_numpy(zero_copy_only=False), values)
    if codes is None:
        name = _name(template, named, combinations[0])
        every = range(rows)
        return Split({name: every}) if isinstance(name, str) else Split({}, row_errors(dict.fromkeys(every, name)))
    return _by_table(template, named, codes, combinations)


def _combined(
    codes: np.ndarray | None, combinations: list[tuple[_Part, ...]], indices: np.ndarray, values: list[_Part]
) -> tuple[np.ndarray, list[tuple[_Part, ...]]]:
    if codes is None:
        return indices, [(*combinations[0], value) for value in values]
    used, combined = np.unique(codes.astype(np.int64) * len(values) + indices, return_inverse=True)
    return combined, [(*combinations[code // len(values)], values[code % len(values)]) for code in used.tolist()]


def _by_table(template: Template, named: str, codes: np.ndarray, combinations: list[tuple[_Part, ...]]) -> Split:
    names: dict[str, list[int]] = {}  # two combinations may make one name
    bad: dict[int, Reason] = {}
    for code, values in enumerate(combinations):
        name = _name(template, named, values)
        if isinstance(name, str):
            names.setdefault(name, []).append(code)
        else:
            bad.update(dict.fromkeys(np.flatnonzero(codes == code).tolist(), name))
    if len(names) == 1 and not bad:
        return Split({next(iter(names)): range(len(codes))})
    # In the smallest type, in which numpy sorts fastest.
    table_of = np.full(len(combinations), -1, np.min_scalar_type(-len(combinations) - 1))
    for number, chosen in enumerate(names.values()):
        table_of[chosen] = number
    tables = table_of[codes]
    order = np.argsort(tables, kind="stable")
    ends = np.searchsorted(tables[order], np.arange(len(names) + 1))
    positions = {name: order[ends[n] : ends[n + 1]] for n, name in enumerate(names)}
    return Split(dict(sorted(positions.items(), key=lambda item: int(item[1][0]))), row_errors(bad))


def _name(template: Template, named: str, values: tuple[_Part, ...]) -> str | Reason:
    parts: list[str] = []
    for path, value in zip(template.fields, values, strict=True):
        if isinstance(value, str):
            parts.append(value)
            continue
        what = "null in the row: give it a value" if value is None else "not UTF-8 in the row: correct it"
        return bad_table(named, f"needs the field {'.'.join(path)!r}, which is {what}")
    return checked_name(template.fill(parts), named)


def _texts(values: pa.Array) -> list[_Part]:
    try:
        return values.to_pylist()
    except UnicodeDecodeError:
        return [_text(value) for value in values.cast(pa.binary()).to_pylist()]


def _text(value: bytes | None) -> _Part:
    with suppress(UnicodeDecodeError):
        return None if value is None else value.decode()
    return value


def _column(batch: pa.RecordBatch | pa.Table, path: Path) -> pa.Array | pa.DataType | None:
    """Return a column of text or whole numbers; the type of any other column, None where it is missing."""
    number = batch.schema.get_field_index(path[0])
    if number < 0:
        return None
    values = batch.column(number)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    for name in path[1:]:
        if not pa.types.is_struct(values.type):
            return None if pa.types.is_null(values.type) else values.type
        if values.type.get_field_index(name) < 0:
            return None
        values = pc.struct_field(values, name)
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_string_view(kind):
        return from_views(values).cast(pa.string())  # older versions of Arrow do not compare views
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return values if is_text or pa.types.is_null(kind) or pa.types.is_integer(kind) else kind


def _unusable(named: str, path: Path, kind: pa.DataType | None) -> Reason:
    field = ".".join(path)
    if kind is None:
        return bad_table(named, f"needs the field {field!r}, which is missing from the batch: add it")
    return bad_table(named, f"needs the field {field!r} as text or a whole number; it has the type {kind}: convert it")
