"""Why a JSON text has no Variant."""

from __future__ import annotations

from enum import Enum

__all__ = ["Problem", "VariantError"]


class Problem(Enum):
    """Why a JSON text has no Variant that means the same; the value completes a sentence about the text."""

    NOT_JSON = "is not valid JSON"
    DUPLICATE_KEY = "has an object with the same key twice"
    TOO_DEEP = "nests too deep"
    INEXACT = "has a number that neither a decimal of 38 digits nor a double holds exactly"
    LONE_SURROGATE = "has half a surrogate pair"


class VariantError(Exception):
    """A single value has no Variant.

    Attributes:
        problem: Why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem
