"""Rows of every kind to columns: dicts, NamedTuples, dataclasses and Beam's Rows, with names in any case."""

from __future__ import annotations

import dataclasses
import typing

import apache_beam as beam
import pandas as pd
import pyarrow as pa
import pytest

from tests.batching.conversion import convert


class Reading(typing.NamedTuple):
    id: int
    name: str | None = None


class Shuffled(typing.NamedTuple):
    NAME: str
    id: int


@dataclasses.dataclass(slots=True)
class Slotted:
    id: int
    name: str | None = None


def unset(row: Slotted) -> Slotted:
    del row.name
    return row


class Wider(typing.NamedTuple):
    id: int
    name: str
    extra: int


@pytest.mark.parametrize(
    "elements",
    [
        [Reading(1, "a"), Reading(2)],
        [Shuffled("a", 1), Shuffled(None, 2)],
        [Slotted(1, "a"), Slotted(2)],
        [Slotted(1, "a"), unset(Slotted(2))],
        [beam.Row(id=1, name="a"), beam.Row(id=2, name=None)],
        [beam.Row(id=1, name="a"), {"id": 2}],
        [{"id": 1, "name": "a"}, {"ID": 2}],
        [Reading(1, "a"), Slotted(2)],
    ],
)
def test_every_kind_of_row(elements):
    converted = convert("row", "id BIGINT NOT NULL, name STRING", elements)
    assert converted.batch.to_pylist() == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert converted.rejected == ()


def test_rows_whose_fields_are_named_like_methods():
    row = beam.Row(as_dict=1, _asdict=2, count=3)
    assert convert("row", "as_dict INT, _asdict INT, count INT", [row]).batch.to_pylist() == [
        {"as_dict": 1, "_asdict": 2, "count": 3}
    ]


@pytest.mark.parametrize(
    "elements",
    [
        [{"id": 1, "name": "a", "extra": 1}],
        [{"id": 1, "extra": 1}],
        [beam.Row(id=1, extra=2)],
        [Wider(1, "a", 2)],
    ],
)
def test_unknown_fields_are_never_dropped_unless_ignored(elements):
    rejected = convert("row", "id BIGINT, name STRING", elements)
    assert [e.error_type for e in rejected.rejected] == ["unknown_field"]
    assert "'extra'" in rejected.rejected[0].message
    assert 'on_unknown_fields="ignore"' in rejected.rejected[0].message
    ignored = convert("row", "id BIGINT, name STRING", elements, ignore_unknown_fields=True)
    assert ignored.rejected == ()
    assert ignored.batch.column("id").to_pylist() == [1]


def test_only_rows_with_unknown_fields_are_rejected():
    elements = [{"id": 1}, {"id": 2, "x": 1}, {"id": 3, "name": None}, {"id": 4, "name": "a", "Y": 1}]
    converted = convert("row", "id BIGINT, name STRING", elements)
    assert converted.rows.tolist() == [0, 2]
    assert ["'x'" in e.message or "'Y'" in e.message for e in converted.rejected] == [True, True]


def test_a_swapped_key_is_noticed_though_the_count_is_right():
    converted = convert("row", "id BIGINT, name STRING", [{"id": 1, "name": "a"}, {"id": 2, "nmae": "b"}])
    assert [e.index for e in converted.rejected] == [1]


@pytest.mark.parametrize("element", [None, 5, "text", b"bytes", [1], (1, 2), object(), int])
def test_an_element_that_is_not_a_row_is_rejected(element):
    converted = convert("row", "id BIGINT", [{"id": 1}, element])
    assert [(e.index, e.error_type) for e in converted.rejected] == [(1, "wrong_type")]
    assert type(element).__name__ in converted.rejected[0].message


@pytest.mark.parametrize("many", [pd.DataFrame({"c": [1, 2]}), pa.table({"c": [1, 2]})])
def test_many_rows_as_one_element_fail_with_the_remedy(many):
    (error,) = convert("row", "c INT", [many]).rejected
    assert error.message == (
        f"an element is one row: a value of Python type {type(many).__name__} holds many; pass pyarrow.table(value), "
        "not in a list, or its rows"
    )
