"""Whether a RecordBatch from a file can be read at all: damaged offsets would make Arrow read outside its memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = ["require_sound"]


def require_sound(batch: pa.RecordBatch) -> None:
    """Check a batch for damage; odd values, such as invalid UTF-8, are not damage: debug files are there to show them.

    Raises:
        pyarrow.ArrowInvalid: Offsets, indices or lengths are damaged.

    Example:
        >>> require_sound(pa.record_batch({"id": [1, 2]}))
    """
    batch.validate()
    for column in batch.columns:
        _require_sound(column)


def _require_sound(array: pa.Array) -> None:
    array.validate()
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        _require_sound_offsets(array)


def _require_sound_offsets(array: pa.Array) -> None:
    """Check what must hold for an array that is not valid: in it, or in a child, only the values may be at fault."""
    data_type = array.type
    if isinstance(array, pa.ExtensionArray):
        _require_sound(array.storage)
    elif pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        array.view(pa.binary() if pa.types.is_string(data_type) else pa.large_binary()).validate(full=True)
    elif pa.types.is_struct(data_type):
        for number in range(data_type.num_fields):
            _require_sound(array.field(number))
    elif pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_map(data_type):
        offsets = np.asarray(array.offsets)
        if len(offsets) and (offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(array.values)):
            raise pa.ArrowInvalid("damaged offsets of a list")
        _require_sound(array.values)
    elif pa.types.is_dictionary(data_type):
        indices = array.indices.drop_null().to_numpy()
        if len(indices) and (indices.min() < 0 or indices.max() >= len(array.dictionary)):
            raise pa.ArrowInvalid("damaged indices of a dictionary")
        _require_sound(array.dictionary)
    elif not pa.types.is_primitive(data_type) and not pa.types.is_decimal(data_type):
        array.validate(full=True)
