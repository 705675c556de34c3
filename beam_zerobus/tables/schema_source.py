"""The columns of a table from what a command line names: DDL, or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.proto_file import read_proto

__all__ = ["read_proto_file", "read_schema"]


def read_schema(source: str) -> TableSchema:
    """Return the columns that a command line names.

    Args:
        source: DDL such as ``"id BIGINT NOT NULL, name STRING"``, or a file: ``.sql`` or ``.ddl`` (such a column list),
            ``.json`` (a table of Unity Catalog), ``.arrow``, ``.parquet``.

    Raises:
        ValueError: The file is of another kind, or damaged.
        OSError: It cannot be read.
        ZerobusError: A table cannot have these columns.

    Example:
        >>> read_schema("id BIGINT NOT NULL").to_ddl()
        'id BIGINT NOT NULL'
    """
    path = Path(source)
    match path.suffix.lower():
        case ".json":
            return TableSchema.from_unity_catalog(_read_json_object(path))
        case ".arrow":
            import pyarrow as pa  # noqa: PLC0415

            with _naming(path, "an Arrow file"), path.open("rb") as file:
                magic = file.read(6)
                file.seek(0)
                reader = pa.ipc.open_file(file) if magic == b"ARROW1" else pa.ipc.open_stream(file)
                schema = reader.schema
            return TableSchema.from_arrow(schema)
        case ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415

            with _naming(path, "a Parquet file"), path.open("rb") as file:
                schema = pq.read_schema(file)
            return TableSchema.from_arrow(schema)
        case ".sql" | ".ddl":
            with _naming(path, "UTF-8 text"):
                text = path.read_text("utf-8")
            return TableSchema.from_ddl(text)
        case suffix if suffix and (path.is_file() or not any(map(str.isspace, source))):
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
