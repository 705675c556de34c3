"""The Avro files of fastavro's own tests, by many writers, into tables, compared with fastavro's and polars' readers.

They are in fastavro's source on PyPI, which is fetched into `.cache`.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import uuid
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

pytestmark = pytest.mark.hostile

VERSION = "1.13.1"
CACHE = Path(__file__).parents[2] / ".cache" / "corpus"
TYPES = {"string": "STRING", "bytes": "BINARY", "boolean": "BOOLEAN", "int": "INT", "long": "BIGINT"}
TYPES |= {"float": "FLOAT", "double": "DOUBLE", "enum": "STRING"}


@pytest.fixture(scope="module")
def files() -> list[Path]:
    folder = CACHE / f"fastavro-{VERSION}"
    if not folder.exists():
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        download += ["--no-binary", "fastavro", "--dest", str(CACHE), f"fastavro=={VERSION}"]
        subprocess.run(download, check=True)
        with tarfile.open(CACHE / f"fastavro-{VERSION}.tar.gz") as source:
            source.extractall(CACHE, filter="data")
    return sorted(folder.glob("tests/avro-files/*.avro"))


def ddl_of(schema: Any) -> str | None:
    """Return the type of a column for a schema; None if it has none."""
    if isinstance(schema, list):
        others = [branch for branch in schema if branch != "null"]
        return ddl_of(others[0]) if len(others) == 1 else None
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind not in ("record", "error"):
        return TYPES.get(kind)
    return f"STRUCT<{', '.join(f'{name}: {ddl}' for name, ddl in columns_of(schema).items())}>"


def columns_of(schema: Any) -> dict[str, str]:
    """Return the columns for a record's fields, without those that have no type."""
    fields = schema["fields"] if isinstance(schema, dict) and "fields" in schema else []
    found = {field["name"]: ddl_of(field["type"]) for field in fields}
    return {name: ddl for name, ddl in found.items() if ddl}


def rows_of(path: Path) -> list[Any]:
    if path.name == "snappy.avro":  # not of records, which polars reads only
        return [b""] * 10
    if "snappy" in path.name:  # for which fastavro needs one more package
        return pl.read_avro(path).to_dicts()
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def in_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: in_text(inner) for name, inner in value.items()}
    return str(value) if isinstance(value, uuid.UUID) else value


def test_each_file_arrives_as_independent_readers_read_it(send, files):
    assert len(files) == 36
    arrived = 0
    for path in files:
        with path.open("rb") as file:
            columns = columns_of(fastavro.reader(file).writer_schema)
        ddl = ", ".join(f"{name} {kind}" for name, kind in columns.items()) or "id INT"
        rows, letters = send(ddl, path, "--zerobus_on_unknown_fields=ignore")
        expected = rows_of(path)
        if columns:
            wanted = [{name: row[name] for name in columns} for row in map(in_text, expected)]
            assert sorted(map(repr, rows)) == sorted(map(repr, wanted)), path
            assert not letters
            arrived += len(rows)
        else:  # no records, or records without fields
            assert len(rows) + len(letters) == len(expected), path
    assert arrived > 3_000
