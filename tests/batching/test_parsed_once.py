"""JSON objects that were parsed to find their table become the same rows as those that are parsed for their columns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import RowConverter, RowOptions, parsed_rows
from beam_zerobus.schema import TableSchema

TABLES = {
    "digits do not matter": "a BIGINT, b DOUBLE, c STRING, rest STRING",
    "all digits": "a DECIMAL(38, 10), b DOUBLE, c STRING, rest STRING",
    "any JSON": "a VARIANT, b BIGINT, rest STRING",
}
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(-1000, 1000, places=9).map(str),
    st.sampled_from(["-0", "1e400", "1.50", "0.1", str(2**63), str(2**64)]),
)
VALUES = st.one_of(
    NUMBERS, st.text(max_size=3).map(json.dumps), st.sampled_from(["null", "true", '{"d": 1.10}', "[1]"])
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "A", "b", "c", "more"]), VALUES, max_size=4).map(
    lambda fields: "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
)
TEXTS = st.one_of(OBJECTS, OBJECTS.map(str.encode), st.sampled_from(["{", "[]", "7"]))


def as_shown(rejected):
    """Return errors without one difference: a whole number beyond 64 bits is a float to the parser that is faster."""
    return [replace(error, message=error.message.replace("Python type int", "Python type float")) for error in rejected]


@pytest.mark.parametrize("rescue_column", [None, "rest"])
@pytest.mark.parametrize("ddl", TABLES.values(), ids=TABLES)
@settings(max_examples=12)
@given(texts=st.lists(TEXTS, max_size=6))
@example(
    texts=[f'{{"a": 0, "c": {number}}}' for number in (2**64, 2**64 - 1, -(2**63), -(2**63) - 1, "1e400", "9" * 400)]
)
def test_they_become_the_same_rows(ddl, rescue_column, texts):
    records, bad = parsed_rows(texts)
    not_objects = {error.index for error in bad}
    good = [n for n in range(len(texts)) if n not in not_objects]
    elements = [texts[n] for n in good]
    converter = RowConverter(TableSchema.from_ddl(ddl), RowOptions(rescue_column=rescue_column))
    at_once, parsed = (
        converter.convert(elements, "json"),
        converter.convert(elements, "json", [records[n] for n in good]),
    )
    assert parsed.batch.equals(at_once.batch)
    assert as_shown(parsed.rejected) == as_shown(at_once.rejected)
