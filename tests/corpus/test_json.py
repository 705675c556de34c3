"""JSON of a public suite, as lines of a file into a VARIANT column, and what Python reads in it with exact numbers."""

from __future__ import annotations

import decimal
import json
from pathlib import Path

import pytest

from beam_zerobus.batching import element_converter
from beam_zerobus.schema import TableSchema

SUITE = json.loads(Path(__file__).with_name("json_test_suite.json").read_text())
SPECIAL = {f"many_{count}_arrays": "[" * count + "]" * count for count in (100, 100_000)}
CASES = {case["name"]: case["input"] for case in SUITE} | SPECIAL
LINES = {
    name: f'{{"id": {number}, "v": {text}}}'.encode(errors="surrogatepass")
    for number, (name, text) in enumerate(CASES.items())
    if "\n" not in text and "\r" not in text  # a line holds one row
}
# RFC 8259 leaves open what these mean. Spark's parse_json rejects them, and so does the sink.
KEY_TWICE = {"y_object_duplicated_key", "y_object_duplicated_key_and_value"}
VALID = {name for name in LINES if name.startswith("y_")} - KEY_TWICE
INVALID = {name for name in LINES if name.startswith("n_")} | KEY_TWICE
TABLES = ["id INT", "id INT, price DECIMAL(20,2)", "id INT, inner STRUCT<v: VARIANT>"]


def exactly(text: str) -> object:
    """Python's reading: each number as its digits, so that 1.0 and 1.00 differ."""
    return json.loads(text, parse_float=lambda digits: ("number", digits), parse_int=lambda digits: ("number", digits))


def test_what_is_valid_arrives_exactly_and_what_is_not_is_rejected_alone(send, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(LINES.values()))
    rows, letters = send("id INT, v VARIANT", tmp_path / "in.jsonl")
    names = list(CASES)
    arrived = {names[row["id"]]: row["v"] for row in rows}
    assert len(rows) == len(arrived)
    assert len(rows) + len(letters) == len(LINES)
    assert {letter["error_type"] for letter in letters} == {"invalid_json", "wrong_type", "rejected_by_service"}
    assert not INVALID & set(arrived)
    # In a VARIANT, a JSON string is itself JSON text: the suite's strings alone are not that.
    plain_text = {name for name in VALID if CASES[name].strip().startswith('"')}
    assert VALID - set(arrived) - plain_text == set()
    for name, text in arrived.items():
        if name not in plain_text:
            assert exactly(text or "null") == exactly(CASES[name]), name


@pytest.mark.parametrize("ddl", TABLES)
def test_the_same_text_is_json_whatever_columns_the_table_has(ddl):
    convert = element_converter("json", TableSchema.from_ddl(ddl), ignore_unknown_fields=True)
    lines = list(LINES.values())
    converted = convert(lines)
    rejected = {list(LINES)[error.index]: error.error_type for error in converted.rejected}
    assert set(rejected.values()) == {"invalid_json"}
    assert not VALID & set(rejected)
    assert set(rejected) >= INVALID
    first = element_converter("json", TableSchema.from_ddl(TABLES[0]), ignore_unknown_fields=True)(lines)
    assert [(error.index, error.message) for error in first.rejected] == [
        (error.index, error.message) for error in converted.rejected
    ]


NUMBERS = ["0", "-0", "1.50", "-1e-7", "123456789012345678901234567890", "9" * 5_000, "1e400", "0.1000000000000000055"]

TOO_LARGE = (5, 6)  # in a VARIANT, the service decides on these


def test_numbers_have_the_digits_of_the_text_in_every_type(send, tmp_path):
    lines = [
        f'{{"id": {number}, "v": {{"n": {text}}}, "d": {text}, "p": {text}}}' for number, text in enumerate(NUMBERS)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    rows, _ = send("id INT, v VARIANT", tmp_path / "in.jsonl", "--zerobus_on_unknown_fields=ignore")
    assert {row["id"]: exactly(row["v"])["n"][1] for row in rows if row["id"] not in TOO_LARGE} == {
        number: text for number, text in enumerate(NUMBERS) if number not in TOO_LARGE
    }
    rows, letters = send("id INT, p DECIMAL(38,19)", tmp_path / "in.jsonl", "--zerobus_on_unknown_fields=ignore")
    context = decimal.Context(prec=60)
    assert {row["id"]: row["p"] for row in rows} == {
        number: decimal.Decimal(NUMBERS[number], context) for number in (0, 1, 2, 3, 7)
    }
    assert sorted(letter["error_type"] for letter in letters) == ["out_of_range"] * 3
    rows, letters = send("id INT, d DOUBLE", tmp_path / "in.jsonl", "--zerobus_on_unknown_fields=ignore")
    assert {row["id"]: row["d"] for row in rows} == {number: float(NUMBERS[number]) for number in (0, 1, 2, 3, 7)}
    assert sorted(letter["error_type"] for letter in letters) == ["inexact", "out_of_range", "out_of_range"]
