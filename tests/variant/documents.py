"""Hypothesis strategies: JSON texts, as different writers lay them out; and their values with exact numbers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Self

from hypothesis import strategies as st

# Few, so that shapes repeat; odd ones among them.
KEYS = st.sampled_from(["", "a", "b", "id", "é", "😀", "a b", 'q"', "x" * 70, "\uffff", "\x00"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.sampled_from(["x" * 63, "é" * 32, '":'])


class Literal(float):
    """A number that is written as a given text."""

    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, 0.0)
        self.text = text
        return self

    def __repr__(self) -> str:
        return self.text


def _decimal(digits: int, scale: int) -> Literal:
    return Literal(format(Decimal(digits).scaleb(-scale), "f") + ("" if scale else ".0"))


NUMBERS = (
    st.integers(-300, 300)
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.builds(_decimal, st.integers(-(10**18), 10**18), st.integers(0, 18))
    | st.builds(_decimal, st.integers(-(10**28), 10**28), st.integers(0, 28))
    | st.sampled_from(["0.0", "-0.0", "-0", "1.50", "1e3", "1E-2", "1e300", "0.1e1", "100.00"]).map(Literal)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def write(value: Any, *, ascii_only: bool, spaces: bool) -> str:
    """Return a value as JSON text."""
    if isinstance(value, Literal):
        return value.text
    comma, colon = (", ", " : ") if spaces else (",", ":")

    def part(inner: Any) -> str:
        return write(inner, ascii_only=ascii_only, spaces=spaces)

    if isinstance(value, dict):
        return "{" + comma.join(part(key) + colon + part(inner) for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + comma.join(map(part, value)) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


DOCUMENTS = st.builds(
    lambda value, ascii_only, spaces: write(value, ascii_only=ascii_only, spaces=spaces),
    VALUES,
    st.booleans(),
    st.booleans(),
)


def exact(text: str | None) -> Any:
    """Return the value of a JSON text, every number as a Decimal; None for no text."""
    if text is None:
        return None
    return ("JSON", json.loads(text, parse_float=Decimal, parse_int=Decimal))
