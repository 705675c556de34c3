"""The columns of a table from what a command line names: DDL, or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.proto_file import read_proto
from beam_zerobus.schema.table import TableSchema

__all__ = ["names_file", "read_proto_file", "read_schema", "read_source"]

_SUFFIXES = (".sql", ".ddl", ".json", ".arrow", ".parquet")


def names_file(source: str) -> bool:
    """Return whether a source of a schema is a file's name, and not DDL.

    >>> names_file("air.parquet"), names_file("air.csv"), names_file("id DECIMAL(3, 1)")
    (True, True, False)
    """
    path = Path(source)
    if not path.suffix:
        return False
    if path.suffix.lower() in _SUFFIXES or not any(map(str.isspace, source)):
        return True
    try:
        return path.is_file()
    except OSError:  # DDL may be longer than a name
        return False


def read_schema(source: str) -> TableSchema:
    """Return the columns that a command line names; arguments and errors as for `read_source`.

    Raises:
        ZerobusError: A table cannot have these columns.

    Example:
        >>> read_schema("id BIGINT NOT NULL").to_ddl()
        'id BIGINT NOT NULL'
    """
    found = read_source(source)
    return TableSchema.from_arrow(found) if isinstance(found, pa.Schema) else found


def read_source(source: str) -> TableSchema | pa.Schema:
    """Return the columns that a command line names, those of a file of Arrow or Parquet in Arrow's types.

    Args:
        source: DDL such as ``"id BIGINT NOT NULL, name STRING"``, or a file: ``.sql`` or ``.ddl`` (such a column list),
            ``.json`` (a table of Unity Catalog), ``.arrow``, ``.parquet``.

    Raises:
        ValueError: The file is of another kind, or damaged.
        OSError: It cannot be read.
        ZerobusError: A table cannot have these columns.
    """
    path = Path(source)
    match path.suffix.lower():
        case ".json":
            return TableSchema.from_unity_catalog(_read_json_object(path))
        case ".arrow":
            with _naming(path, "an Arrow file"), path.open("rb") as file:
                magic = file.read(6)
                file.seek(0)
                reader = pa.ipc.open_file(file) if magic == b"ARROW1" else pa.ipc.open_stream(file)
                return reader.schema
        case ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415

            with _naming(path, "a Parquet file"), path.open("rb") as file:
                return pq.read_schema(file)
        case ".sql" | ".ddl":
            with _naming(path, "UTF-8 text"):
                text = path.read_text("utf-8")
            try:
                return TableSchema.from_ddl(text)
            except ConfigurationError as error:
                raise ConfigurationError(f"{path}: {error}") from None
        case _ if names_file(source) or len(source.split()) == 1:  # DDL has a name and a type
            raise ValueError(
                f"{source}: a schema is read from a .sql, .ddl, .json, .arrow or .parquet file; name one, or write DDL "
                "such as 'id BIGINT NOT NULL, name STRING'"
            )
        case _:
            return TableSchema.from_ddl(source)


def _read_json_object(path: Path) -> dict[str, Any]:
    with _naming(path, "valid JSON"):
        table = json.loads(path.read_text("utf-8"))
    if not isinstance(table, dict):
        raise ValueError(f"{path} is not a table of Unity Catalog: it holds no JSON object; pass the API's answer")
    return table


@contextmanager
def _naming(path: Path, kind: str) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except (ValueError, OSError, NotImplementedError, MemoryError, RecursionError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # the file could not be opened
            reason = error.strerror or type(error).__name__
            raise OSError(f"{path} cannot be read ({reason}): check its name, and that you may read it") from None
        raise ValueError(f"{path} is not {kind}, or is damaged: {str(error) or type(error).__name__}") from error


def read_proto_file(source: str, message: str | None) -> TableSchema:
    """Return the columns for a message of a ``.proto`` file; arguments and errors as for `read_proto`."""
    path = Path(source)
    with _naming(path, "a .proto file"):
        return read_proto(path.read_text("utf-8"), message)
