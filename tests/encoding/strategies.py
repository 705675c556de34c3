"""Hypothesis strategies: tables of every type that protobuf holds, and batches full of extremes."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

PLAIN_TYPES = {
    Primitive.TINYINT: pa.int8(),
    Primitive.SMALLINT: pa.int16(),
    Primitive.INT: pa.int32(),
    Primitive.BIGINT: pa.int64(),
    Primitive.DATE: pa.date32(),
    Primitive.TIMESTAMP: pa.timestamp("us", "UTC"),
    Primitive.TIMESTAMP_NTZ: pa.timestamp("us"),
    Primitive.BOOLEAN: pa.bool_(),
    Primitive.FLOAT: pa.float32(),
    Primitive.DOUBLE: pa.float64(),
    Primitive.BINARY: pa.binary(),
    Primitive.STRING: pa.string(),
    Primitive.VARIANT: pa.string(),
}
LARGE_TYPES = {
    Primitive.BINARY: pa.large_binary(),
    Primitive.STRING: pa.large_string(),
    Primitive.VARIANT: pa.large_string(),
}
NO_MAP_KEYS = (Primitive.FLOAT, Primitive.DOUBLE, Primitive.BINARY, Primitive.VARIANT)

decimals = st.integers(1, 38).flatmap(lambda p: st.builds(Decimal, st.just(p), st.integers(0, p)))
scalars = st.sampled_from(list(Primitive)) | decimals
map_keys = scalars.filter(lambda key: key not in NO_MAP_KEYS)


def _fields(types: st.SearchStrategy[DeltaType], most: int) -> st.SearchStrategy[tuple[Field, ...]]:
    return st.lists(st.tuples(types, st.booleans()), min_size=1, max_size=most).map(
        lambda pairs: tuple(
            Field(name=f"f{i}", type=kind, nullable=nullable, number=i + 1) for i, (kind, nullable) in enumerate(pairs)
        )
    )


def _nested(inner: st.SearchStrategy[DeltaType]) -> st.SearchStrategy[DeltaType]:
    structs = _fields(inner, 4).map(Struct)
    in_list = (scalars | structs).map(Array)
    maps = st.builds(Map, map_keys, scalars | structs)
    return structs | in_list | maps


types = st.recursive(scalars, _nested, max_leaves=6)
numbers = st.integers(1, 17) | st.sampled_from([127, 128, 2047, 2048, 18_999, 20_000, 262_144, (1 << 29) - 1])


@st.composite
def tables(draw: st.DrawFn, most: int = 6) -> TableSchema:
    """Draw a table; field numbers have gaps, go to protobuf's highest, and need not ascend."""
    kinds = draw(st.lists(types, min_size=1, max_size=most))
    chosen = draw(st.lists(numbers, min_size=len(kinds), max_size=len(kinds), unique=True))
    return TableSchema(
        tuple(
            Field(name=f"c{i}", type=kind, nullable=draw(st.booleans()), number=number)
            for i, (kind, number) in enumerate(zip(kinds, chosen, strict=True))
        )
    )


def arrow_type(delta_type: DeltaType, *, large: bool = False) -> pa.DataType:
    """Return a canonical Arrow type; some have two."""
    if isinstance(delta_type, Struct):
        return pa.struct([pa.field(f.name, arrow_type(f.type, large=large)) for f in delta_type.fields])
    if isinstance(delta_type, Array):
        element = arrow_type(delta_type.element, large=large)
        return pa.large_list(element) if large else pa.list_(element)
    if isinstance(delta_type, Map):
        return pa.map_(arrow_type(delta_type.key, large=large), arrow_type(delta_type.value, large=large))
    if isinstance(delta_type, Decimal):
        return pa.decimal128(delta_type.precision, delta_type.scale)
    return (LARGE_TYPES if large else {}).get(delta_type) or PLAIN_TYPES[delta_type]


def _integers(bits: int) -> list[int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    steps = [1 << k for k in range(0, bits, 7)]
    edges = {value for step in steps for value in (step - 1, step, step + 1, -step, -step - 1)}
    return sorted(value for value in {*edges, low, high} if low <= value <= high)


_BITS = {Primitive.TINYINT: 8, Primitive.SMALLINT: 16, Primitive.INT: 32, Primitive.BIGINT: 64}
_SIZES = [0, 1, 2, 7, 8, 15, 16, 63, 126, 127, 128, 129, 255, 256, 511, 512, 513, 1024, 1030, 20_000]
_TEXTS = [("aé日🙂\0" * size)[:size] for size in _SIZES]
_DOCUMENTS = ['{"a":[1,2.5,null],"b":{"a":true}}', "[]", "{}", "null", "-129", "12345678901234567890", "1e300"]
_DOUBLES = [0.0, -0.0, 1.5, -1e300, 5e-324, math.nan, -math.nan, math.inf, -math.inf]
_EPOCH = dt.datetime(1970, 1, 1)
_POOLS: dict[DeltaType, list[Any]] = {
    **{kind: _integers(bits) for kind, bits in _BITS.items()},
    Primitive.DATE: [dt.date(1970, 1, 1) + dt.timedelta(days) for days in _integers(20)],
    Primitive.TIMESTAMP: [_EPOCH + dt.timedelta(microseconds=us) for us in _integers(56)],
    Primitive.BOOLEAN: [False, True],
    Primitive.FLOAT: [0.0, -0.0, 1.5, -1e30, math.nan, math.inf, -math.inf],
    Primitive.DOUBLE: _DOUBLES,
    Primitive.BINARY: [bytes(range(256)) * (size // 256) + bytes(size % 256) for size in _SIZES],
    Primitive.STRING: _TEXTS,
    Primitive.VARIANT: [json.dumps(text, ensure_ascii=False) for text in _TEXTS] + _DOCUMENTS,
}
_POOLS[Primitive.TIMESTAMP_NTZ] = _POOLS[Primitive.TIMESTAMP]


def _pool(rng: random.Random, delta_type: DeltaType) -> list[Any]:
    """Return a few values of the type: sometimes of one size, sometimes of all."""
    if isinstance(delta_type, Decimal):
        top, context = 10**delta_type.precision - 1, decimal.Context(prec=60)
        unscaled = [0, 1, -1, top, -top, rng.randint(-top, top), rng.randint(-top, top)]
        return [decimal.Decimal(number).scaleb(-delta_type.scale, context) for number in unscaled]
    pool = _POOLS[delta_type]
    start = rng.randrange(len(pool))
    chosen = pool[start : start + rng.choice([1, 2, 6, 30])]
    if delta_type in _BITS and rng.random() < 0.5:
        low, high = pool[0], pool[-1]
        chosen = chosen + [rng.randint(low, high) >> rng.randrange(_BITS[delta_type]) for _ in range(6)]
    return chosen


def random_array(
    rng: random.Random, delta_type: DeltaType, size: int, *, nulls: bool, large: bool, unfit: bool = False
) -> pa.Array:
    """Make an array; nulls hide data, and parts of it are slices of larger arrays."""
    before = rng.choice([0, 0, 1, 9])
    array = _whole_array(rng, delta_type, before + size + rng.randrange(3), large=large, unfit=unfit)
    if (nulls or unfit) and len(array):
        array = _hide(rng, array, delta_type)
    return array.slice(before, size)


def _whole_array(rng: random.Random, delta_type: DeltaType, size: int, *, large: bool, unfit: bool) -> pa.Array:
    if isinstance(delta_type, Struct):
        children = [
            random_array(rng, f.type, size, nulls=f.nullable, large=large, unfit=unfit) for f in delta_type.fields
        ]
        return pa.StructArray.from_arrays(children, names=[field.name for field in delta_type.fields])
    if isinstance(delta_type, Array | Map):
        most = rng.choice([0, 1, 1, 3])
        counts = [rng.randrange(4)] + [rng.randint(0, most) for _ in range(size)]
        offsets = np.cumsum(counts)
        inner = int(offsets[-1]) + rng.randrange(3)
        if isinstance(delta_type, Map):
            keys = random_array(rng, delta_type.key, inner, nulls=False, large=large)
            items = random_array(rng, delta_type.value, inner, nulls=False, large=large, unfit=unfit)
            return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items)
        element = random_array(rng, delta_type.element, inner, nulls=False, large=large, unfit=unfit)
        kind = pa.LargeListArray if large else pa.ListArray
        return kind.from_arrays(pa.array(offsets, pa.int64() if large else pa.int32()), element)
    pool = _pool(rng, delta_type)
    array = pa.array([rng.choice(pool) for _ in range(size)], arrow_type(delta_type, large=large))
    return _nan_payloads(array) if delta_type is Primitive.DOUBLE and rng.random() < 0.3 else array


def _nan_payloads(array: pa.Array) -> pa.Array:
    bits = array.view(pa.int64()).to_numpy(zero_copy_only=False).copy()
    bits[::2] = 0x7FF4_0000_0000_0001 + np.arange(len(bits[::2]))
    return pa.array(bits).view(pa.float64())


def _hide(rng: random.Random, array: pa.Array, delta_type: DeltaType) -> pa.Array:
    """Set some values to null without changing the data under them."""
    share = rng.choice([0.0, 0.3, 1.0])
    null = np.array([rng.random() < share for _ in range(len(array))], bool)
    if isinstance(delta_type, Struct):
        children = [array.field(i) for i in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(array.type), mask=pa.array(null))
    if isinstance(delta_type, Map):
        return pa.MapArray.from_arrays(array.offsets, array.keys, array.items, mask=pa.array(null))
    if isinstance(delta_type, Array):
        return type(array).from_arrays(array.offsets, array.values, mask=pa.array(null))
    bits = np.packbits(~null, bitorder="little")
    return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(bits), *array.buffers()[1:]])


def random_batch(schema: TableSchema, rows: int, seed: int, *, unfit: bool = False) -> pa.RecordBatch:
    """Make a batch that fits the table, or with nulls also where it must have none; the same for the same seed."""
    rng = random.Random(seed)
    large = rng.random() < 0.5
    columns = [
        random_array(rng, column.type, rows, nulls=column.nullable, large=large, unfit=unfit)
        for column in schema.columns
    ]
    return pa.RecordBatch.from_arrays(columns, [column.name for column in schema.columns])
