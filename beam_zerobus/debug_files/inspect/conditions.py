"""Conditions on rows, as users type them: ``temperature>20``, ``device=sensor-1``, ``ts!=null``."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.errors import ConfigurationError

__all__ = ["Condition"]

_COMPARISONS = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_TEXT = re.compile(r"\s*(?P<column>[^=!<>]+?)\s*(?P<operator>!=|<=|>=|=|<|>)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column, or a field of a struct as ``column.field``, compared with a value; ``null`` asks for null.

    A null matches no condition except ``=null``.
    """

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ConfigurationError: The text is not a condition.

        Example:
            >>> Condition.parse("temperature >= 20")
            Condition(column='temperature', operator='>=', value='20')
        """
        parts = _TEXT.fullmatch(text)
        if parts is None:
            raise ConfigurationError(f"{text!r} is not a condition: write COLUMN=VALUE, or use != < <= > >=")
        return cls(parts["column"], parts["operator"], parts["value"])

    def matches(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return a mask of the matching rows.

        Raises:
            ConfigurationError: There is no such column, or its type cannot be compared with the value.
        """
        column = self._find(batch)
        if self.value == "null" and self.operator in ("=", "!="):
            mask = column.is_null() if self.operator == "=" else column.is_valid()
        else:
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            value = self._value_as(column.type)
            try:
                mask = pc.fill_null(_COMPARISONS[self.operator](column, value), fill_value=False)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, LookupError) as error:
                raise ConfigurationError(
                    f"column {self.column!r} is {column.type}, {self.operator} cannot compare it: use =null or !=null"
                ) from error
        return np.asarray(mask.to_numpy(zero_copy_only=False), dtype=bool)

    def _find(self, batch: pa.RecordBatch) -> pa.Array:
        name, *path = [self.column] if self.column in batch.schema.names else self.column.split(".")
        try:
            column = batch.column(name)
            return pc.struct_field(column, path) if path else column
        except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise ConfigurationError(
                f"there is no column {self.column!r}; there are {', '.join(batch.schema.names)}"
            ) from error

    def _value_as(self, data_type: pa.DataType) -> pa.Scalar:
        texts = [self.value]
        if pa.types.is_timestamp(data_type) and data_type.tz is not None:
            texts.append(self.value + "Z")  # a time without a zone is in UTC
        for text in texts:
            try:
                return pa.scalar(text).cast(data_type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError, LookupError):
                continue
        raise ConfigurationError(f"{self.value!r} is not a value of column {self.column!r}, which is {data_type}")
