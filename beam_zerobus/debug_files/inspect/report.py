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
_MAX_COLUMNS = 8


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


def summary_tables(summary: SetSummary) -> list[RenderableType]:
    """Return a summary as tables for a terminal."""
    directories = {os.path.dirname(file.path) for file in summary.files}  # noqa: PTH120  they may be URLs
    directory = directories.pop() if len(directories) == 1 else ""
    files = _table("file", ">size", ">batches", ">rows", ">rejected rows")
    for file in summary.files:
        files.add_row(
            _cell(file.path.removeprefix(directory).lstrip(r"\/") if directory else file.path),
            _size(file.size_bytes),
            f"{file.batches:,}" if summary.format == "arrow" else "",
            f"{file.rows:,}",
            f"[red]{file.rejected_rows:,}[/red]" if file.rejected_rows else "",
        )
    if len(summary.files) > 1:
        files.add_section()
        files.add_row("", _size(sum(file.size_bytes or 0 for file in summary.files)), "", f"{summary.rows:,}", "")
    schema = _table("column", "type", "nullable", "from", "to")
    for field in summary.schema:
        span = (_cell(value) for value in summary.time_spans.get(field.name, ("", "")))
        schema.add_row(_cell(field.name), _cell(str(field.type)), "yes" if field.nullable else "no", *span)
    parts: list[RenderableType] = [
        _title(f"{summary.base}: {summary.format} files" + (f" in {directory}" if directory else "")),
        files,
        _title("schema" if summary.schemas < 2 else f"schema, the last of {summary.schemas}"),
        schema,
        _title(f"first {len(summary.head):,} of {counted(summary.matching_rows, 'row')}"),
    ]
    if summary.head:
        parts.append(_head_table(summary.head))
    return parts


def diff_tables(diffs: Sequence[PairDiff]) -> list[RenderableType]:
    """Return differences as tables for a terminal."""
    overview = _table("files", ">Arrow rows", ">rejected before sending", ">protobuf rows", ">different values", "")
    for diff in diffs:
        overview.add_row(
            _cell(diff.stem),
            "missing" if diff.arrow_rows is None else f"{diff.arrow_rows:,}",
            f"{diff.rejected_rows:,}",
            "missing" if diff.proto_rows is None else f"{diff.proto_rows:,}",
            f"{diff.different_values:,}",
            "[green]same[/green]" if diff.is_same else "[red]differs[/red]",
        )
    parts: list[RenderableType] = [_title("Arrow side and protobuf side"), overview]
    for diff in diffs:
        if diff.columns_only_in_arrow:
            parts.append(_title(f"{diff.stem}: not sent: {', '.join(diff.columns_only_in_arrow)}"))
        if diff.differences:
            table = _table(">batch", ">row", "column", "Arrow", "protobuf")
            for one in diff.differences:
                table.add_row(str(one.batch), str(one.row), _cell(one.column), _cell(one.arrow), _cell(one.proto))
            count = f"first {len(diff.differences):,} of {diff.different_values:,} differences"
            parts += [_title(f"{diff.stem}: {count}"), table]
    return parts


def _head_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return rows as a table; with many columns, one line a column, so that it fits the terminal."""
    names = list(rows[0])
    if len(names) <= _MAX_COLUMNS:
        table = _table(*names)
        for row in rows:
            table.add_row(*map(_cell, row.values()))
        return table
    table = _table("column", *(f"row {number}" for number in range(len(rows))))
    for name in names:
        table.add_row(_cell(name), *(_cell(row.get(name)) for row in rows))
    return table


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
    return f"{size_bytes:,} bytes" if power == 0 else f"{size_bytes / 1024**power:,.1f} {_UNITS[power]}"
