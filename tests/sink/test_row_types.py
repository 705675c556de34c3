"""Beam row types as table schemas."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from collections.abc import Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints import schemas, typehints
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus import ConfigurationError
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.row_types import has_no_columns, row_type_schema


class Point(NamedTuple):
    x: float
    y: float | None


@dataclasses.dataclass(frozen=True)
class Tag:
    key: str
    weight: np.float32


class Everything(NamedTuple):
    flag: bool
    tiny: np.int8
    small: np.int16 | None
    whole: np.int32
    big: int
    single: np.float32
    ratio: float | None
    text: str
    raw: bytes
    price: decimal.Decimal
    day: dt.date
    seen: dt.datetime
    beamed: Timestamp
    names: list[str]
    maybe: Sequence[int | None]
    counts: dict[str, int]
    place: Point | None
    tags: list[Tag]


def test_a_class_of_rows_inside_a_row_type_has_its_own_annotations():
    inside = RowTypeConstraint.from_fields([("place", Point)])  # Beam wraps Point, whose annotations are text here
    assert TableSchema.from_arrow(row_type_schema(inside)).to_ddl() == (
        "place STRUCT<x: DOUBLE NOT NULL, y: DOUBLE> NOT NULL"
    )


def test_every_type_of_a_row_type():
    assert TableSchema.from_arrow(row_type_schema(Everything)).to_ddl() == (
        "flag BOOLEAN NOT NULL, tiny TINYINT NOT NULL, small SMALLINT, whole INT NOT NULL, big BIGINT NOT NULL, "
        "single FLOAT NOT NULL, ratio DOUBLE, text STRING NOT NULL, raw BINARY NOT NULL, "
        "price DECIMAL(38,18) NOT NULL, day DATE NOT NULL, seen TIMESTAMP NOT NULL, beamed TIMESTAMP NOT NULL, "
        "names ARRAY<STRING> NOT NULL, maybe ARRAY<BIGINT> NOT NULL, counts MAP<STRING, BIGINT> NOT NULL, "
        "place STRUCT<x: DOUBLE NOT NULL, y: DOUBLE>, "
        "tags ARRAY<STRUCT<key: STRING NOT NULL, weight: FLOAT NOT NULL>> NOT NULL"
    )


def test_beams_own_type_constraints_and_logical_types():
    row = RowTypeConstraint.from_fields(
        [
            ("id", np.int64),
            ("maybe", typehints.Optional[str]),
            ("list", typehints.List[int]),
            ("instant", schemas.MillisInstant),
            ("code", schemas.FixedString(3)),
            ("price", schemas.FixedPrecisionDecimalLogicalType(10, 2)),
        ]
    )
    assert TableSchema.from_arrow(row_type_schema(row)).to_ddl() == (
        "id BIGINT NOT NULL, maybe STRING, list ARRAY<BIGINT> NOT NULL, instant TIMESTAMP NOT NULL, "
        "code STRING NOT NULL, price DECIMAL(10,2) NOT NULL"
    )


@pytest.mark.parametrize("hint", [Any, object, int | str, list, dt.time, type(None), tuple[int, str]])
def test_a_type_without_a_column_type_is_named_by_its_path(hint):
    outer = RowTypeConstraint.from_fields([("inner", RowTypeConstraint.from_fields([("field", hint)]))])
    with pytest.raises(
        ConfigurationError, match=r"Field inner\.field has the type .* give WriteToZerobus\(schema=\.\.\.\)"
    ):
        row_type_schema(outer)


@pytest.mark.parametrize(
    ("hint", "never"),
    [
        (dict, True),
        (dict[str, Any], True),
        (str, True),
        (bytes, True),
        (pa.RecordBatch, False),
        (pa.Table, False),
        (Any, False),
        (typehints.Any, False),
        (typehints.Dict[str, int], True),
        (Point, False),
    ],
)
def test_which_types_never_declare_columns(hint, never):
    assert has_no_columns(hint) == never
    assert row_type_schema(hint) is None or hint is Point


def reading(i: int) -> Everything:
    return Everything(
        flag=True, tiny=np.int8(i), small=None, whole=np.int32(i), big=i, single=np.float32(0.5), ratio=None, text="x",
        raw=b"\0", price=decimal.Decimal("1.5"), day=dt.date(2024, 1, i + 1),
        seen=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), beamed=Timestamp(i), names=["a"], maybe=[1, 2], counts={"k": i},
        place=Point(1.0, None), tags=[Tag("t", np.float32(1))],
    )  # fmt: skip


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_rows_with_a_type_need_no_other_schema(emulator, sink, run, wire_format):
    table = emulator.create_table("main.iot.air", TableSchema.from_arrow(row_type_schema(Everything)).to_ddl())

    def build(pipeline):
        rows = pipeline | beam.Create(range(10)) | beam.Map(reading).with_output_types(Everything)
        result = rows | sink(wire_format=wire_format, schema="elements")
        assert_that(result.failed_rows, equal_to([]))

    run(build)
    rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["big"])
    assert [row["big"] for row in rows] == list(range(10))
    assert rows[3]["beamed"] == dt.datetime.fromtimestamp(3, dt.UTC)
    assert rows[3]["counts"] == [("k", 3)]
    assert rows[3]["place"] == {"x": 1.0, "y": None}
    assert rows[3]["price"] == decimal.Decimal("1.5")
    assert rows[3]["tags"] == [{"key": "t", "weight": 1.0}]
    assert emulator.stats.tokens_issued == 1, "Unity Catalog was asked, which would take a token of its own"
