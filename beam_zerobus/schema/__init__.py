"""The table's schema: where it comes from, what it allows, and how a RecordBatch is made to fit it."""

from beam_zerobus.schema.conform import Conformed, Conformer
from beam_zerobus.schema.reasons import RowErrorType
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.validation import check_protobuf

__all__ = [
    "Array",
    "Conformed",
    "Conformer",
    "Decimal",
    "DeltaType",
    "Field",
    "Map",
    "Primitive",
    "RowErrorType",
    "Struct",
    "TableSchema",
    "check_protobuf",
]
