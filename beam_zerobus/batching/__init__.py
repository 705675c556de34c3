"""Elements to RecordBatches: dicts, Beam rows, NamedTuples, dataclasses and JSON, and batches of the right size."""

from beam_zerobus.batching.converter import CurrentRowConverter, RowConverter, RowOptions
from beam_zerobus.batching.elements import (
    Converted,
    ElementConverter,
    RowKind,
    element_converter,
    parsed_rows,
    row_kind,
)
from beam_zerobus.batching.records import types_of
from beam_zerobus.batching.row_limit import RowLimit

__all__ = [
    "Converted",
    "CurrentRowConverter",
    "ElementConverter",
    "RowConverter",
    "RowKind",
    "RowLimit",
    "RowOptions",
    "element_converter",
    "parsed_rows",
    "row_kind",
    "types_of",
]
