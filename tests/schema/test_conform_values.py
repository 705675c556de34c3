"""`Conformer` compared with a plain Python implementation for single values."""

from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.schema import Array, Conformer, Decimal, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type
from tests.schema.strategies import Case, leaf_cases


def column(case_type, *, nullable=True, name="c", number=1):
    return Field(name=name, type=case_type, nullable=nullable, number=number)


def raw(values, arrow_type):
    """An array of the type; temporal types are given as numbers."""
    kind = pa.types
    if kind.is_temporal(arrow_type):
        width = pa.int32() if kind.is_date32(arrow_type) else pa.int64()
        return pa.array(values, width).view(arrow_type)
    if kind.is_float16(arrow_type):  # pyarrow before 21 accepts only numpy's
        values = [value if value is None else np.float16(value) for value in values]
    return pa.array(values, arrow_type)


def expected_value(value, case):
    """A good value in the table: for dates and timestamps the number since the epoch."""
    if value is None:
        return None
    arrow, delta = case.arrow_type, case.delta_type
    if pa.types.is_timestamp(arrow):
        scale = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(arrow.unit)
        return value // 1_000 if scale is None else value * scale
    if pa.types.is_date64(arrow):
        return value // 86_400_000
    if isinstance(delta, Decimal):
        return decimal.Decimal(value)
    if isinstance(value, bytes) and delta is Primitive.STRING:
        return value.decode()
    return value


def seen(array):
    """The array as plain values; dates and timestamps as numbers."""
    if pa.types.is_temporal(array.type):
        return array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64()).to_pylist()
    return array.to_pylist()


@st.composite
def leaf_columns(draw):
    """A case, and rows of (value, reason or None); the reason also covers NOT NULL."""
    case: Case = draw(st.sampled_from(leaf_cases))
    nullable = draw(st.booleans())
    good = case.good.map(lambda value: (value, None))
    null = st.just((None, None if nullable else "null_in_not_null_column"))
    rows = draw(st.lists(st.one_of(good, null, *([case.bad] if case.bad is not None else [])), max_size=12))
    return case, nullable, rows


@settings(deadline=None)
@given(leaf_columns(), st.integers(0, 3), st.sampled_from(["plain", "dictionary", "run_end", "extension"]))
def test_each_value_of_each_type_arrives_exactly_or_is_rejected(drawn, offset, wrapping):
    case, nullable, rows = drawn
    values = [value for value, _ in rows]
    array = raw([None] * offset + values, case.arrow_type)[offset:]
    if wrapping == "dictionary" and values and not pa.types.is_decimal256(case.arrow_type):
        array = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(values))), array)
    elif (
        wrapping == "run_end"
        and values
        and not (pa.types.is_date64(case.arrow_type) and any(reason for _, reason in rows))
    ):
        # pyarrow itself makes no run-end array of part of a day
        array = pa.RunEndEncodedArray.from_arrays(pa.array(np.arange(1, len(values) + 1)), array)
    elif wrapping == "extension":
        array = pa.ExtensionArray.from_storage(Wrapped(case.arrow_type), array)
    schema = TableSchema((column(case.delta_type, nullable=nullable),))
    conformed = Conformer(schema).conform(pa.RecordBatch.from_arrays([array], names=["c"]))

    bad = [(index, reason) for index, (_, reason) in enumerate(rows) if reason]
    assert [(error.index, error.error_type) for error in conformed.rejected] == bad
    kept = [index for index, (_, reason) in enumerate(rows) if not reason]
    assert (list(range(len(rows))) if conformed.rows is None else conformed.rows.tolist()) == kept
    conformed.batch.validate(full=True)
    out = conformed.batch.column(0)
    assert seen(out) == [expected_value(values[index], case) for index in kept]
    assert_canonical(out.type, case.delta_type)
    for error in conformed.rejected:
        assert error.stage == "schema"
        assert error.message.startswith("column 'c'")


class Wrapped(pa.ExtensionType):
    def __init__(self, storage):
        super().__init__(storage, "tests.wrapped")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(storage)


def assert_canonical(arrow_type, delta_type):
    if delta_type in (Primitive.STRING, Primitive.VARIANT):
        assert arrow_type in (pa.string(), pa.large_string())
    elif delta_type is Primitive.BINARY:
        assert arrow_type in (pa.binary(), pa.large_binary())
    elif isinstance(delta_type, Array):
        assert pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type)
        assert_canonical(arrow_type.value_type, delta_type.element)
    elif isinstance(delta_type, Map):
        assert_canonical(arrow_type.key_type, delta_type.key)
        assert_canonical(arrow_type.item_type, delta_type.value)
    elif isinstance(delta_type, Struct):
        assert [f.name for f in arrow_type] == [f.name for f in delta_type.fields]
        for arrow_field, field in zip(arrow_type, delta_type.fields, strict=True):
            assert_canonical(arrow_field.type, field.type)
    else:
        assert arrow_type == canonical_type(delta_type)


# Nested columns: the innermost INT may be int64 in Arrow, so that 2**40 is bad, and None is bad for NOT NULL.


@st.composite
def nested_types(draw, depth=3):
    kind = draw(st.sampled_from(["int", "array", "map", "struct"])) if depth else "int"
    if kind == "array":
        return Array(draw(nested_types(depth=depth - 1)), draw(st.booleans()))
    if kind == "map":
        return Map(Primitive.INT, draw(nested_types(depth=depth - 1)), draw(st.booleans()))
    if kind == "struct":
        return Struct(
            tuple(
                column(draw(nested_types(depth=depth - 1)), nullable=draw(st.booleans()), name=f"f{i}", number=i + 1)
                for i in range(draw(st.integers(1, 2)))
            )
        )
    return Primitive.INT


def incoming_type(draw, delta_type):
    """Any of the Arrow types that fit the nested type."""
    if isinstance(delta_type, Array):
        element = incoming_type(draw, delta_type.element)
        kinds = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda t: pa.list_(t, 2)]
        return draw(st.sampled_from(kinds))(element)
    if isinstance(delta_type, Map):
        return pa.map_(pa.int64(), incoming_type(draw, delta_type.value))
    if isinstance(delta_type, Struct):
        fields = [
            (f.name.upper() if i else f.name, incoming_type(draw, f.type)) for i, f in enumerate(delta_type.fields)
        ]
        return pa.struct(draw(st.permutations(fields)))
    return draw(st.sampled_from([pa.int64(), pa.int32()]))


def value_of(draw, delta_type, arrow_type, reasons, *, nullable):
    """A value; the errors in it are added to `reasons`."""
    if draw(st.integers(0, 5)) == 0:
        if not nullable:
            reasons.add("null_in_not_null_column")
        return None
    if isinstance(delta_type, Array):
        size = arrow_type.list_size if pa.types.is_fixed_size_list(arrow_type) else draw(st.integers(0, 2))
        return [
            value_of(draw, delta_type.element, arrow_type.value_type, reasons, nullable=delta_type.contains_null)
            for _ in range(size)
        ]
    if isinstance(delta_type, Map):
        pairs = []
        for key in range(draw(st.integers(0, 2))):
            big = draw(st.integers(0, 7)) == 0
            if big:
                reasons.add("out_of_range")
            value = value_of(
                draw, delta_type.value, arrow_type.item_type, reasons, nullable=delta_type.value_contains_null
            )
            pairs.append((2**40 + key if big else key, value))
        return pairs
    if isinstance(delta_type, Struct):
        types = {f.name.lower(): f for f in arrow_type}
        return {
            types[f.name].name: value_of(draw, f.type, types[f.name].type, reasons, nullable=f.nullable)
            for f in delta_type.fields
        }
    if arrow_type == pa.int64() and draw(st.integers(0, 7)) == 0:
        reasons.add("out_of_range")
        return 2**40
    return draw(st.integers(-5, 5))


def lower_keys(value):
    if isinstance(value, dict):
        return {key.lower(): lower_keys(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [lower_keys(inner) for inner in value]
    return value


@settings(deadline=None)
@given(st.data())
def test_nested_columns_lose_only_the_rows_that_are_bad_somewhere_inside(data):
    draw = data.draw
    delta_type = draw(nested_types())
    nullable = draw(st.booleans())
    arrow_type = incoming_type(draw, delta_type)
    rows, wrong = [], []
    for _ in range(draw(st.integers(0, 6))):
        reasons = set()
        rows.append(value_of(draw, delta_type, arrow_type, reasons, nullable=nullable))
        wrong.append(reasons)
    offset = draw(st.integers(0, 2))
    array = pa.array([None] * offset + rows, arrow_type)[offset:]
    batch = pa.RecordBatch.from_arrays([array], names=["C"])
    conformed = Conformer(TableSchema((column(delta_type, nullable=nullable),))).conform(batch)

    assert [error.index for error in conformed.rejected] == [i for i, reasons in enumerate(wrong) if reasons]
    for error in conformed.rejected:
        assert error.error_type in wrong[error.index]
    kept = [rows[i] for i, reasons in enumerate(wrong) if not reasons]
    conformed.batch.validate(full=True)
    assert lower_keys(conformed.batch.column(0).to_pylist()) == lower_keys(kept)
    assert_canonical(conformed.batch.column(0).type, delta_type)


@pytest.mark.parametrize("text", [pa.string(), pa.string_view(), pa.binary()])
def test_decoded_text_has_room_for_more_than_2_gib(text):
    values = pa.array(["x", "y"]).cast(text)
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), values)
    for column in (pa.DictionaryArray.from_arrays(pa.array([0, 1]), values), runs):
        conformed = Conformer(TableSchema.from_ddl("x STRING")).conform(pa.record_batch({"x": column}))
        assert (conformed.batch["x"].type, conformed.batch["x"].to_pylist()) == (pa.large_string(), ["x", "y"])
