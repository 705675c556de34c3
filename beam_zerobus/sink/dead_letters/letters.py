"""Rejected rows as lines of JSON and as rows of Parquet, a row alone or those of a batch together."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
from apache_beam.pvalue import Row

from beam_zerobus.sink.dead_letters.arrow_fields import each_as_fields
from beam_zerobus.sink.dead_letters.arrow_values import columns_of, each_to_base64
from beam_zerobus.sink.dead_letters.json_columns import each_as_json, floats_are_alike, objects, quoted
from beam_zerobus.sink.dead_letters.json_text import dumps, is_utf8
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import exact_text
from beam_zerobus.sink.failed_rows import FailedElements, FailedRows
from beam_zerobus.sink.rows_in_columns import RowsInColumns
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


class _Written(NamedTuple):
    """The two forms of an element as JSON text: one for people, and the exact one, unless the element is JSON text."""

    readable: str
    typed: str | None


def letters_of(failed: Any) -> Iterable[dict[str, Any]]:
    """Return the letters of an element: a Row, the NamedTuple that some runners make of it, or `FailedRows`."""
    if isinstance(failed, FailedRows):
        return replace(failed, elements=_together(failed.elements)).letters()
    return (failed.as_dict() if isinstance(failed, Row) else failed._asdict(),)


def lines_of(failed: Any) -> list[str]:
    """Return the letters of an element as lines of JSON."""
    if not isinstance(failed, FailedRows):
        return [_line(letter) for letter in letters_of(failed)]
    kinds = {kind: _text(kind) for kind in set(failed.error_types)}
    table, timestamp = _text(failed.table), _text(failed.timestamp)
    places = {
        stage: f'"stage":{_text(stage)},"table":{table},"attempts":{failed.attempts_in(stage)},"timestamp":{timestamp}'
        for stage in set(failed.stages)
    }
    forms = map(_written, _together(failed.elements))
    return [
        f'{{"element":{readable},"error_type":{kinds[kind]},"message":{_text(message)},{places[stage]}{_end(typed)}'
        for (readable, typed), kind, message, stage in zip(
            forms, failed.error_types, failed.messages, failed.stages, strict=True
        )
    ]


def to_json(failed_row: Any) -> str:
    """Return an element of `failed_rows`, a Row or the NamedTuple that some runners make of it, as one line of JSON.

    >>> to_json(Row(element={"id": 1, "price": 1.1}, error_type="wrong_type"))
    '{"element":{"id":1,"price":1.1},"error_type":"wrong_type","typed":{"id":1,"price":1.1}}'
    """
    (line,) = lines_of(failed_row)
    return line


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


def _together(elements: FailedElements) -> Sequence[Any]:
    """Return elements with their two forms, where they are written a column at a time; others as they are."""
    if isinstance(elements, SingleRows):
        return _of_batch(elements.batch)
    return _of_columns(elements) if isinstance(elements, RowsInColumns) else elements


def _of_batch(rows: pa.RecordBatch) -> list[_Written]:
    columns = list(map(each_as_json, columns_of(rows)))
    fields = each_as_fields(rows)
    typed = (
        [f'{{"$arrow":"{stream}"}}' for stream in each_to_base64(rows)]
        if fields is None
        else [f'{{"$fields":{text}}}' for text in fields]
    )
    return list(map(_Written, objects(rows.schema.names, columns, rows.num_rows), typed))


def _of_columns(rows: RowsInColumns) -> list[_Written]:
    if not _have_no_tag(tuple(rows.names)):
        return list(map(_written, rows))
    readable = list(map(each_as_json, rows.columns))
    typed = [_exactly(values, texts) for values, texts in zip(rows.columns, readable, strict=True)]
    texts = objects(rows.names, readable, len(rows))
    alike = all(map(operator.is_, readable, typed))
    return list(map(_Written, texts, texts if alike else objects(rows.names, typed, len(rows))))


def _exactly(values: Sequence[Any], readable: list[str]) -> list[str]:
    """Return the exact forms of values as JSON text; those for people, where they are exact."""
    if _are_simple(values):
        return readable
    return [text if _are_simple((value,)) else exact_text(value) for value, text in zip(values, readable, strict=True)]


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
        (written,) = _of_batch(rows.batch)
        return written
    return _Written(dumps(plain(element)), exact_text(element))


def _text_in(element: Any) -> str | None:
    """Return the text of an element that is JSON, or should have been, for people; None of others."""
    if isinstance(element, bytes | bytearray):
        return element.decode(errors="backslashreplace")
    return element if isinstance(element, str) and is_utf8(element) else None


def _are_simple(values: Collection[Any]) -> bool:
    """Return whether the form of each value for people is also its exact one."""
    return set(map(type, values)) <= _SIMPLE and floats_are_alike(values)


@lru_cache(maxsize=256)
def _have_no_tag(names: tuple[Any, ...]) -> bool:
    return all(type(name) is str and not name.startswith("$") for name in names)
