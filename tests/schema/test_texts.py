"""Text to values, compared with Python's own parsers: exact, or rejected with the right reason."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import element_converter
from beam_zerobus.schema import Primitive, TableSchema
from beam_zerobus.schema.texts import read_text

ZONES = ["", "Z", "z", "+00", "+01:00", "-0530", "+14:00", "+24:00", "-00:60", " UTC", "+1"]


def outcome(text: str, kind: Primitive) -> object:
    """The value, numbers for dates and times, or the reason."""
    values, misfits = read_text(pa.array([text, None]), kind)
    assert values[1].as_py() is None
    if misfits:
        ((reason, bad),) = misfits.items()
        assert bad.tolist() == [True, False]
        assert values[0].as_py() is None
        return str(reason)
    if kind is Primitive.DATE:
        return values.view(pa.int32())[0].as_py()
    return values.view(pa.int64())[0].as_py() if pa.types.is_timestamp(values.type) else values[0].as_py()


def reference(text: str, kind: Primitive) -> object:
    """What ISO 8601 says, read with Python's calendar; microseconds since 1970."""
    parts = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?", text, re.ASCII
    )
    if parts is None:
        return "invalid_text"
    day, hour, minute, second, fraction, zone = parts.groups()
    if (zone is None) is (kind is Primitive.TIMESTAMP):
        return "invalid_text"
    try:
        # Python has no year 0: it is 400 years before the year 400, in a calendar that repeats.
        moved = day.replace("0000", "0400", 1) if day.startswith("0000") else day
        start = dt.datetime.fromisoformat(moved).replace(
            hour=int(hour or 0), minute=int(minute or 0), second=int(second or 0)
        )
        offset = dt.timedelta()
        if zone not in (None, "Z"):
            of_day = dt.time(int(zone[1:3]), int(zone.replace(":", "")[3:5] or 0))
            offset = dt.timedelta(hours=of_day.hour, minutes=of_day.minute) * (-1 if zone[0] == "-" else 1)
    except ValueError:
        return "invalid_text"
    if (fraction or "")[6:].strip("0"):
        return "inexact"
    since = start - dt.datetime(1970, 1, 1) - offset - dt.timedelta(days=146_097 if moved != day else 0)
    return since // dt.timedelta(microseconds=1) + int(f"{fraction or '':0<6}"[:6])


@st.composite
def timestamp_texts(draw) -> str:
    year, month, day = draw(st.integers(0, 9999)), draw(st.integers(0, 13)), draw(st.integers(0, 32))
    text = f"{year:04}-{month:02}-{day:02}"
    if draw(st.booleans()):
        return text
    text += draw(st.sampled_from("TTT  t_")) + f"{draw(st.integers(0, 25)):02}"
    for _ in range(draw(st.integers(0, 2))):
        text += f":{draw(st.integers(0, 61)):02}"
    digits = st.text("0123456789", max_size=12) | st.text("0", min_size=7, max_size=9).map(
        lambda zeros: "123456" + zeros
    )
    text += draw(st.just("") | digits.map(lambda fraction: f".{fraction}"))
    return text + draw(st.sampled_from(ZONES))


@given(timestamp_texts(), st.sampled_from([Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ]))
@example("0000-02-29T23:59:59.123456000Z", Primitive.TIMESTAMP)
@example("2026-01-31 12:00:00.123456789", Primitive.TIMESTAMP_NTZ)
def test_timestamps_are_exact_or_rejected(text, kind):
    assert outcome(text, kind) == reference(text, kind)


@given(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), st.sampled_from(["", " ", "x", "T00"]))
def test_dates_are_exact_or_rejected(year, month, day, tail):
    text = f"{year:04}-{month:02}-{day:02}{tail}"
    expected = reference(text, Primitive.TIMESTAMP_NTZ) if not tail else "invalid_text"
    assert outcome(text, Primitive.DATE) == (expected if isinstance(expected, str) else expected // 86_400_000_000)


@given(st.from_regex(r"[+-]?[0-9]{0,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{0,4})?", fullmatch=True), st.booleans())
@example("9007199254740993", False)
@example("1e400", True)
@example("16777217", True)
def test_floats_are_the_nearest_ones_or_rejected(text, is_float):
    kind = Primitive.FLOAT if is_float else Primitive.DOUBLE
    try:
        nearest = float(text)
    except ValueError:
        expected: object = "invalid_text"
    else:
        if is_float:
            with np.errstate(over="ignore"):
                nearest = float(np.float32(text))
        whole = re.fullmatch("[+-]?[0-9]+", text)
        if math.isinf(nearest):
            expected = "out_of_range"
        else:
            expected = "inexact" if whole and int(text) != int(nearest) else nearest
    assert outcome(text, kind) == expected


@st.composite
def texts_near_rounding(draw) -> str:
    """Numbers at, just above and just below the middle between two floats of 32 bits."""
    low = np.float32(draw(st.floats(width=32, allow_nan=False, allow_infinity=False)))
    with np.errstate(over="ignore"):
        high = np.nextafter(low, np.float32(math.inf))
    step = float(high) - float(low) if np.isfinite(high) else 2.0**104
    with decimal.localcontext(prec=400):
        middle = decimal.Decimal(float(low)) + decimal.Decimal(step) / 2
        shift = decimal.Decimal(draw(st.sampled_from([0, 1, -1]))).scaleb(draw(st.sampled_from([-20, -17, -9])))
        return f"{middle * (1 + shift):.{draw(st.sampled_from([8, 16, 40, 200]))}e}"


@settings(max_examples=30)
@given(texts_near_rounding())
@example("1.00000005960464477540")
@example("3.4028235677973366e38")
@example("3.4028235e38")
def test_csv_json_and_dicts_round_to_float_alike(text):
    expected = outcome(text, Primitive.FLOAT)
    schema = TableSchema.from_ddl("x FLOAT")
    for kind, element in (("json", f'{{"x": {text}}}'), ("row", {"x": float(text)})):
        for elements in ([element], [element, '{"x": null}' if kind == "json" else {"x": None}]):
            converted = element_converter(kind, schema)(elements)
            found = converted.rejected[0].error_type if converted.rejected else converted.batch[0][0].as_py()
            assert found == expected


@given(
    st.from_regex(r"[+-]?(0x)?[0-9]{0,22}[ .a]?", fullmatch=True),
    st.sampled_from([Primitive.TINYINT, Primitive.BIGINT]),
)
@example("0x10", Primitive.BIGINT)
@example("+5", Primitive.BIGINT)
def test_whole_numbers_are_exact_or_rejected(text, kind):
    limit = 2 ** (7 if kind is Primitive.TINYINT else 63)
    if not re.fullmatch("-?[0-9]+", text):
        expected: object = "invalid_text"
    else:
        expected = int(text) if -limit <= int(text) < limit else "out_of_range"
    assert outcome(text, kind) == expected


@given(st.lists(timestamp_texts(), min_size=1, max_size=4), st.sampled_from(["json", "row"]))
def test_json_and_dicts_read_text_by_the_same_rules(texts, kind):
    elements = [{"at": text} for text in texts]
    convert = element_converter(kind, TableSchema.from_ddl("at TIMESTAMP"))
    converted = convert([json.dumps(element) for element in elements] if kind == "json" else elements)
    found = dict(
        zip(
            converted.rows if converted.rows is not None else range(len(texts)),
            converted.batch[0].view(pa.int64()).to_pylist(),
            strict=True,
        )
    )
    found |= {error.index: error.error_type for error in converted.rejected}
    assert [found[index] for index in range(len(texts))] == [reference(text, Primitive.TIMESTAMP) for text in texts]


@pytest.mark.parametrize("text", ["1e5", "+1.5", "-.5", "5.", "inf", "-Infinity"])
def test_common_forms_of_floats(text):
    assert outcome(text, Primitive.DOUBLE) == float(text)


def test_blanks_are_ignored_where_the_caller_says_so():
    text = pa.array([" 7 ", "7", "\t8"])
    assert read_text(text, Primitive.INT, trim=True)[0].to_pylist() == [7, 7, 8]
    assert read_text(text, Primitive.INT)[0].to_pylist() == [None, 7, None]


def test_a_whole_number_may_have_any_number_of_digits():
    assert outcome("-" + "0" * 5_000 + "9007199254740992", Primitive.DOUBLE) == -(2.0**53)
    assert outcome("0" * 5_000 + "9007199254740993", Primitive.DOUBLE) == "inexact"
    assert outcome("0" * 5_000 + "7", Primitive.INT) == 7
    assert outcome("9" * 5_000, Primitive.INT) == "out_of_range"
