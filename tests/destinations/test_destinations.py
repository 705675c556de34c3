"""The table of each row: templates, functions, and what makes a row's destination a bad one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beam_zerobus import ConfigurationError
from beam_zerobus.batching import parsed_rows
from beam_zerobus.destinations import KeptFields, destination_of
from tests.schema.odd_values import null_view

VALUES = st.one_of(st.none(), st.sampled_from(["a", "b", "a_b", "b_a", "eu.x", "nö", "", "1"]))
NUMBERS = st.one_of(st.none(), st.integers(0, 12))
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"a": VALUES, "n": NUMBERS, "in": st.one_of(st.none(), st.fixed_dictionaries({"b": VALUES, "n": NUMBERS}))}
    ),
    max_size=30,
)
ARROW = pa.schema(
    {"a": pa.string(), "n": pa.int16(), "in": pa.struct({"b": pa.string(), "n": pa.int8()}), "row": pa.int64()}
)
FIELDS = ["{a}", "{n}", "{in.b}", "{in.n}", "{missing}"]
TEMPLATES = st.lists(st.sampled_from([*FIELDS, "x", "_", "main.", "iot."]), min_size=1, max_size=6).map("".join)


def by_loop(template: str, records: list[dict[str, Any]]) -> tuple[dict[str, list[int]], list[int]]:
    """Return positions by table, and those without one: row by row, as one reads a template."""
    tables: dict[str, list[int]] = {}
    bad = []
    for position, record in enumerate(records):

        def value(found: re.Match[str], record: Any = record) -> str:
            for name in found[1].split("."):
                record = (record or {}).get(name)
            return " " if record is None else str(record)

        name = re.sub(r"\{([^}]+)\}", value, template)
        if re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_]+", name):
            tables.setdefault(name, []).append(position)
        else:
            bad.append(position)
    return tables, bad


def plain(split: Any) -> tuple[list[tuple[str, list[int]]], list[int]]:
    tables = [(name, [int(position) for position in positions]) for name, positions in split.tables.items()]
    return tables, [error.index for error in split.bad]


def in_order(expected: tuple[dict[str, list[int]], list[int]]) -> tuple[list[tuple[str, list[int]]], list[int]]:
    return list(expected[0].items()), expected[1]


@given(template=TEMPLATES, records=RECORDS)
def test_every_kind_of_rows_is_split_as_by_a_plain_loop(template, records):
    assume("{" in template and template.count(".") - template.count("{in.") <= 2)
    destination = destination_of(template)
    expected = in_order(by_loop(template, records))
    assert plain(destination.split(records)) == expected
    assert plain(destination.split(parsed_rows([json.dumps(record) for record in records])[0])) == expected
    assert plain(destination.split([beam.Row(**record) for record in records])) == expected
    table = pa.Table.from_pylist([{**record, "row": n} for n, record in enumerate(records)], ARROW)
    assert plain(destination.split_batch(table)) == expected
    for batch in table.to_batches():
        assert plain(destination.split_batch(batch)) == expected


@given(records=RECORDS, cut=st.integers(0, 30))
def test_slices_and_chunks_are_split_as_whole_tables(records, cut):
    destination = destination_of("main.{a}.t_{in.n}")
    table = pa.Table.from_pylist(records, ARROW)
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert plain(destination.split_batch(chunked)) == plain(destination.split(records))
    assert plain(destination.split_batch(table.slice(cut))) == plain(destination.split(records[cut:]))


class Reading(NamedTuple):
    region: str


@dataclass
class Measure:
    region: str


@dataclass
class Unset:
    region: str = field(init=False)


@pytest.mark.parametrize(
    "record",
    [
        {"region": "eu"},
        beam.Row(region="eu"),
        Reading("eu"),
        Measure("eu"),
        {"region": np.str_("eu")},
    ],
)
def test_records_of_any_kind(record):
    assert plain(destination_of("main.{region}.t").split([record])) == ([("main.eu.t", [0])], [])


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_text_columns_of_any_kind(kind):
    column = pa.array(["eu", None, "us", "eu"], pa.string()).cast(kind)
    split = destination_of("main.{region}.t").split_batch(pa.record_batch({"region": column}))
    assert plain(split) == ([("main.eu.t", [0, 3]), ("main.us.t", [2])], [1])


@pytest.mark.parametrize("others", [[], [b"eu", None]])
def test_text_that_is_not_utf8_has_no_table(others):
    column = pa.array([b"\xff", *others], pa.binary()).view(pa.string())
    split = destination_of("main.{region}.t").split_batch(pa.record_batch({"region": column}))
    assert [*split.tables] == ["main.eu.t"][: len(others)]
    assert split.bad[0].message.endswith("needs the field 'region', which is not UTF-8 in the row: correct it")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "'region', which is missing from the row"),
        (Unset(), "'region', which is missing from the row"),
        ({"region": None}, "'region', which is null"),
        ({"region": 1.5}, "it has the type float"),
        ({"region": True}, "it has the type bool"),
        ({"region": ["eu"]}, "it has the type list"),
        ({"region": "s3cr3t!"}, "catalog.schema.table"),
        (7, "'region', which is missing from the row"),
    ],
)
def test_a_row_without_a_table_has_a_reason_that_shows_no_value(record, words):
    (error,) = destination_of("main.{region}.t").split([record]).bad
    assert (error.error_type, error.stage) == ("invalid_table", "destination")
    assert "table='main.{region}.t'" in error.message
    assert words in error.message
    assert "s3cr3t" not in error.message


def test_equal_keys_of_different_types_are_not_mixed():
    split = destination_of("main.iot.t{n}").split([{"n": 1}, {"n": True}, {"n": 1.0}, {"n": "1"}, {"n": np.int8(1)}])
    assert plain(split) == ([("main.iot.t1", [0, 3, 4])], [1, 2])


NUMBERS_IN_JSON = {
    "7": "7",
    "-0": "0",
    str(2**63): str(2**63),
    str(2**64): None,
    "1.0": None,
    "1e999": None,
}


@pytest.mark.parametrize("others", [[], ["{"]], ids=["alone", "beside text that is not JSON"])
@pytest.mark.parametrize("number", NUMBERS_IN_JSON)
def test_a_number_in_json_names_the_same_table_beside_any_other_element(number, others):
    """Elements that orjson rejects have all of a chunk read by Python's parser."""
    records, errors = parsed_rows([f'{{"t": {number}}}', *others])
    assert [error.error_type for error in errors] == ["invalid_json"] * len(others)
    split = destination_of("main.iot.t{t}").split(records[:1])
    name = NUMBERS_IN_JSON[number]
    assert plain(split) == (([(f"main.iot.t{name}", [0])], []) if name else ([], [0]))


def test_a_function_chooses_and_its_failures_concern_one_row():
    def table_of(element):
        return "main.iot." + {1: "a", 2: "not a name", 3: 3}[element["id"]]

    destination = destination_of(table_of)
    split = destination.split([{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}, {"id": 1}])
    assert plain(split) == ([("main.iot.a", [0, 4])], [1, 2, 3])
    assert [error.message.partition(":")[0] for error in split.bad][1:] == [
        "table=table_of() raised TypeError for this row",
        "table=table_of() raised KeyError for this row",
    ]
    batch = pa.record_batch({"id": [1, 1]})
    assert plain(destination_of(lambda rows: f"main.iot.t{rows.num_rows}").split_batch(batch)) == (
        [("main.iot.t2", [0, 1])],
        [],
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("main.{region.t", "curly bracket"),
        ("main.}.t", "curly bracket"),
        ("main.{}.t", "curly bracket"),
        ("main.{a..b}.t", "without a name"),
        ("main.a b{x}.t", "ASCII"),
        ("a.b.c.{x}", "more than 3 parts"),
        ("main.{$YYYY}.t", "of its window"),
        ("iot.air", "has 2 parts"),
        (7, "has the type int"),
    ],
)
def test_a_wrong_template_is_found_at_once(table, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        destination_of(table)


def test_fields_that_are_kept_or_dropped_in_any_case():
    records = [{"Region": "eu", "co2": 1}, {"kind": "x", "CO2": 2}]
    batch = pa.record_batch({"REGION": ["eu"], "co2": [1]})
    kept, dropped = KeptFields.of(["co2"], None), KeptFields.of(None, ["region", "KIND"])
    assert kept.of_dicts(records) == dropped.of_dicts(records) == [{"co2": 1}, {"CO2": 2}]
    assert kept.of_batch(batch).schema.names == dropped.of_batch(pa.table(batch)).schema.names == ["co2"]
    assert KeptFields.of(None, []) is None
    with pytest.raises(ConfigurationError, match="keep=... and drop=... are both given"):
        KeptFields.of(["a"], ["b"])


def test_the_view_of_a_null_is_not_followed():
    split = destination_of("main.{region}.t").split_batch(pa.record_batch({"region": null_view(pa.string_view())}))
    assert plain(split) == ([("main.c.t", [2])], [0, 1])
