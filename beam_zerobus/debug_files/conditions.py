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

    A null fulfils no condition but ``=null``.
    """

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ConfigurationError: The text is none.

        Example:
            >>> Condition.parse("temperature >= 20")
            Condition(column='temperature', operator='>=', value='20')
        """
        parts = _TEXT.fullmatch(text)
        if parts is None:
            raise ConfigurationError(f"{text!r} is no condition: write COLUMN=VALUE, or with != < <= > >=")
        return cls(parts["column"], parts["operator"], parts["value"])

    def fulfilled(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return a mask of the rows that fulfil it.

        Raises:
            ConfigurationError: There is no such column, or it holds no such value.
        """
        column = self._find(batch)
        if self.value == "null" and self.operator in ("=", "!="):
            mask = column.is_null() if self.operator == "=" else column.is_valid()
        else:
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            mask = pc.fill_null(_COMPARISONS[self.operator](column, self._value_as(column.type)), fill_value=False)
        return np.asarray(mask.to_numpy(zero_copy_only=False), dtype=bool)

    def _find(self, batch: pa.RecordBatch) -> pa.Array:
        name, *path = [self.column] if self.column in batch.schema.names else self.column.split(".")
        try:
            column = batch.column(name)
            return pc.struct_field(column, path) if path else column
        except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigurationError(
                f"there is no column {self.column!r}; there are {', '.join(batch.schema.names)}"
            ) from error

    def _value_as(self, data_type: pa.DataType) -> pa.Scalar:
        texts = [self.value]
        if pa.types.is_timestamp(data_type) and data_type.tz is not None:
            texts.append(self.value + "Z")  # a time without zone is meant in UTC
        for text in texts:
            try:
                return pa.scalar(text).cast(data_type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue
        raise ConfigurationError(f"{self.value!r} is no value of column {self.column!r}, which is {data_type}")
