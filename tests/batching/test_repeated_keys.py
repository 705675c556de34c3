"""Keys and names of a row that are equal once they are written: the row is rejected, and no value is lost silently."""

from __future__ import annotations

import enum
import json
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import parsed_rows
from beam_zerobus.batching.json_objects import json_text, parse_strictly
from beam_zerobus.batching.new_fields import fields_to_add
from beam_zerobus.batching.repeated_keys import may_repeat_keys
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.unique_keys import RepeatedKeyError
from tests.batching.conversion import convert

GOOD = '{"i": 1}'


class Colour(enum.Enum):
    RED = "rot"


class Other(enum.Enum):
    RED = "rot"
    ONE = 1


class Tone(enum.StrEnum):
    LOW = "low"


class Both(NamedTuple):
    i: int
    I: int  # noqa: E741 - the same name to Delta


class Text(str):
    """Text that is equal to no other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({Colour.RED: 1, "rot": 2}, "rot"),
        ({Colour.RED: 1, Other.RED: 2}, "rot"),
        ([{"a": ({"b": {"rot": 1, Colour.RED: None}},)}], "rot"),
        ({1: "a", "1": "b"}, "1"),
        ({Other.ONE: "a", "1": "b"}, "1"),
        ({"a": {True: 1, "true": 2}}, "true"),
        ({None: 1, "null": 2}, "null"),
        ({np.datetime64("NaT"): 1, "null": 2, "e": Colour.RED}, "null"),
        ({0.5: 1, "0.5": 2}, "0.5"),
        ({Text("a"): 1, Text("a"): 2}, "a"),
        ({Text("k" * 100): 1, "k" * 100: 2}, "k" * 64),
    ],
)
def test_a_variant_with_two_keys_that_are_equal_as_text_is_rejected_alone(value, key):
    converted = convert("row", "i INT, v VARIANT", [{"i": 0, "v": {"rot": 2}}, {"i": 1, "v": value}])
    assert converted.batch.to_pylist() == [{"i": 0, "v": '{"rot":2}'}]
    (error,) = converted.rejected
    kind = type(value).__name__
    assert (error.index, error.error_type) == (1, "invalid_json")
    assert error.message == (
        f"column 'v' is VARIANT: a value of Python type {kind} has an object with the key {key!r} twice, "
        "as keys in JSON are text; drop one of them"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({Colour.RED: 1, "blue": Colour.RED}, '{"rot":1,"blue":"rot"}'),
        ({Tone.LOW: Tone.LOW, np.str_("b"): 2}, '{"low":"low","b":2}'),
        ({1: {2.5: None}, True + 1: [None]}, '{"1":{"2.5":null},"2":[null]}'),
        ({False: 1, None: 2, "false ": 10**40}, '{"false":1,"null":2,"false ":' + str(10**40) + "}"),
        ([{"a": 1}, {"a": 2}, ("a", {"a": {"a": 3}})], '[{"a":1},{"a":2},["a",{"a":{"a":3}}]]'),
        ({"a": 1, "A": 2}, '{"a":1,"A":2}'),
    ],
)
def test_a_variant_with_different_keys_of_any_type_is_written(value, text):
    converted = convert("row", "v VARIANT", [{"v": value}])
    assert (converted.batch.to_pylist(), converted.rejected) == ([{"v": text}], ())


names = st.sampled_from(["a", "b", "", '"', ":", '":', '" :', "\\", "é", "\t", "i"]) | st.text(max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.sampled_from([1.5, 1e300]) | names,
    lambda inner: st.lists(inner, max_size=2) | st.lists(st.tuples(names, inner), max_size=3).map(tuple),
    max_leaves=6,
)
objects = st.lists(st.tuples(names, values), max_size=4).map(tuple)


def written(value: Any, separators: tuple[str, str], *, escaped: bool) -> str:
    """Return JSON text; a tuple is the pairs of an object, which may have a key twice."""
    if isinstance(value, tuple):
        pairs = [
            (json.dumps(key, ensure_ascii=escaped), written(each, separators, escaped=escaped)) for key, each in value
        ]
        return "{" + separators[0].join(separators[1].join(pair) for pair in pairs) + "}"
    if isinstance(value, list):
        return "[" + separators[0].join(written(each, separators, escaped=escaped) for each in value) + "]"
    return json.dumps(value, ensure_ascii=escaped)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(objects, min_size=1, max_size=4),
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n", "\t:\r\n")]),
    st.booleans(),
    st.sampled_from([str, str.encode, lambda text: bytearray(text.encode())]),
)
@example([(("a", 1), ("a", 2))], (",", ":"), False, str)
@example([(("a", ()), ("b", (("a", ()), ("a", ()))))], (" ,", " :"), True, str)
def test_an_element_is_rejected_exactly_if_an_object_has_a_key_twice(rows, separators, escaped, encode):
    elements = [encode(written(row, separators, escaped=escaped)) for row in rows]
    bad = []
    for index, element in enumerate(elements):
        try:
            parse_strictly(element)
        except RepeatedKeyError:
            bad.append(index)
    parsed, errors = parsed_rows(elements)
    assert [(error.index, error.error_type) for error in errors] == [(index, "invalid_json") for index in bad]
    for index, element in enumerate(elements):
        assert index in bad or json.loads(json_text(parsed[index])) == json.loads(element)


@pytest.mark.parametrize(
    "text",
    [
        r'{"a\u0022:":1,"b":1,"b":2}',  # without a look at escapes these have as many colons as their objects' text
        r'{"x":"\u0022:","b":1,"b":2}',
        r'{"x":"\u003a","b":1,"b":2}',
        r'{"x":"\u003A","b":1,"b":2}',
        r'{"x":"\"\u0020:","b" :1,"b":2}',
    ],
)
def test_escapes_do_not_hide_a_key(text):
    assert may_repeat_keys([text], [orjson.loads(text)])
    assert [error.index for error in parsed_rows([GOOD, text])[1]] == [1]


@pytest.mark.parametrize("extra", ["", ", price DECIMAL(20,2)", ", extra STRUCT<v: VARIANT>"])
@pytest.mark.parametrize(
    ("element", "key"),
    [
        ('{"i": 1, "i": 2}', "i"),
        ('{"i": 1.50, "i": 2}', "i"),
        ('{"i": 1, "v": {"a": 1.0, "a": 2.50}}', "a"),
        ('{"i": 1, "v": [[{"b": {}, "b": {}}]]}', "b"),
        ('{"i": 1, "s": {"x": 1, "x": 1}}', "x"),
        ('{"i": 1, "m": {"k": 1, "l": 2, "k": 3}}', "k"),
        ('{"i": 1, "i": 1, "new": 1}', "i"),
        (r'{"i": 1, "\u0069": 2}', "i"),
    ],
)
def test_json_with_a_key_twice_is_rejected_alone(extra, element, key):
    ddl = f"i INT, v VARIANT, s STRUCT<x: INT>, m MAP<STRING, INT>{extra}"
    for ignored in (False, True):
        converted = convert("json", ddl, [GOOD, element, GOOD], ignore_unknown_fields=ignored)
        assert [row["i"] for row in converted.batch.to_pylist()] == [1, 1]
        assert [(error.index, error.error_type, error.message) for error in converted.rejected] == [
            (
                1,
                "invalid_json",
                f"an element of Python type str is JSON with the key {key!r} twice in one object; drop one",
            )
        ]


def test_json_with_a_key_twice_adds_no_column():
    schema = TableSchema.from_ddl("i INT")
    assert fields_to_add(['{"i": 1, "n": 1, "n": "a"}'], "json", schema) == []


@pytest.mark.parametrize("ignored", [False, True, "nulls"])
@pytest.mark.parametrize("other", [{"i": 2}, {}, {"i": 2, "new": None}])
@pytest.mark.parametrize("bad", [{"i": 1, "I": 5}, {"I": 1, "i": 5}, Both(1, 5)])
def test_names_that_differ_in_case_only_are_rejected_whatever_else_is_in_the_batch(ignored, other, bad):
    for elements in ([bad], [bad, other]):
        if "new" in other and ignored is False:
            continue
        converted = convert("row", "i INT", elements, ignore_unknown_fields=ignored)
        assert [(error.index, error.error_type, error.message) for error in converted.rejected] == [
            (0, "unknown_field", "column 'I' appears twice, as names in Delta are the same in any case; drop one")
        ]


def test_the_message_names_only_the_columns_that_appear_twice():
    (error,) = convert(
        "row", "i INT, other INT, s STRUCT<x: INT>", [{"Other": 1, "I": 2, "s": {"X": 1, "x": 2}}]
    ).rejected
    assert error.message == "column 's.X' appears twice, as names in Delta are the same in any case; drop one"
    (error,) = convert("row", "abc INT, other INT", [{"Other": 1, "ABC": 2, "Abc": 3}]).rejected
    assert error.message.startswith("columns 'ABC', 'Abc' appear twice, ")
