"""The text of a CSV column as values of a table's column."""

from __future__ import annotations

import base64

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.errors import ConversionError
from beam_zerobus.schema import Decimal, DeltaType, Primitive, RowErrorType
from beam_zerobus.schema.casts.text import not_utf8
from beam_zerobus.schema.reasons import Faults, Place, Reason
from beam_zerobus.schema.text_times import read_times
from beam_zerobus.schema.texts import FLOATS, INTEGERS, read_text
from beam_zerobus.schema.time_rules import UNIT_NAMES, TimeRules
from beam_zerobus.sink.rows_in_columns import FirstOf

__all__ = ["Column"]

_TIMESTAMPS = (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ)
_WANTED: dict[Primitive, str] = {
    **dict.fromkeys(INTEGERS, "a whole number"),
    **dict.fromkeys(FLOATS, "a number"),
    Primitive.BOOLEAN: "true or false",
    Primitive.DATE: "a date of the form YYYY-MM-DD",
    Primitive.TIMESTAMP: "an ISO 8601 timestamp with a zone, such as 2026-01-31T12:00:00Z",
    Primitive.TIMESTAMP_NTZ: "an ISO 8601 timestamp without a zone",
    Primitive.BINARY: "base64",
}
# The larger types that messages advise; a number is what the last that holds it makes of it.
_WIDER: dict[Primitive, tuple[Primitive, ...]] = {
    **dict.fromkeys(INTEGERS, (Primitive.BIGINT,)),
    Primitive.BIGINT: (),  # DECIMAL takes text
    Primitive.FLOAT: (Primitive.DOUBLE, Primitive.BIGINT),
    Primitive.DOUBLE: (Primitive.BIGINT,),
}


class Column:
    """Makes the text of a column values of the table's type.

    Args:
        name: The column's name in the file.
        delta_type: The type of the table's column.
        source: The file, as messages call it.
        times: How timestamps without a time zone or a unit are read.

    Attributes:
        name: The column's name in the file.
        no_values: An empty array of the type that `typed` returns.

    Raises:
        ConversionError: CSV cannot represent the type.
    """

    def __init__(
        self,
        name: str,
        delta_type: DeltaType,
        source: str,
        times: TimeRules = TimeRules(),  # noqa: B008 - frozen
    ) -> None:
        self.name = name
        self._times = times
        self._about = f"column {name!r} is {delta_type}: a value"
        if not isinstance(delta_type, Primitive | Decimal):
            raise ConversionError(
                f"{source}, column {name!r} is {delta_type}, which CSV cannot represent: use JSON lines or Parquet"
            )
        self._is_decimal = isinstance(delta_type, Decimal)
        # The sink itself reads the digits of a decimal, and the JSON of a VARIANT.
        if isinstance(delta_type, Decimal) or delta_type is Primitive.VARIANT:
            delta_type = Primitive.STRING
        self._type = delta_type
        self.no_values = self.typed(pa.array([], pa.binary()), Place(Faults()))

    @property
    def is_text(self) -> bool:
        """Whether the text itself is what the sink or a replay reads."""
        if self._type in _TIMESTAMPS and self._times.epoch_unit is not None:
            return False  # such as digits, which are numbers elsewhere
        return self._type not in (*INTEGERS, *FLOATS, Primitive.BOOLEAN, Primitive.BINARY)

    @property
    def _ignores_blanks(self) -> bool:
        """Whether blanks around a text do not count."""
        return self._is_decimal or self._type is not Primitive.STRING

    def typed(self, text: pa.Array, place: Place) -> pa.Array:
        """Return the values; those that the type cannot hold exactly are rejected and become null.

        Args:
            text: The column as bytes.
            place: Collects the rejected rows.
        """
        if self._type is Primitive.BINARY:
            return self._from_base64(text, place)
        text, bad = _decoded(text)
        if bad is not None:
            place.reject(bad, self._reason(RowErrorType.INVALID_UTF8))
        if self._type is Primitive.STRING:
            return pc.utf8_trim_whitespace(text) if self._is_decimal else text
        if self._type in _TIMESTAMPS:
            values, misfits, unclear = read_times(text, self._type, self._times, trim=True)
            if unclear.any():
                place.reject(unclear, self._unclear())
        else:
            values, misfits = read_text(text, self._type, trim=True)
        for error_type, bad in misfits.items():
            place.reject(bad, self._reason(error_type))
        return values

    def elements(self, values: pa.Array, text: pa.Array) -> pa.Array | FirstOf:
        """Return numbers, bytes and booleans, also those that the column does not hold, and else the text.

        Args:
            values: What `typed` returned, or some of it.
            text: The same rows as bytes.
        """
        if self._type is Primitive.BINARY:
            values = values.cast(pa.large_binary())  # "binary" is text
            return FirstOf((values, pc.if_else(values.is_null(), text, pa.scalar(None, text.type))))
        if not self.is_text and values.null_count == text.null_count:
            return values
        if self.is_text and not self._ignores_blanks:
            return text
        texts, bad = _decoded(text)
        if self.is_text:
            texts = pc.utf8_trim_whitespace(texts)
        words = texts if bad is None else pc.coalesce(texts.cast(pa.binary()), text)
        if self.is_text:
            return words
        words, unread = (pc.if_else(values.is_null(), text, pa.scalar(None, text.type)) for text in (words, texts))
        wider = [read_text(unread, kind, trim=True)[0] for kind in _WIDER.get(self._type, ())]
        numbers = [column for column in (values, *reversed(wider)) if column.null_count < len(column)]
        return FirstOf((*numbers, words))

    def _from_base64(self, text: pa.Array, place: Place) -> pa.Array:
        values: list[bytes | None] = []
        bad = np.zeros(len(text), dtype=bool)
        for position, value in enumerate(text.to_pylist()):
            try:
                values.append(None if value is None else base64.b64decode(value, validate=True))
            except ValueError:
                values.append(None)
                bad[position] = True
        place.reject(bad, self._reason(RowErrorType.INVALID_TEXT))
        return pa.array(values, pa.binary())

    def _reason(self, error_type: RowErrorType) -> Reason:
        match error_type:
            case RowErrorType.INVALID_UTF8:
                what = "not UTF-8; encode the file as UTF-8"
            case RowErrorType.OUT_OF_RANGE:
                what = "out of range; correct the row, or use a larger type in the table"
            case RowErrorType.INEXACT if self._type in FLOATS:
                what = (
                    "a whole number that the column would round; correct the row, or use BIGINT or DECIMAL in the table"
                )
            case RowErrorType.INEXACT:
                what = "finer than microseconds; round it first"
            case _ if self._type in _TIMESTAMPS:
                what = f"not {_WANTED[self._type]}{self._remedies()}"
            case _:
                what = f"not {_WANTED[self._type]}; correct the row, or use STRING in the table"
        return Reason(error_type, f"{self._about} is {what}")

    def _remedies(self) -> str:
        unit, zone = self._times.epoch_unit, self._times.assume_timezone
        number = f", nor a whole number of {UNIT_NAMES[unit]}" if unit is not None else ""
        options = [
            'assume_timezone="UTC" if only the zone is missing'
            if zone is None and self._type is Primitive.TIMESTAMP
            else "",
            'epoch_unit="s" or "ms" if it counts from 1970' if unit is None else "",
        ]
        return f"{number}; correct the row" + "".join(f", or set {option}" for option in options if option)

    def _unclear(self) -> Reason:
        zone = self._times.assume_timezone
        what = f"at a change of the clocks in {zone}, which show it twice or never; give it a time zone"
        return Reason(RowErrorType.INEXACT, f"{self._about} is {what}")


def _decoded(text: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Return bytes as strings, and which are not UTF-8 and null among them; None if all are UTF-8."""
    try:
        return text.cast(pa.string()), None
    except pa.ArrowInvalid:
        bad = not_utf8(text)
        return pc.if_else(pa.array(bad), pa.scalar(None, text.type), text).cast(pa.string()), bad
