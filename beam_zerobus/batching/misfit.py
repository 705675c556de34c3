"""`MisfitError`: a single value that its column cannot hold."""

from __future__ import annotations

from beam_zerobus.schema import RowErrorType

__all__ = ["MisfitError", "WrongTypeError"]


class MisfitError(Exception):
    """A value does not fit its column.

    Attributes:
        error_type: The name to group by.
        what: The end of the sentence "a value of Python type x ...", with the remedy.
    """

    def __init__(self, what: str, error_type: RowErrorType = RowErrorType.WRONG_TYPE) -> None:
        super().__init__(what)
        self.what = what
        self.error_type = error_type


class WrongTypeError(MisfitError):
    """No value of its Python type fits the column."""
