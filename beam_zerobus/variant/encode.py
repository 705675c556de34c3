"""JSON text to Variant, a column at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.variant.layout import VARIANT_TYPE
from beam_zerobus.variant.parse import parse_all
from beam_zerobus.variant.pieces import join
from beam_zerobus.variant.problems import Problem
from beam_zerobus.variant.splitter import Splitter

__all__ = ["encode_json"]

_CHUNK_ROWS = 4096
"""Limits the Python objects that exist at a time."""


def encode_json(texts: pa.Array) -> tuple[pa.Array, dict[int, Problem]]:
    r"""Encode JSON texts.

    Values are grouped by kind and objects by their keys, and each group is encoded at once. So the time per row is
    short if rows repeat a shape, and the result is the same for every shape.

    Args:
        texts: An array of string, large_string, binary or large_binary.

    Returns:
        An array of `VARIANT_TYPE`, null for null, and the problems of texts that have no Variant, by their positions;
        these are null too.

    Example:
        >>> variants, problems = encode_json(pa.array(['{"a": 1}', None, "{"]))
        >>> variants.to_pylist()[0]
        {'metadata': b'\x11\x01\x00\x01a', 'value': b'\x02\x01\x00\x00\x02\x0c\x01'}
        >>> variants.null_count, problems
        (2, {2: <Problem.NOT_JSON: 'is not valid JSON'>})
    """
    parts: list[pa.Array] = []
    problems: dict[int, Problem] = {}
    for start in range(0, len(texts), _CHUNK_ROWS):
        variants, found = _encode_chunk(texts.slice(start, _CHUNK_ROWS))
        parts.append(variants)
        problems.update({start + position: problem for position, problem in sorted(found.items())})
    if len(parts) == 1:
        return parts[0], problems
    return (pa.concat_arrays(parts) if parts else pa.array([], VARIANT_TYPE)), problems


def _encode_chunk(texts: pa.Array) -> tuple[pa.Array, dict[int, Problem]]:
    null = np.asarray(texts.is_null()) if texts.null_count else np.zeros(len(texts), bool)
    present = np.flatnonzero(~null)
    found: dict[int, Problem] = {}
    values = parse_all(texts.drop_null().cast(pa.large_binary()).to_numpy(zero_copy_only=False).tolist(), found)
    splitter = Splitter(len(values), found)
    node = splitter.split(values, np.arange(len(values)))
    dictionaries = splitter.keys.dictionaries()
    columns = [dictionaries.metadata_array(), join(node.encode(dictionaries))]
    problems = {int(present[position]): problem for position, problem in found.items()}
    if null.any():
        positions = pa.array(np.maximum(np.cumsum(~null) - 1, 0), mask=null)
        columns = [column.take(positions).fill_null(b"") for column in columns]
    null[list(problems)] = True
    mask = pa.array(null) if null.any() else None
    return pa.StructArray.from_arrays(columns, fields=list(VARIANT_TYPE), mask=mask), problems
