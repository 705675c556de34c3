"""Rejected rows as lines of JSON and as rows of Parquet, a row alone or those of a batch together."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import Row

from beam_zerobus.schema.casts.text import not_utf8
from beam_zerobus.sink.dead_letters.arrow_fields import each_as_fields
from beam_zerobus.sink.dead_letters.arrow_values import each_to_base64
from beam_zerobus.sink.dead_letters.json_columns import (
    TEXT,
    Pieces,
    array_as_json,
    each_as_json,
    floats_are_alike,
    joined,
    objects,
    quoted,
    quoted_texts,
)
from beam_zerobus.sink.dead_letters.json_text import dumps, is_utf8
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import exact_text
from beam_zerobus.sink.failed_rows import FailedElements, FailedRows
from beam_zerobus.sink.raw_text import with_escapes
from beam_zerobus.sink.rows_in_columns import Column, FirstOf, RowsInColumns, is_raw_text, python_values
from beam_zerobus.sink.single_rows import SingleRows

__all__ = ["LETTER_SCHEMA", "letters_of", "lines_of", "table_of", "to_json", "to_record"]

LETTER_SCHEMA = pa.schema(
    [
        ("element", pa.string()),
        ("error_type", pa.string()),
        ("message", pa.string()),
        ("stage", pa.string()),
        ("table", pa.string()),
        ("attempts", pa.int64()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("typed", pa.string()),
    ]
)
"""The columns of Parquet."""

_SIMPLE: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_JSON: frozenset[type] = frozenset({str, bytes})


class _Written(NamedTuple):
    """The two forms of an element as JSON text: one for people, and the exact one, unless the element is JSON text."""

    readable: str
    typed: str | None


class _WrittenColumns(NamedTuple):
    """The two forms of elements that are not JSON text, as columns."""

    readable: Pieces
    typed: Pieces


def letters_of(failed: Any) -> Iterable[dict[str, Any]]:
    """Return the letters of an element: a Row, the NamedTuple that some runners make of it, or `FailedRows`."""
    if not isinstance(failed, FailedRows):
        return (failed.as_dict() if isinstance(failed, Row) else failed._asdict(),)
    written = _together(failed.elements)
    if written is None:
        return failed.letters()
    return replace(failed, elements=_listed(written)).letters()


def lines_of(failed: Any) -> bytes:
    """Return the letters of an element as lines of JSON, each with its line end."""
    if not isinstance(failed, FailedRows):
        return "".join(f"{_line(letter)}\n" for letter in letters_of(failed)).encode()
    written = _together(failed.elements)
    if written is None:
        readable, end = _one_by_one(failed.elements)
    else:
        readable, end = written.readable, [',"typed":', *written.typed, "}\n"]
    lines = joined('{"element":', *readable, *_other_fields(failed), *end)
    _, offsets, data = lines.buffers()
    text: bytes = data.slice(0, int(np.frombuffer(offsets, np.int64)[len(lines)])).to_pybytes()
    return text


def _other_fields(failed: FailedRows) -> list[pa.Array | str]:
    """Return the fields between `element` and `typed`: the same for each reason, but for a row's number in a file."""
    table, timestamp = _text(failed.table), _text(failed.timestamp)
    before, after, numbers = "", "", ""
    if (places := failed.places) is not None:
        before, after, numbers = places.before, places.after, pa.array(places.numbers).cast(TEXT)
    starts, ends = [], []
    for reason in failed.errors.reasons:
        starts.append(f',"error_type":{_text(reason.error_type)},"message":{_text(before)[:-1]}')
        ends.append(
            f'{_text(after + reason.message)[1:]},"stage":{_text(reason.stage)},"table":{table},'
            f'"attempts":{failed.attempts_in(reason.stage)},"timestamp":{timestamp}'
        )
    return [_chosen(starts, failed.errors.which), numbers, _chosen(ends, failed.errors.which)]


def _chosen(texts: Sequence[str], which: np.ndarray) -> pa.Array | str:
    return texts[0] if len(texts) == 1 else pa.array(texts, TEXT).take(pa.array(which))


def to_json(failed_row: Any) -> str:
    """Return an element of `failed_rows`, a Row or the NamedTuple that some runners make of it, as one line of JSON.

    >>> to_json(Row(element={"id": 1, "price": 1.1}, error_type="wrong_type"))
    '{"element":{"id":1,"price":1.1},"error_type":"wrong_type","typed":{"id":1,"price":1.1}}'
    """
    (letter,) = letters_of(failed_row)
    return _line(letter)


def _line(letter: dict[str, Any]) -> str:
    readable, typed = _written(letter["element"])
    others = ",".join(f"{quoted(name)}:{_text(value)}" for name, value in letter.items() if name != "element")
    return f'{{"element":{readable},{others}{_end(typed)}'


def _end(typed: str | None) -> str:
    return "}" if typed is None else f',"typed":{typed}}}'


def _text(value: Any) -> str:
    """Return a field of a letter as JSON."""
    return quoted(value) if isinstance(value, str) and (value.isascii() or is_utf8(value)) else dumps(plain(value))


def table_of(letters: Sequence[dict[str, Any]]) -> pa.Table:
    """Return letters as rows of Parquet."""
    return pa.Table.from_pylist(list(map(_record, letters)), LETTER_SCHEMA)


def to_record(failed_row: Any) -> dict[str, Any]:
    """Return an element of `failed_rows` as a row of Parquet: `element` and `typed` are JSON text.

    >>> from apache_beam.utils.timestamp import Timestamp
    >>> to_record(Row(element={"id": 1}, timestamp=Timestamp(0)))["element"]
    '{"id":1}'
    """
    (letter,) = letters_of(failed_row)
    return _record(letter)


def _record(letter: dict[str, Any]) -> dict[str, Any]:
    element = letter["element"]
    readable, typed = _written(element)
    text = _text_in(element)
    return letter | {
        "element": readable if text is None else text,
        "timestamp": letter["timestamp"].to_utc_datetime(has_tz=True),
        "typed": typed,
    }


def _together(elements: FailedElements) -> _WrittenColumns | None:
    """Return the forms of elements that are written a column at a time; None for others."""
    if isinstance(elements, SingleRows):
        return _of_batch(elements.batch)
    if isinstance(elements, RowsInColumns):
        return _of_columns(elements) if _have_no_tag(tuple(elements.names)) else None
    return None


def _one_by_one(elements: FailedElements) -> tuple[Pieces, Pieces]:
    """Return the forms of elements for people, and the ends of their letters."""
    if isinstance(elements, list) and set(map(type, elements)) <= _JSON:
        with suppress(UnicodeEncodeError, pa.ArrowInvalid):  # text that is not UTF-8
            return [quoted_texts(pa.array(elements, TEXT))], ["}\n"]
    readable, typed = zip(*map(_written, elements), strict=True)
    return [pa.array(readable, TEXT)], [pa.array(map(_end, typed), TEXT), "\n"]


def _listed(written: _WrittenColumns) -> list[_Written]:
    return list(map(_Written, *(joined(*pieces).to_pylist() for pieces in written)))


def _of_batch(rows: pa.RecordBatch) -> _WrittenColumns:
    columns = list(map(array_as_json, rows.columns))
    names = rows.schema.names
    if len(set(names)) == len(names):
        readable = objects(names, columns, rows.num_rows)
    else:  # pairs of name and value
        readable = [pa.array([dumps(plain(rows.slice(row, 1))) for row in range(rows.num_rows)], TEXT)]
    fields = each_as_fields(rows, columns)
    if fields is not None:
        return _WrittenColumns(readable, ['{"$fields":', *fields, "}"])
    return _WrittenColumns(readable, ['{"$arrow":"', pa.array(each_to_base64(rows), TEXT), '"}'])


def _of_columns(rows: RowsInColumns) -> _WrittenColumns:
    forms = [_forms(column) for column in rows.columns]
    return _WrittenColumns(*(objects(rows.names, texts, len(rows)) for texts in zip(*forms, strict=True)))


def _forms(column: Column) -> tuple[pa.Array, pa.Array]:
    """Return the form of each value for people, and the exact one, as JSON text."""
    if isinstance(column, FirstOf):
        *others, last = column.columns
        readable, typed = _forms(last)
        for values in reversed(others):
            missing = values.is_null()
            readable, typed = map(partial(pc.if_else, missing), (readable, typed), _forms(values))
        return readable, typed
    if isinstance(column, pa.Array):
        kind = column.type
        if is_raw_text(kind):
            return _raw_text_forms(column)
        types = pa.types
        if not (types.is_floating(kind) or types.is_temporal(kind) or types.is_large_binary(kind)):
            return (array_as_json(column),) * 2
        column = python_values(column)
    texts = each_as_json(column)
    if _are_simple(column):
        return texts, texts
    pairs = zip(column, texts.to_pylist(), strict=True)
    return texts, pa.array([text if _is_simple(value) else exact_text(value) for value, text in pairs], TEXT)


def _raw_text_forms(raw: pa.Array) -> tuple[pa.Array, pa.Array]:
    with suppress(pa.ArrowInvalid):
        return (quoted_texts(raw.cast(TEXT)),) * 2
    bad = pa.array(not_utf8(raw))
    texts = quoted_texts(pc.if_else(bad, pa.scalar(None, raw.type), raw).cast(TEXT))
    values = raw.filter(bad).to_pylist()
    readable = quoted_texts(pa.array(with_escapes(values), TEXT))
    encoded = pa.array(list(map(base64.b64encode, values)), pa.large_binary()).cast(TEXT)
    exact = joined('{"$rawtext":"', encoded, '"}')
    return pc.replace_with_mask(texts, bad, readable), pc.replace_with_mask(texts, bad, exact)


def _written(element: Any) -> _Written:
    if isinstance(element, _Written):
        return element
    if (text := _text_in(element)) is not None:
        is_kept = isinstance(element, str) or text.encode() == element
        return _Written(quoted(text), None if is_kept else exact_text(element))
    if type(element) is dict and _are_simple(element.values()) and _have_no_tag(tuple(element)):
        try:
            text = orjson.dumps(element).decode()
            return _Written(text, text)
        except TypeError:  # text that UTF-8 cannot hold, integers of many digits
            pass
    rows = SingleRows.of(element, [0]) if isinstance(element, pa.RecordBatch | pa.Table) else None
    if rows is not None:
        return _listed(_of_batch(rows.batch))[0]
    return _Written(dumps(plain(element)), exact_text(element))


def _text_in(element: Any) -> str | None:
    """Return the text of an element that is JSON, or should have been, for people; None of others."""
    if isinstance(element, bytes | bytearray):
        return element.decode(errors="backslashreplace")
    return element if isinstance(element, str) and is_utf8(element) else None


def _are_simple(values: Collection[Any]) -> bool:
    """Return whether the form of each value for people is also its exact one."""
    return set(map(type, values)) <= _SIMPLE and floats_are_alike(values)


def _is_simple(value: Any) -> bool:
    return type(value) in _SIMPLE and (type(value) is not float or floats_are_alike((value,)))


@lru_cache(maxsize=256)
def _have_no_tag(names: tuple[Any, ...]) -> bool:
    return all(type(name) is str and not name.startswith("$") for name in names)
