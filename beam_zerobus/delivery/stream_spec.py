"""`StreamSpec`: what a stream carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import pyarrow as pa
from google.protobuf import descriptor_pb2

from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.options import ArrowCompression, WireFormat

__all__ = ["StreamSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a stream carries: the table, the wire format and the shape of its rows.

    Attributes:
        descriptor: The row message, for protobuf.
        arrow_schema: The schema of each RecordBatch, for Arrow.
        compression: Compression of the Arrow bodies.
    """

    table: str
    wire_format: WireFormat
    descriptor: descriptor_pb2.DescriptorProto | None = None
    arrow_schema: pa.Schema | None = None
    compression: ArrowCompression = "none"

    @classmethod
    def of(cls, conversion: Conversion, *, compression: ArrowCompression = "none") -> Self:
        """Return the description of a stream for the rows of a conversion."""
        wire_format = conversion.wire_format
        return cls(
            table=conversion.table,
            wire_format=wire_format,
            descriptor=conversion.descriptor,
            arrow_schema=conversion.schema.to_arrow() if wire_format == "arrow" else None,
            compression=compression,
        )
