"""Three rows of each Arrow type that can hold a value that is not valid, which is that of the second row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa


def null_view(kind: pa.DataType) -> pa.Array:
    """Return views of which a null one shows memory that nobody has, as Arrow allows."""
    views = pa.array(["a long text that is not in the view", None, "c"]).cast(kind)
    validity, content, *data = views.buffers()
    numbers = np.frombuffer(content, np.int32).reshape(3, 4).copy()
    numbers[1] = [-(2**29), 0, 0, 0]
    return pa.Array.from_buffers(kind, 3, [validity, pa.py_buffer(numbers), *data])


class Odd(NamedTuple):
    """A column.

    Attributes:
        column: Three rows.
        ddl: The type of a table's column that takes it.
        error_type: Why the second row is rejected.
    """

    column: pa.Array
    ddl: str
    error_type: str


_TEXTS = pa.array([b"attic", b"\xff" * 20, b"a cellar with a long name"], pa.binary())
_TEXT = _TEXTS.view(pa.string())
_VIEW = _TEXTS.cast(pa.binary_view()).view(pa.string_view())
_DAYS = pa.array([0, 1, 86_400_000], pa.int64()).view(pa.date64())
_NUMBERS = pa.Array.from_buffers(
    pa.decimal128(5, 2), 3, [None, pa.py_buffer(np.array([1, 0, 10**12, 0, 3, 0], np.int64))]
)
_NAMES = pa.array(["a", "b", "c"])
_ONE_EACH = pa.array([0, 1, 2, 3], pa.int32())


def _struct(column: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([column], ["c"])


def _encoded(column: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)


def _runs(column: pa.Array) -> pa.Array:
    kind = pa.run_end_encoded(pa.int32(), column.type)
    return pa.Array.from_buffers(kind, 3, [None], children=[pa.array([1, 2, 3], pa.int32()), column])


def _list(column: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(_ONE_EACH, column)


def _everywhere(name: str, column: pa.Array, ddl: str, error_type: str) -> dict[str, Odd]:
    """Return a column by itself, and inside others."""
    large = pa.LargeListArray.from_arrays(_ONE_EACH.cast(pa.int64()), column)
    view = pa.ListViewArray.from_arrays(_ONE_EACH[:3], pa.array([1, 1, 1], pa.int32()), column)
    array = f"ARRAY<{ddl}>"
    of_entries = pa.MapArray.from_arrays(_ONE_EACH, _NAMES, column)
    columns = {
        "plain": (column, ddl),
        "struct": (_struct(column), f"STRUCT<c: {ddl}>"),
        "struct of lists of structs": (_struct(_list(_struct(column))), f"STRUCT<c: ARRAY<STRUCT<c: {ddl}>>>"),
        "list": (_list(column), array),
        "large list": (large, array),
        "fixed-size list": (pa.FixedSizeListArray.from_arrays(column, 1), array),
        "list view": (view, array),
        "values of a map": (of_entries, f"MAP<STRING, {ddl}>"),
        "dictionary": (_encoded(column), ddl),
        "runs": (_runs(column), ddl),
        "dictionary of structs": (_encoded(_struct(column)), f"STRUCT<c: {ddl}>"),
        "struct of a dictionary": (_struct(_encoded(column)), f"STRUCT<c: {ddl}>"),
    }
    return {f"{name}, {where}": Odd(made, kind, error_type) for where, (made, kind) in columns.items()}


ODD = {
    **_everywhere("text", _TEXT, "STRING", "invalid_utf8"),
    **_everywhere("date", _DAYS, "DATE", "inexact"),
    **_everywhere("decimal", _NUMBERS, "DECIMAL(5,2)", "out_of_range"),
    "keys of a map": Odd(pa.MapArray.from_arrays(_ONE_EACH, _TEXT, _NAMES), "MAP<STRING, STRING>", "invalid_utf8"),
    "large text": Odd(_TEXTS.cast(pa.large_binary()).view(pa.large_string()), "STRING", "invalid_utf8"),
    "view": Odd(_VIEW, "STRING", "invalid_utf8"),
    "struct of a view": Odd(_struct(_VIEW), "STRUCT<c: STRING>", "invalid_utf8"),
    "JSON": Odd(pa.ExtensionArray.from_storage(pa.json_(), _TEXT), "STRING", "invalid_utf8"),
    "struct of JSON": Odd(
        _struct(pa.ExtensionArray.from_storage(pa.json_(), _TEXT)), "STRUCT<c: STRING>", "invalid_utf8"
    ),
    "narrower decimal": Odd(_NUMBERS, "DECIMAL(10,2)", "out_of_range"),
}
