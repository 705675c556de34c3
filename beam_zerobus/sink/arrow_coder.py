"""The coder of RecordBatches and Tables, for elements that a runner stores or sends.

Pyarrow pickles a slice with the whole buffers that it is a part of: a Table in a hundred slices becomes as large as a
hundred Tables.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from apache_beam import coders
from apache_beam.coders.typecoders import registry

from beam_zerobus.encoding.size import bytes_of
from beam_zerobus.sink.own_rows import own_rows
from beam_zerobus.sink.whole_coder import WholeCoder

__all__ = ["ArrowCoder", "register_arrow_coder"]


class ArrowCoder(WholeCoder):
    """Pickles a RecordBatch or Table with memory for its own rows only."""

    def encode(self, value: Any) -> bytes:
        """Pickle the element; one of another type than was declared is pickled as it is."""
        return super().encode(own_rows(value) if _is_arrow(value) else value)

    def estimate_size(self, value: Any) -> int:
        """Return the bytes of the rows."""
        return bytes_of(value) if _is_arrow(value) else super().estimate_size(value)


def register_arrow_coder() -> None:
    """Register the coder with Beam, unless another one is registered."""
    for kind in (pa.RecordBatch, pa.Table):
        if isinstance(registry.get_coder(kind), coders.FastPrimitivesCoder):
            registry.register_coder(kind, ArrowCoder)


def _is_arrow(value: object) -> bool:
    return isinstance(value, pa.RecordBatch | pa.Table)
