"""JSON text to Variant and back: nothing is lost, whatever the shapes; what has no Variant is named."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.variant import MAX_DEPTH, VARIANT_TYPE, Problem, decode_variants, encode_json
from beam_zerobus.variant.layout import metadata_of
from beam_zerobus.variant.parse import parse_all
from beam_zerobus.variant.single_values import encode_value, keys_of

from .documents import DOCUMENTS, exact


def encode(texts: list[str | None]) -> pa.Array:
    variants, problems = encode_json(pa.array(texts, pa.large_string()))
    assert problems == {}
    variants.validate(full=True)
    assert variants.type == VARIANT_TYPE
    return variants


def singly(text: str) -> dict[str, bytes]:
    (value,) = parse_all([text.encode()], {})
    keys = sorted(keys_of(value))
    return {
        "metadata": metadata_of(keys),
        "value": encode_value(value, {key: number for number, key in enumerate(keys)}),
    }


@settings(max_examples=200)
@given(st.lists(st.none() | DOCUMENTS, max_size=6), st.integers(1, 15))
def test_nothing_is_lost_and_each_row_is_as_if_alone(texts: list[str | None], times: int) -> None:
    texts = texts * times  # repeated shapes are encoded together, rare ones singly
    variants = encode(texts)
    assert [exact(text) for text in decode_variants(variants).to_pylist()] == [exact(text) for text in texts]
    assert variants.to_pylist() == [text if text is None else singly(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", "00"),
        ("true", "04"),
        ("false", "08"),
        ("0", "0c 00"),
        ("-128", "0c 80"),
        ("128", "10 80 00"),
        ("32768", "14 00 80 00 00"),
        ("2147483648", "18 00 00 00 80 00 00 00 00"),
        ("9223372036854775808", "28 00 00 00 00 00 00 00 00 80 00 00 00 00 00 00 00 00"),
        ("0.0", "20 01 00 00 00 00"),
        ("1.50", "20 02 96 00 00 00"),
        ("-1.5", "20 01 f1 ff ff ff"),
        ("1234567890.1", "24 01 35 1c dc df 02 00 00 00"),
        ("0.0000000001", "24 0a 01 00 00 00 00 00 00 00"),
        ("-0.0", "1c 00 00 00 00 00 00 00 80"),
        ("1e3", "1c 00 00 00 00 00 40 8f 40"),
        ('""', "01"),
        ('"é"', "09 c3 a9"),
        ("[]", "03 00 00"),
        ("{}", "02 00 00"),
        ("[1,[]]", "03 02 00 02 05 0c 01 03 00 00"),
    ],
)
@pytest.mark.parametrize("times", [1, 30])
def test_the_smallest_type_that_is_exact(text: str, value: str, times: int) -> None:
    assert encode([text] * times).field("value").to_pylist() == [bytes.fromhex(value)] * times


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", Problem.NOT_JSON),
        (" ", Problem.NOT_JSON),
        ("1,", Problem.NOT_JSON),
        ("],[", Problem.NOT_JSON),
        ("{", Problem.NOT_JSON),
        ("NaN", Problem.NOT_JSON),
        ("-Infinity", Problem.NOT_JSON),
        ("1,2", Problem.NOT_JSON),
        ("[1", Problem.NOT_JSON),
        ("2]", Problem.NOT_JSON),
        ("01", Problem.NOT_JSON),
        ("'a'", Problem.NOT_JSON),
        ('"\n"', Problem.NOT_JSON),
        ("\ufeff1", Problem.NOT_JSON),
        ("nul", Problem.NOT_JSON),
        ('{"a":1,"a":1}', Problem.DUPLICATE_KEY),
        ('[{"a":{"b":1, "b":2}}]', Problem.DUPLICATE_KEY),
        ('{"a":1,"\\u0061":2}', Problem.DUPLICATE_KEY),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), Problem.TOO_DEEP),
        ('{"a":' * 200 + "1" + "}" * 200, Problem.TOO_DEEP),
        ("[" * 100_000 + "]" * 100_000, Problem.TOO_DEEP),
        ("1e400", Problem.INEXACT),
        ("1e-400", Problem.INEXACT),
        ("1e99999999999999999999", Problem.INEXACT),
        ("9" * 39, Problem.INEXACT),
        ("9" * 5_000, Problem.INEXACT),
        ("0." + "1" * 39, Problem.INEXACT),
        ('[{"pi":3.14159265358979323846264338327950288419716939937510}]', Problem.INEXACT),
        ('"\\ud800"', Problem.LONE_SURROGATE),
        ('{"\\udc00":1}', Problem.LONE_SURROGATE),
    ],
)
@pytest.mark.parametrize("times", [1, 30])
def test_a_text_without_a_variant_is_alone_in_that(text: str, problem: Problem, times: int) -> None:
    good = ['{"a":1,"b":[true]}', '{"b":"x","a":null}', "3", None]
    variants, problems = encode_json(pa.array(([*good, text]) * times))
    assert problems == {position * 5 + 4: problem for position in range(times)}
    texts = decode_variants(variants).to_pylist()
    assert [exact(text) for text in texts] == [exact(text) for text in ([*good, None]) * times]
    variants, problems = encode_json(pa.array([text] * times))
    assert (variants.null_count, problems) == (times, dict.fromkeys(range(times), problem))


def test_texts_that_are_json_only_together_are_rejected_singly() -> None:
    """The parser reads many texts in one call; none of these may count as two values, or as half of one."""
    texts = ["1,2", '{"x":[{"a":1}', '{"b":2}', '{"c":3}]}', "[1", "2]", "3"]
    variants, problems = encode_json(pa.array(texts))
    assert problems == dict.fromkeys((0, 1, 3, 4, 5), Problem.NOT_JSON)
    assert decode_variants(variants).to_pylist() == [None, None, '{"b":2}', None, None, None, "3"]


@pytest.mark.parametrize("digits", ["1" + "0" * 40, "5e-324", "1.7976931348623157e308", "0." + "0" * 40 + "5"])
def test_a_number_beyond_38_digits_is_a_double_if_that_is_exact(digits: str) -> None:
    (text,) = decode_variants(encode([digits])).to_pylist()
    assert exact(text) == exact(digits)
    assert encode([digits]).field("value")[0].as_py()[0] == 7 << 2


@pytest.mark.parametrize("depth", [1, 60, MAX_DEPTH])
def test_depth_up_to_the_limit(depth: int) -> None:
    texts = ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth] * 15
    assert decode_variants(encode(texts)).to_pylist() == texts


def test_numbers_of_keys_elements_and_bytes_that_need_wider_offsets() -> None:
    random.seed(5)
    documents = [
        {f"k{number:04}": number for number in range(count)} | {"z": ["x" * size] * elements}
        for count in (0, 1, 70, 255, 256, 300)
        for size, elements in ((0, 0), (10, 255), (10, 256), (300, 300))
    ]
    huge = [{"k0001": ["x" * 70_000] * 250}]
    texts = [json.dumps(document) for document in documents * 2 + huge] + [json.dumps({"k0299": 1})] * 20
    random.shuffle(texts)
    variants = encode(texts)
    assert [json.loads(text) for text in decode_variants(variants).to_pylist()] == list(map(json.loads, texts))
    assert variants.to_pylist() == list(map(singly, texts))


def test_many_shapes_in_one_column() -> None:
    """More sets of keys than a number has bits, some often and some once."""
    often = [{f"a{shape}": shape, "b": [{f"c{shape % 90}": None}]} for shape in range(150)] * 15
    once = [{f"d{number}": {"e": number}, "b": [{"c1": number}]} for number in range(200)]
    texts = [json.dumps(document) for document in often + once]
    random.Random(3).shuffle(texts)
    variants = encode(texts)
    assert variants.to_pylist() == list(map(singly, texts))


def test_slices_binaries_and_batches_of_several_chunks() -> None:
    texts = [None if number % 7 == 0 else f'{{"n":{number},"t":"{number}"}}' for number in range(10_000)]
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        array = pa.array(texts, pa.large_string()).cast(kind).slice(3, 9_500)
        variants, problems = encode_json(array)
        assert problems == {}
        assert decode_variants(variants).to_pylist() == texts[3:9_503]
    assert encode_json(pa.array([], pa.string()))[0].equals(pa.array([], VARIANT_TYPE))
    assert encode_json(pa.array([None, None], pa.string()))[0].null_count == 2
