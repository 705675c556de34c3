"""What a recording keeps of a call when values are masked: types, lengths, nulls and names of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableSequence
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from beam_zerobus.emulator.recording.masked_arrow import masked_array, split
from beam_zerobus.emulator.recording.masked_sql import masked_statement
from beam_zerobus.emulator.recording.masked_text import Columns, distinct, masked_row, masked_text, masked_value
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.descriptor import Messages, call_classes
from beam_zerobus.emulator.rows.ipc import read_batch, read_schema
from beam_zerobus.emulator.rows.utf8 import has_only_text
from beam_zerobus.emulator.wire import (
    FLIGHT_DO_PUT,
    FLIGHT_SERVICE,
    ZEROBUS_EPHEMERAL_STREAM,
    ZEROBUS_SERVICE,
    FlightData,
    Request,
)

__all__ = ["CallMask", "masked_request"]

_BROKEN = b"\xff" * 11
_WITHOUT_BODY = re.compile(r"/control/(reset|tokens/revoke|tables/[^/]+)")
_WITHOUT_VALUES = re.compile(r"/control/(tables|tokens|clock|streams/rotate|tables/[^/]+/(grant|revoke|alter))")
_INSERT = re.compile(r"/zerobus/v1/tables/([^/]+)/insert")


def masked_request(path: str, body: bytes, columns_of: Callable[[str], Columns]) -> bytes | None:
    """Return the body of an HTTP request with its values masked; None for one that is left out as a whole.

    Args:
        path: The request's path.
        body: Its body.
        columns_of: Returns the columns of a table, none for one that does not exist.
    """
    path = path.partition("?")[0]
    if not body or path == "/oidc/v1/token":
        return body
    insert = _INSERT.fullmatch(path)
    if insert is not None:
        return _masked_rows(body, columns_of(unquote(insert[1])))
    if path.startswith("/api/2.0/sql/statements"):
        return masked_statement(body)
    if path == "/control/faults":
        return _masked_faults(body)
    if _WITHOUT_BODY.fullmatch(path):
        return b""
    return body if _WITHOUT_VALUES.fullmatch(path) else None


def _masked_rows(body: bytes, columns: Columns) -> bytes:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError:
        return b"x" * len(body)
    return orjson.dumps([masked_row(row, columns) for row in rows] if isinstance(rows, list) else masked_value(rows))


def _masked_faults(body: bytes) -> bytes:
    try:
        faults = orjson.loads(body)
        for rule in faults.get("reject_rows", ()):
            rule["value"] = masked_value(rule.get("value"))
        return orjson.dumps(faults)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return b"x" * len(body)


class CallMask:
    """Masks the messages of one gRPC call; the first one says how to read the others.

    Args:
        method: The full name of the method.
        columns_of: Returns the columns of a table, none for one that does not exist.
    """

    def __init__(self, method: str, columns_of: Callable[[str], Columns]) -> None:
        self._method = method
        self._columns_of = columns_of
        self._columns: Columns = ()
        self._is_first = True
        self._row: Any = None
        self._schema: pa.Schema | None = None

    def message(self, body: bytes) -> bytes | None:
        """Return a message with its values masked; None for one of a method whose messages are not known."""
        first, self._is_first = self._is_first, False
        if self._method == f"/{ZEROBUS_SERVICE}/{ZEROBUS_EPHEMERAL_STREAM}":
            return self._zerobus(body, first)
        if self._method == f"/{FLIGHT_SERVICE}/{FLIGHT_DO_PUT}":
            return self._flight(body, first)
        return None

    def _zerobus(self, body: bytes, first: bool) -> bytes | None:
        try:
            request = Request.FromString(body)
        except DecodeError:
            return _BROKEN
        if first:
            self._row = _row_class(request.create_stream.descriptor_proto)
            self._columns = self._columns_of(request.create_stream.table_name)
        single, batch = request.ingest_record, request.ingest_record_batch
        match single.WhichOneof("payload") or batch.WhichOneof("payload"):
            case "proto_encoded_record":
                single.proto_encoded_record = self._proto(single.proto_encoded_record)
            case "json_record":
                single.json_record = _json(single.json_record, self._columns)
            case "proto_encoded_batch":
                records = batch.proto_encoded_batch.records
                records[:] = [self._proto(record) for record in records]
            case "json_batch":
                records = batch.json_batch.records
                records[:] = [_json(record, self._columns) for record in records]
            case None:
                pass
            case _:
                return None  # Avro
        request.DiscardUnknownFields()
        masked: bytes = request.SerializeToString()
        return masked

    def _proto(self, record: bytes) -> bytes:
        if self._row is None:
            return _BROKEN
        try:
            row = self._row.FromString(record)
            row.DiscardUnknownFields()
            _mask_message(row)
        except (DecodeError, UnicodeDecodeError):
            return _BROKEN
        masked: bytes = row.SerializeToString()
        return masked

    def _flight(self, body: bytes, first: bool) -> bytes:
        try:
            data = FlightData.FromString(body)
        except DecodeError:
            return _BROKEN
        data.DiscardUnknownFields()
        try:
            if first:
                self._schema = read_schema(data.data_header)
            elif self._schema is not None:
                data.data_header, data.data_body = self._batch(data.data_header, data.data_body, self._schema)
        except (Rejection, pa.ArrowException, UnicodeDecodeError):  # pyarrow decodes a column's name when it is used
            data.data_header, data.data_body = b"", b""
        masked: bytes = data.SerializeToString()
        return masked

    def _batch(self, header: bytes, body: bytes, schema: pa.Schema) -> tuple[bytes, bytes]:
        batch = read_batch(header, body, schema)
        batch.validate(full=True)
        return split(pa.RecordBatch.from_arrays(list(map(masked_array, batch.columns)), schema=schema))


def _json(record: str | bytes, columns: Columns) -> str:
    """Return a masked record; one that is not UTF-8 is bytes here."""
    try:
        row = orjson.loads(record)
    except orjson.JSONDecodeError:
        return "x" * len(record.encode() if isinstance(record, str) else record)
    return orjson.dumps(masked_row(row, columns)).decode()


def _row_class(descriptor: bytes) -> Any:
    """Return the class of a stream's rows; None if its descriptor describes none."""
    try:
        row = descriptor_pb2.DescriptorProto.FromString(descriptor)
        return call_classes(row, Messages(row))[1] if has_only_text(row) else None
    except (DecodeError, Rejection):
        return None


def _mask_message(message: Message) -> None:
    """Mask the fields of a message in place."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _mask_map(field, value)
        elif field.message_type is not None:
            for one in value if isinstance(value, MutableSequence) else (value,):
                _mask_message(one)
        elif isinstance(value, MutableSequence):
            value[:] = [_scalar(field, one) for one in value]
        else:
            setattr(message, field.name, _scalar(field, value))


def _mask_map(field: FieldDescriptor, entries: Any) -> None:
    key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    old: Mapping[Any, Any] = dict(entries.items())
    texts = distinct([str(_scalar(key_field, key)) for key in old])
    is_text = key_field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    masked = []
    for index, (text, value) in enumerate(zip(texts, old.values(), strict=True)):
        key = text if is_text else index if key_field.cpp_type != FieldDescriptor.CPPTYPE_BOOL else bool(index)
        if value_field.message_type is None:
            masked.append((key, _scalar(value_field, value)))
        else:
            copy = type(value)()
            copy.CopyFrom(value)
            _mask_message(copy)
            masked.append((key, copy))
    entries.clear()
    for key, value in masked:
        if value_field.message_type is None:
            entries[key] = value
        else:
            entries[key].CopyFrom(value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return masked_text(value) if isinstance(value, str) else b"x" * len(value)
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_ENUM:
            return value
        case _:
            return 1
