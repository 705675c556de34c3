"""A stream's schema as the client itself makes it from Unity Catalog, and rows of every type for it.

Python and Java have a tool that writes a .proto file, Rust has functions for a table's columns. Rows have the encoding
of the sink: what a client's own schema says of a column, and what the sink writes, has to agree.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import requests
from google.protobuf import descriptor_pb2

from beam_zerobus.emulator import Emulator
from beam_zerobus.encoding import make_encoder
from beam_zerobus.schema import TableSchema
from tests.sdks.clients import ClientProgram
from tests.sdks.payloads import ipc
from tests.sdks.program import environment

TABLE = "main.iot.every_type"
SIMPLE = """
    id BIGINT NOT NULL, flag BOOLEAN, small SMALLINT, whole INT, single FLOAT, number DOUBLE, name STRING, raw BINARY,
    day DATE, at TIMESTAMP, tags ARRAY<STRING>, limits MAP<STRING, BIGINT>
"""
"""The types that every client's tool knows."""
ALL = f"""
    {SIMPLE}, tiny TINYINT, price DECIMAL(38, 9), local TIMESTAMP_NTZ, user_id INT, userId INT,
    prices ARRAY<DECIMAL(5, 2)>, points ARRAY<STRUCT<x: DOUBLE, y: DOUBLE>>, _1 STRUCT<_1: INT, _2: STRING>,
    place STRUCT<city: STRING NOT NULL, inner: STRUCT<flag: BOOLEAN, days: ARRAY<DATE>>>,
    by_number MAP<INT, STRUCT<day: DATE, price: DECIMAL(5, 2)>>,
    free VARIANT, parts ARRAY<VARIANT>, inside STRUCT<free: VARIANT>, by_name MAP<STRING, VARIANT>
"""
_ROW: dict[str, Any] = {
    "id": 1,
    "flag": True,
    "small": -300,
    "whole": -70_000,
    "single": 0.5,
    "number": 0.1,
    "name": "Zürich",
    "raw": b"\x00\xff",
    "day": dt.date(1969, 12, 31),
    "at": dt.datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=dt.UTC),
    "tags": ["a", "b"],
    "limits": [("low", 1)],
    "tiny": -8,
    "price": Decimal("12345.678900000"),
    "local": dt.datetime(2026, 1, 31, 12, 0, 0, 123_456),
    "user_id": 7,
    "userId": 8,
    "prices": [Decimal("1.25")],
    "place": {"city": "Zürich", "inner": {"flag": False, "days": [dt.date(2026, 1, 31)]}},
    "_1": {"_1": 1, "_2": "two"},
    "points": [{"x": 0.0, "y": -1.5}],
    "by_number": [(3, {"day": dt.date(2026, 1, 31), "price": Decimal("2.50")})],
    # Without spaces and with sorted members, as an Arrow stream's Variant is read back.
    "free": '{"a":[1.50,null,true],"b":{"city":"Zürich"}}',
    "parts": ["1", '"two"', "null"],
    "inside": {"free": "[]"},
    "by_name": [("x", '{"y":-0.5}')],
}
_LISTS = ("tags", "limits", "prices", "points", "by_number", "parts", "by_name")


def columns_of(client: ClientProgram) -> str:
    """Return the columns of the table for a client."""
    return ALL if client.reads_columns else SIMPLE


def rows(ddl: str) -> list[dict[str, Any]]:
    """Return a full row, and one with what has to be there; protobuf has no null for lists and maps."""
    names = [column.name for column in TableSchema.from_ddl(ddl).columns]
    full = {name: _ROW[name] for name in names}
    return [full, {name: 2 if name == "id" else [] if name in _LISTS else None for name in names}]


def own_schema(client: ClientProgram, emulator: Emulator, directory: Path) -> str:
    """Return the schema that the client makes, as a program's `open` reads it."""
    if client.reads_columns:
        address = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/{TABLE}"
        headers = {"Authorization": f"Bearer {emulator.issue_token()}"}
        return f"columns:{requests.get(address, headers=headers, timeout=10).content.hex()}"
    output = directory / "row.proto"
    options = ("--uc-endpoint", emulator.workspace_url, "--table", TABLE, "--output", str(output))
    credentials = ("--client-id", emulator.client_id, "--client-secret", emulator.client_secret)
    _run([*client.proto_tool, *options, *credentials], client.variables)
    compiled = directory / "row.desc"
    _run([sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", f"--descriptor_set_out={compiled}", str(output)])
    [file] = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    return file.message_type[0].SerializeToString().hex()


def _run(command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    variables = environment(variables or {})
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-500:]}"


def encoded(wire_format: str, ddl: str) -> list[str]:
    """Return the rows as one call's records, as a program's `send` reads them."""
    schema = TableSchema.from_ddl(ddl)
    batch = pa.RecordBatch.from_pylist(rows(ddl), schema.to_canonical_arrow())
    [payload] = make_encoder(wire_format, schema).encode(batch)
    return ipc(payload.records) if wire_format == "arrow" else [record.hex() for record in payload.records]
