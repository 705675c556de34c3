"""The table's schema: its sources, its limits, its forms in Arrow and protobuf, and batches that fit it."""

from beam_zerobus.schema.conform import Conformed, Conformer
from beam_zerobus.schema.fit import why_rows_do_not_fit
from beam_zerobus.schema.reasons import RowErrorType
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

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
    "why_rows_do_not_fit",
]
