"""Random tables, and for each type the Arrow types that fit it, with values that fit and values that do not."""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema

names = st.text("abcdXYZ_019", min_size=1, max_size=6)
comments = st.none() | st.sampled_from(["", "a", "it's", "\\", "two\nlines", '"é`'])
decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: Decimal(p, s)))
leaves = st.sampled_from(list(Primitive)) | decimals


def field_lists(types: st.SearchStrategy[DeltaType], *, max_size: int = 5) -> st.SearchStrategy[tuple[Field, ...]]:
    parts = st.lists(
        st.tuples(names, types, st.booleans(), comments),
        min_size=1,
        max_size=max_size,
        unique_by=lambda p: p[0].lower(),
    )
    return parts.map(
        lambda found: tuple(
            Field(name=name, type=delta_type, nullable=nullable, number=number, comment=comment)
            for number, (name, delta_type, nullable, comment) in enumerate(found, start=1)
        )
    )


def delta_types(inner_null: st.SearchStrategy[bool]) -> st.SearchStrategy[DeltaType]:
    """Types of any depth; DDL cannot say that elements are never null, so `inner_null` decides."""
    return st.recursive(
        leaves,
        lambda types: st.one_of(
            st.builds(Array, types, inner_null),
            st.builds(Map, types.filter(lambda t: not isinstance(t, Map)), types, inner_null),
            st.builds(Struct, field_lists(types, max_size=3)),
        ),
        max_leaves=5,
    )


def schemas(inner_null: st.SearchStrategy[bool] = st.booleans()) -> st.SearchStrategy[TableSchema]:  # noqa: B008
    return st.builds(TableSchema, field_lists(delta_types(inner_null)))


def without_comments(delta_type: Any) -> Any:
    """The type as Arrow keeps it."""
    match delta_type:
        case Struct(fields):
            return Struct(tuple(bare(field) for field in fields))
        case Array(element, contains_null):
            return Array(without_comments(element), contains_null)
        case Map(key, value, value_contains_null):
            return Map(without_comments(key), without_comments(value), value_contains_null)
        case Primitive.VARIANT:
            return Primitive.STRING
        case _:
            return delta_type


def bare(field: Field) -> Field:
    return Field(name=field.name, type=without_comments(field.type), nullable=field.nullable, number=field.number)


@dataclass(frozen=True)
class Case:
    """An Arrow type for a Delta type, values that fit, and values that do not with the reason they get."""

    delta_type: DeltaType
    arrow_type: pa.DataType
    good: st.SearchStrategy[Any]
    bad: st.SearchStrategy[tuple[Any, str]] | None = None


def _bad(values: st.SearchStrategy[Any], reason: str) -> st.SearchStrategy[tuple[Any, str]]:
    return values.map(lambda value: (value, reason))


_UTC = dt.UTC
_EPOCH = dt.datetime(1970, 1, 1)
_US = st.integers(-62135596800000000, 253402300799999999)
_MS = st.integers(-62135596800000, 253402300799999)
_S = st.integers(-62135596800, 253402300799)
_TOO_LATE = st.integers(253402300800000000, 2**63 - 1) | st.integers(-(2**63), -62135596800000001)
_text = st.text(st.characters(codec="utf-8"), max_size=8)
_json = st.sampled_from(["1", '"a"', "{}", '{"a":[1,null]}'])


def _integers(delta: Primitive, bits: int) -> list[Case]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    cases = []
    for size in (8, 16, 32, 64):
        for arrow, first, last in (
            (getattr(pa, f"int{size}")(), -(1 << size - 1), (1 << size - 1) - 1),
            (getattr(pa, f"uint{size}")(), 0, (1 << size) - 1),
        ):
            outside = [st.integers(high + 1, last)] if last > high else []
            outside += [st.integers(first, low - 1)] if first < low else []
            bad = _bad(st.one_of(outside), "out_of_range") if outside else None
            cases.append(Case(delta, arrow, st.integers(max(low, first), min(high, last)), bad))
    return cases


def _timestamps(delta: Primitive, zones: list[str | None]) -> list[Case]:
    cases = []
    for zone in zones:
        cases += [
            Case(delta, pa.timestamp("us", zone), _US, _bad(_TOO_LATE, "out_of_range")),
            Case(delta, pa.timestamp("ms", zone), _MS, _bad(st.integers(2**60, 2**63 - 1), "out_of_range")),
            Case(delta, pa.timestamp("s", zone), _S, _bad(st.integers(2**60, 2**63 - 1), "out_of_range")),
            Case(
                delta,
                pa.timestamp("ns", zone),
                st.integers(-(2**50), 2**50).map(lambda us: us * 1000),
                _bad(st.integers(-(2**60), 2**60).filter(lambda ns: ns % 1000), "inexact"),
            ),
        ]
    return cases


def _numbers(precision: int, scale: int) -> st.SearchStrategy[decimal.Decimal]:
    largest = 10**precision - 1
    return st.integers(-largest, largest).map(lambda n: decimal.Decimal(n).scaleb(-scale, decimal.Context(prec=80)))


_PRICE = Decimal(10, 2)
_too_large = st.integers(10**8, 10**12).map(decimal.Decimal)
_too_fine = st.integers(-(10**9), 10**9).filter(lambda n: n % 10).map(lambda n: decimal.Decimal(n).scaleb(-3))

leaf_cases = [
    *_integers(Primitive.TINYINT, 8),
    *_integers(Primitive.SMALLINT, 16),
    *_integers(Primitive.INT, 32),
    *_integers(Primitive.BIGINT, 64),
    Case(Primitive.FLOAT, pa.float16(), st.floats(width=16, allow_nan=False)),
    Case(Primitive.FLOAT, pa.float32(), st.floats(width=32, allow_nan=False)),
    Case(Primitive.FLOAT, pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    Case(
        Primitive.FLOAT,
        pa.int32(),
        st.integers(-(2**24), 2**24) | st.integers(-(2**24), 2**24 - 1).map(lambda n: n * 128),
        _bad(st.integers(2**24, 2**30 - 1).map(lambda n: 2 * n + 1), "inexact"),
    ),
    Case(Primitive.DOUBLE, pa.float32(), st.floats(width=32, allow_nan=False)),
    Case(Primitive.DOUBLE, pa.float64(), st.floats(allow_nan=False)),
    Case(
        Primitive.DOUBLE,
        pa.uint64(),
        st.integers(0, 2**53) | st.integers(0, 2**53 - 1).map(lambda n: n * 2048),
        _bad(st.integers(2**52, 2**63 - 1).map(lambda n: 2 * n + 1), "inexact"),
    ),
    Case(
        Primitive.DOUBLE,
        pa.int64(),
        st.integers(-(2**53), 2**53 - 1) | st.integers(-(2**53), 2**53 - 1).map(lambda n: n * 1024),
        _bad(st.integers(-(2**62), -(2**52) - 1).map(lambda n: 2 * n + 1), "inexact"),
    ),
    Case(Primitive.BOOLEAN, pa.bool_(), st.booleans()),
    *(Case(Primitive.STRING, arrow, _text) for arrow in (pa.string(), pa.large_string(), pa.string_view())),
    *(
        Case(Primitive.STRING, arrow, _text.map(str.encode), _bad(st.just(b"a\xff"), "invalid_utf8"))
        for arrow in (pa.binary(), pa.large_binary(), pa.binary_view())
    ),
    Case(
        Primitive.STRING, pa.binary(2), st.sampled_from([b"ab", b"\xc3\xa9"]), _bad(st.just(b"\xc3("), "invalid_utf8")
    ),
    *(Case(Primitive.BINARY, a, st.binary(max_size=5)) for a in (pa.binary(), pa.large_binary(), pa.binary_view())),
    Case(Primitive.BINARY, pa.binary(3), st.binary(min_size=3, max_size=3)),
    Case(Primitive.VARIANT, pa.string(), _json),
    Case(Primitive.VARIANT, pa.large_string(), _json),
    Case(
        Primitive.DATE,
        pa.date32(),
        st.integers(-719162, 2932896),
        _bad(st.integers(2932897, 2**31 - 1) | st.integers(-(2**31), -719163), "out_of_range"),
    ),
    Case(
        Primitive.DATE,
        pa.date64(),
        st.integers(-719162, 2932896).map(lambda day: day * 86_400_000),
        _bad(st.integers(-(10**12), 10**12).filter(lambda ms: ms % 86_400_000), "inexact"),
    ),
    *_timestamps(Primitive.TIMESTAMP, ["UTC", "Europe/Paris", "+05:30"]),
    *_timestamps(Primitive.TIMESTAMP_NTZ, [None]),
    Case(_PRICE, pa.decimal128(10, 2), _numbers(10, 2)),
    Case(_PRICE, pa.decimal128(7, 1), _numbers(7, 1)),
    Case(_PRICE, pa.decimal128(38, 3), _numbers(8, 1), _bad(_too_large, "out_of_range") | _bad(_too_fine, "inexact")),
    Case(_PRICE, pa.decimal256(60, 5), _numbers(8, 1), _bad(_too_large, "out_of_range") | _bad(_too_fine, "inexact")),
    Case(_PRICE, pa.decimal64(12, 2), _numbers(10, 2), _bad(st.just(decimal.Decimal("123456789.5")), "out_of_range")),
    Case(_PRICE, pa.decimal32(5, 3), _numbers(4, 2), _bad(st.just(decimal.Decimal("1.234")), "inexact")),
    Case(_PRICE, pa.int64(), st.integers(-(10**8) + 1, 10**8 - 1), _bad(st.integers(10**8, 2**63 - 1), "out_of_range")),
    Case(
        _PRICE,
        pa.string(),
        st.sampled_from(["1.5", "-0.25", "12345678.9", "1e3"]),
        _bad(st.sampled_from(["a", "", " 1", "1_000", "NaN"]), "invalid_text")
        | _bad(st.just("1.555"), "inexact")
        | _bad(st.just("123456789"), "out_of_range"),
    ),
    Case(Decimal(38, 0), pa.uint64(), st.integers(0, 2**64 - 1)),
    Case(Decimal(38, 38), pa.decimal128(38, 38), _numbers(38, 38)),
]
