"""The table of the tests, and its rows as each wire format has them; written without the sink's encoders."""

from __future__ import annotations

import json
from typing import NamedTuple

import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TABLE = "main.iot.readings"
COLUMNS = "id BIGINT NOT NULL, name STRING, price DECIMAL(4,2)"
FORMATS = ("proto", "json", "arrow")
_TYPES = descriptor_pb2.FieldDescriptorProto


class Row(NamedTuple):
    """A row of the table; the price is text, as on the wire."""

    id: int
    name: str
    price: str


def good_row(row_id: int) -> Row:
    """Return the row that a good call has for an id."""
    return Row(row_id, f"n{row_id}", f"{row_id % 100}.25")


def bad_row(row_id: int) -> Row:
    """Return a row whose price has too many digits for its column: only the server can see it."""
    return good_row(row_id)._replace(price="12345.25")


def descriptor(*, wrong: bool = False) -> descriptor_pb2.DescriptorProto:
    """Return the rows' descriptor; a wrong one has a column that the table does not have."""
    message = descriptor_pb2.DescriptorProto(name="Reading")
    message.field.add(name="id", number=1, type=_TYPES.TYPE_INT64, label=_TYPES.LABEL_REQUIRED)
    message.field.add(name="name", number=2, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
    message.field.add(name="price", number=3, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
    if wrong:
        message.field.add(name="colour", number=4, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
    return message


def schema_of(wire_format: str, *, wrong: bool = False) -> str:
    """Return a stream's schema as a program's `open` reads it; JSON has none."""
    if wire_format == "proto":
        return descriptor(wrong=wrong).SerializeToString().hex()
    if wire_format == "arrow":
        return "id:int64:required,name:text:null,price:text:null" + (",colour:text:null" if wrong else "")
    return "-"


def records(wire_format: str, rows: list[Row]) -> list[str]:
    """Return one call's records as a program's `send` reads them; Arrow has one batch for all rows."""
    if wire_format == "proto":
        return [_RowMessage(**row._asdict()).SerializeToString().hex() for row in rows]
    if wire_format == "json":
        return [json.dumps(row._asdict()).encode().hex() for row in rows]
    fields = [
        pa.field("id", pa.int64(), False),
        pa.field("name", pa.large_string()),
        pa.field("price", pa.large_string()),
    ]
    batch = pa.RecordBatch.from_pylist([row._asdict() for row in rows], pa.schema(fields))
    return ipc(batch)


def ipc(batch: pa.RecordBatch) -> list[str]:
    """Return a batch as a call's only record."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return [sink.getvalue().to_pybytes().hex()]


def records_with_unknown_column(row_id: int) -> list[str]:
    """Return a call of JSON with a column that the table does not have."""
    return [json.dumps({"id": row_id, "colour": "red"}).encode().hex()]


def _message_class() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="reading.proto", syntax="proto2")
    file.message_type.add().CopyFrom(descriptor())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Reading"))


_RowMessage = _message_class()
