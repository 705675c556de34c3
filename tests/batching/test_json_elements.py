"""JSON text to RecordBatches: every digit is kept, and a bad element affects only its own row."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_zerobus.schema.time_rules import TimeRules
from tests.batching.conversion import convert

UTC = dt.UTC
D = decimal.Decimal


JSON_DDL = (
    "id BIGINT, d DOUBLE, s STRING, raw BINARY, day DATE, at TIMESTAMP, ntz TIMESTAMP_NTZ, v VARIANT, a ARRAY<INT>, "
    "m MAP<STRING, INT>, p STRUCT<x: INT>"
)
JSON_ROW = {
    "id": 1, "d": 1.5, "s": "é", "raw": "/w==", "day": "2024-01-02", "at": "2024-01-02T00:00:00Z", "ntz": 5,
    "v": {"b": 1}, "a": [1], "m": {"k": 1}, "p": {"x": 1},
}  # fmt: skip


@pytest.mark.parametrize("extra", ["", ", price DECIMAL(20,2)"])
@pytest.mark.parametrize("encode", [str, str.encode, lambda text: bytearray(text.encode())])
def test_json_objects(extra, encode):
    row = JSON_ROW | ({"price": 5} if extra else {})
    converted = convert("json", JSON_DDL + extra, [encode(json.dumps(row, ensure_ascii=False)), encode("{}")])
    assert converted.rejected == ()
    first, second = converted.batch.to_pylist()
    assert first["raw"] == b"\xff"
    assert first["day"] == dt.date(2024, 1, 2)
    assert first["at"] == dt.datetime(2024, 1, 2, tzinfo=UTC)
    assert (first["s"], first["v"], first["m"], first["p"]) == ("é", '{"b":1}', [("k", 1)], {"x": 1})
    assert set(second.values()) == {None}


def test_decimals_in_json_keep_every_digit():
    elements = ['{"p": 123456789012345678.91, "d": 0.1, "v": {"a": 0.5}}', '{"p": "0.10", "d": 1}', '{"p": 0.125}']
    converted = convert("json", "p DECIMAL(20,2), d DOUBLE, v VARIANT", elements)
    assert converted.batch.to_pylist() == [
        {"p": D("123456789012345678.91"), "d": 0.1, "v": '{"a":0.5}'},
        {"p": D("0.10"), "d": 1.0, "v": None},
    ]
    assert [(e.index, e.error_type) for e in converted.rejected] == [(2, "inexact")]


EXTRA_COLUMNS = ["", ", price DECIMAL(20,2)", ", extra STRUCT<v: VARIANT>"]


@pytest.mark.parametrize("extra", EXTRA_COLUMNS)
@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ("", "invalid_json"),
        ("null", "invalid_json"),
        ("[1]", "invalid_json"),
        ("{}{}", "invalid_json"),
        ('{"id": 1', "invalid_json"),
        (b'{"s": "\xff"}', "invalid_json"),
        ('{"d": NaN}', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"id": 9223372036854775808}', "out_of_range"),
        ('{"id": -80241446968629135069}', "out_of_range"),
        (f'{{"id": {"9" * 5000}}}', "out_of_range"),
        ('{"id": 1.5}', "inexact"),
        ('{"id": 1e400}', "out_of_range"),
        ('{"id": 9007199254740993.5}', "inexact"),
        ('{"d": 1e400}', "out_of_range"),
        ('{"d": 9007199254740993}', "inexact"),
        ('{"d": 18446744073709551617}', "inexact"),
        ('{"d": -80241446968629135069}', "inexact"),
        (f'{{"d": {"9" * 5000}}}', "out_of_range"),
        ('{"s": 1e400}', "wrong_type"),
        ('{"s": "\\ud800"}', "invalid_utf8"),
        ('{"at": 80241446968629135069}', "out_of_range"),
        ('{"d": 0.4e00669999999999999999999999999999999999}', "out_of_range"),
        ('{"raw": "?"}', "invalid_text"),
        ('{"at": "yesterday"}', "invalid_text"),
        ('{"new": 1}', "unknown_field"),
        ({"id": 1}, "wrong_type"),
        (None, "wrong_type"),
    ],
)
def test_bad_json_affects_only_its_own_row(extra, element, reason):
    converted = convert("json", JSON_DDL + extra, ['{"id": 1}', element, '{"id": 2}'])
    assert converted.batch.column("id").to_pylist() == [1, 2]
    assert [(e.index, e.error_type) for e in converted.rejected] == [(1, reason)]


@pytest.mark.parametrize("extra", EXTRA_COLUMNS)
def test_numbers_in_json_are_read_alike_whatever_other_columns_the_table_has(extra):
    numbers = ["1", "-0", "2.50", "1e3", "1e300", "18446744073709551616", "1e-400", "0.1000000000000000000000001"]
    converted = convert("json", f"d DOUBLE, f FLOAT{extra}", [f'{{"d": {number}}}' for number in numbers])
    assert not converted.rejected
    assert converted.batch.column("d").to_pylist() == [float(number) for number in numbers]
    elements = ['{"price": 0.4e00669999999999999999999999999, "d": 1}', '{"d": 2}', '{"f": 1e39}', '{"f": 16777217}']
    converted = convert("json", f"d DOUBLE, f FLOAT{extra}", elements, ignore_unknown_fields=True)
    assert converted.batch.column("d").to_pylist() == ([2.0] if "price" in extra else [1.0, 2.0])
    assert [e.error_type for e in converted.rejected][-2:] == ["out_of_range", "inexact"]


number_texts = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)


@given(st.recursive(number_texts, lambda inner: st.lists(inner, max_size=3).map(lambda texts: f"[{','.join(texts)}]")))
def test_a_number_in_a_variant_stays_as_it_is_in_the_text(text):
    for value in (text, f'{{"a":{text},"é":"1.50"}}'):
        converted = convert("json", "s STRING, v VARIANT", [f'{{"v": {value}, "s": "1.0"}}', '{"v": 1}'])
        assert converted.batch.column("v").to_pylist() == [value, "1"]


@given(number_texts)
@example("20000000000000000001")
def test_whole_numbers_in_json_and_dicts_have_one_rule(text):
    if not text.lstrip("-").isdigit():
        return
    (json_row, dict_row) = (
        convert("json", "d DOUBLE", [f'{{"d": {text}}}']),
        convert("row", "d DOUBLE", [{"d": int(text)}]),
    )
    assert json_row.batch.equals(dict_row.batch)
    assert json_row.rejected == dict_row.rejected
    assert bool(json_row.rejected) == (int(float(text)) != int(text))


WHOLE = ["TINYINT", "INT", "BIGINT"]
hidden = st.builds(
    "{}.{}{}".format, st.integers(-200, 2**31), st.text("0", min_size=1, max_size=20), st.sampled_from(["", "1", "e1"])
)


@given(
    number_texts | hidden | st.sampled_from(["-0", "-0.0", "0E40", "0e99999", "1e-400", "1e400", "0.4e00669999999999"])
)
def test_a_whole_number_is_exact_or_rejected_whatever_other_columns_the_table_has(text):
    exact = decimal.Decimal(text)
    for kind, bits in zip(WHOLE, (8, 32, 64), strict=True):
        for extra in EXTRA_COLUMNS:
            # One good row beside it, as columns of one kind are converted at once.
            converted = convert("json", f"x {kind}{extra}", [f'{{"x": {text}}}', '{"x": 1.0}', '{"x": 2}'])
            *value, one, two = converted.batch.column("x").to_pylist()
            assert (one, two) == (1, 2)
            if (
                # Zero has an exponent too; a large one must not be written out to be compared.
                (not exact or exact.adjusted() < 40)
                and exact == exact.to_integral_value()
                and -(2 ** (bits - 1)) <= exact < 2 ** (bits - 1)
            ):
                assert value == [int(exact)]
            else:
                (rejected,) = converted.rejected
                too_large = exact.adjusted() >= 0 and exact.copy_abs() >= 2 ** (bits - 1)
                assert rejected.error_type in (("out_of_range", "inexact") if too_large else ("inexact",))


@pytest.mark.parametrize("delta_type", ["DOUBLE", "FLOAT"])
@pytest.mark.parametrize("extra", EXTRA_COLUMNS)
def test_large_numbers_beside_short_ones(delta_type, extra):
    texts = ["1.5", "1e30", "-1e25", "1e400", "2.0", "1000000000000000000000.0", "9223372036854775809", "3"]
    rows = [f'{{"x": {text}}}' for text in texts]
    for elements in (rows, rows[::-1], rows[:2], rows[4:6]):
        converted = convert("json", f"x {delta_type}{extra}", elements)
        bad = [position for position, row in enumerate(elements) if "e400" in row or "775809" in row]
        assert [error.index for error in converted.rejected] == bad
        good = [float(json.loads(row)["x"]) for position, row in enumerate(elements) if position not in bad]
        assert (
            converted.batch.column("x").to_pylist()
            == pa.array(good, converted.batch.schema.field("x").type).to_pylist()
        )


@pytest.mark.parametrize("extra", EXTRA_COLUMNS)
def test_numbers_since_1970_are_exact_or_rejected(extra):
    texts = ["1700000000000000", "1.7e15", "1700000000000000.0", "1700000000000000.1", "1e400", "1700000000000000.25"]
    converted = convert(
        "json", f"t TIMESTAMP{extra}", [f'{{"t": {text}}}' for text in texts], times=TimeRules(epoch_unit="us")
    )
    assert len(set(converted.batch.column("t").to_pylist())) == 1
    assert [(error.index, error.error_type) for error in converted.rejected] == [
        (3, "inexact"), (4, "out_of_range"), (5, "inexact"),
    ]  # fmt: skip


@pytest.mark.parametrize("extra", EXTRA_COLUMNS)
def test_keys_of_objects_are_keys_of_maps(extra):
    elements = [
        '{"m": {"5": "five", "-0": "zero"}, "b": {"true": 1}, "d": {"1.50": 1}, "t": {"2026-01-31": 1}}',
        '{"m": [[5, "five"]]}',
        '{"m": {"05": "five"}}',
        '{"m": {"9223372036854775808": "large"}}',
        '{"b": {"True": 1}}',
    ]
    ddl = "m MAP<BIGINT, STRING>, b MAP<BOOLEAN, INT>, d MAP<DECIMAL(5,2), INT>, t MAP<DATE, INT>"
    converted = convert("json", ddl + extra, elements)
    first, second = converted.batch.to_pylist()
    assert first["m"] == [(5, "five"), (0, "zero")]
    assert (first["b"], first["d"], first["t"]) == ([(True, 1)], [(D("1.50"), 1)], [(dt.date(2026, 1, 31), 1)])
    assert second["m"] == [(5, "five")]
    assert [error.error_type for error in converted.rejected] == ["wrong_type", "out_of_range", "wrong_type"]
    (rejected,) = convert("row", ddl, [{"m": {"5": "five"}}]).rejected  # Python has keys of any type
    assert rejected.error_type == "wrong_type"
