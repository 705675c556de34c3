"""Summaries and differences of debug files for people and for programs."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from beam_zerobus.debug_files.inspect.diff import PairDiff
from beam_zerobus.debug_files.inspect.summary import SetSummary
from beam_zerobus.debug_files.inspect.text import visible
from beam_zerobus.errors import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["as_json", "diff_as_json", "diff_tables", "summary_tables"]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_MAX_NAME = 30  # characters of a file's name beside its counts
_MAX_CELL = 40  # characters of a value beside others


def as_json(summary: SetSummary) -> dict[str, Any]:
    """Return a summary as JSON values."""
    return {
        "base": summary.base,
        "format": summary.format,
        "files": [asdict(file) for file in summary.files],
        "rows": summary.rows,
        "matching_rows": summary.matching_rows,
        "rejected_rows": sum(file.rejected_rows for file in summary.files),
        "schemas": summary.schemas,
        "schema": [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in summary.schema
        ],
        "time_span": {name: [_json(value) for value in span] for name, span in summary.time_spans.items()},
        "head": [{name: _json(value) for name, value in row.items()} for row in summary.head],
    }


def diff_as_json(diff: PairDiff) -> dict[str, Any]:
    """Return the result of a comparison as JSON values."""
    return {
        **{name: value for name, value in asdict(diff).items() if name != "differences"},
        "is_same": diff.is_same,
        "differences": [
            asdict(difference) | {"arrow": _json(difference.arrow), "proto": _json(difference.proto)}
            for difference in diff.differences
        ],
    }


def summary_tables(summary: SetSummary, width: int) -> list[RenderableType]:
    """Return a summary as tables for a terminal of this many columns."""
    directories = {os.path.dirname(file.path) for file in summary.files}  # noqa: PTH120  they may be URLs
    directory = directories.pop() if len(directories) == 1 else ""
    files = _table("file", ">size", ">batches", ">rows", ">rejected")
    for file in summary.files:
        files.add_row(
            _cell(_short(_below(file.path, directory), summary.base)),
            _size(file.size_bytes),
            "" if file.batches is None else f"{file.batches:,}",
            f"{file.rows:,}",
            f"[red]{file.rejected_rows:,}[/red]" if file.rejected_rows else "",
        )
    if len(summary.files) > 1:
        files.add_section()
        files.add_row("", _size(sum(file.size_bytes or 0 for file in summary.files)), "", f"{summary.rows:,}", "")
    schema = _table("column", "type", "nullable")
    for field in summary.schema:
        schema.add_row(_cell(field.name), _cell(str(field.type)), "yes" if field.nullable else "no")
    parts: list[RenderableType] = [
        _title(f"{summary.base}: {summary.format} files" + (f" in {directory}" if directory else "")),
        files,
        _title("schema" if summary.schemas < 2 else f"schema, the last of {summary.schemas}"),
        schema,
    ]
    if summary.time_spans:
        spans = _table("times", "from", "to")
        for name, ends in summary.time_spans.items():
            spans.add_row(_cell(name), *(_cell(str(_json(end)).replace("+00:00", "Z")) for end in ends))
        parts.append(spans)
    parts.append(_title(f"first {len(summary.head):,} of {counted(summary.matching_rows, 'row')}"))
    if summary.head:
        parts.append(_head_table(summary.head, width))
    for file in summary.files:
        if file.rejections:
            matching = file.matching_rejected_rows
            known = file.rejected_rows if matching is None else matching
            count = f"first {len(file.rejections):,} of {counted(known, 'rejected row')}"
            if matching is None:
                count += ", whether they match or not: the protobuf file does not have those that were not sent"
            rejected = _table(">batch", ">row", "why")
            for mark in file.rejections:
                rejected.add_row(str(mark["batch"]), str(mark["row"]), _cell(f"{mark['error_type']}: {mark['reason']}"))
            parts += [_title(f"{_below(file.path, directory)}: {count}"), rejected]
    return parts


def diff_tables(diffs: Sequence[PairDiff]) -> list[RenderableType]:
    """Return differences for a terminal: two lines for each pair of files, then the first values that differ."""
    from rich.table import Table  # noqa: PLC0415  an extra

    overview = Table.grid(padding=(0, 2, 0, 0))
    for diff in diffs:
        arrow, proto = (
            f"no {kind} file" if rows is None else f"{counted(rows, 'row')} in {kind}"
            for kind, rows in (("Arrow", diff.arrow_rows), ("protobuf", diff.proto_rows))
        )
        values = counted(diff.different_values, "value", "differs")
        overview.add_row("[green]same[/green]" if diff.is_same else "[red]differs[/red]", _cell(diff.stem))
        overview.add_row("", f"{arrow}, {diff.rejected_rows:,} rejected before sending, {proto}, {values}")
    parts: list[RenderableType] = [_title("Arrow side and protobuf side"), overview]
    for diff in diffs:
        if diff.columns_only_in_arrow:
            parts.append(_title(f"{diff.stem}: not sent: {', '.join(diff.columns_only_in_arrow)}"))
        if diff.differences:
            table = _table(">batch", ">row", "column", "Arrow", "protobuf")
            for one in diff.differences:
                table.add_row(str(one.batch), str(one.row), _cell(one.column), _cell(one.arrow), _cell(one.proto))
            count = f"first {len(diff.differences):,} of {counted(diff.different_values, 'difference')}"
            parts += [_title(f"{diff.stem}: {count}"), table]
    return parts


def _head_table(rows: Sequence[dict[str, Any]], width: int) -> Table:
    """Return rows as a table; where that is wider than the terminal, one line for each value."""
    names = list(dict.fromkeys(name for row in rows for name in row))  # those of an earlier file may differ
    cells = [[_cell(row[name]) if name in row else _cell("") for name in names] for row in rows]
    widths = [max(len(name), *(len(row[number]) for row in cells)) for number, name in enumerate(names)]
    if sum(min(of_column, _MAX_CELL) + len(" │ ") for of_column in widths) < width:
        table = _table(*names)
        for row in cells:
            table.add_row(*row)
        return table
    table = _table(">row", "column", "value")
    for number, row in enumerate(cells):
        for name, cell in zip(names, row, strict=True):
            table.add_row(str(number), _cell(name), cell)
        table.add_section()
    return table


def _below(path: str, directory: str) -> str:
    return path.removeprefix(directory).lstrip(r"\/") if directory else path


def _short(name: str, base: str) -> str:
    """Return the name of a file, without its base where that would leave no room for the counts.

    >>> _short("main.iot.air-host-123.20261123T231945Z-000001.arrow", "main.iot.air-host-123")
    '….20261123T231945Z-000001.arrow'
    """
    return f"…{name.removeprefix(base)}" if len(name) > _MAX_NAME and name.startswith(base) else name


def _table(*headings: str) -> Table:
    """Return an empty table; a heading that starts with > is above a column of numbers."""
    from rich.table import Table  # noqa: PLC0415  an extra

    table = Table()
    for heading in headings:
        table.add_column(
            _cell(heading.removeprefix(">")), justify="right" if heading[:1] == ">" else "left", overflow="fold"
        )
    return table


def _title(text: str) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415  an extra

    return Text("\n" + visible(text), style="bold")


def _cell(value: Any) -> Text:
    """Return a value as text: rich does not take it for markup, nor the terminal for control sequences."""
    from rich.text import Text  # noqa: PLC0415  an extra

    if value is None:
        return Text("null", style="dim")
    text = value if isinstance(value, str) else json.dumps(_json(value), ensure_ascii=False).strip('"')
    return Text(visible(text))


def _json(value: Any) -> Any:
    """Return a value as JSON has it: bytes in hexadecimal, decimals and times as text."""
    match value:
        case float() if not math.isfinite(value):
            plain: Any = str(value)
        case None | bool() | int() | float() | str():
            plain = value
        case bytes():
            plain = value.hex()
        case dict():
            plain = {str(name): _json(inner) for name, inner in value.items()}
        case list() | tuple():
            plain = [_json(inner) for inner in value]
        case dt.datetime() | dt.date() | dt.time():
            plain = value.isoformat()
        case _:
            plain = str(value)
    return plain


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return ""
    power = min(max(size_bytes.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return counted(size_bytes, "byte") if power == 0 else f"{size_bytes / 1024**power:,.1f} {_UNITS[power]}"
