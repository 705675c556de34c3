"""Wire formats: each encodes a RecordBatch that fits the table, as payloads below the limit of a call."""

from __future__ import annotations

from collections.abc import Callable

from beam_zerobus.encoding.arrow import ArrowEncoder
from beam_zerobus.encoding.base import MAX_CALL_BYTES, Encoder, Payload, Records
from beam_zerobus.encoding.json import JsonEncoder
from beam_zerobus.encoding.proto import ProtoEncoder
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import WireFormat
from beam_zerobus.schema.table import TableSchema

__all__ = [
    "MAX_CALL_BYTES",
    "ArrowEncoder",
    "Encoder",
    "JsonEncoder",
    "Payload",
    "ProtoEncoder",
    "Records",
    "make_encoder",
]

_ENCODERS: dict[str, Callable[[TableSchema], Encoder]] = {
    "arrow": ArrowEncoder,
    "json": JsonEncoder,
    "proto": ProtoEncoder,
}


def make_encoder(wire_format: WireFormat, schema: TableSchema) -> Encoder:
    """Return the encoder of a wire format for one table.

    Args:
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
        schema: The table's columns.

    Raises:
        ConfigurationError: There is no such wire format.
        ConversionError: The format does not support a column's type.

    Example:
        >>> schema = TableSchema.from_ddl("id BIGINT NOT NULL")
        >>> isinstance(make_encoder("proto", schema), ProtoEncoder)
        True
    """
    if wire_format not in _ENCODERS:
        raise ConfigurationError(f"wire_format={wire_format!r}: use one of {', '.join(sorted(_ENCODERS))}")
    return _ENCODERS[wire_format](schema)
