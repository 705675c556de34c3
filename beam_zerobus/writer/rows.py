"""Whatever holds rows, as the batch that a writer sends."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

from beam_zerobus.batching import CurrentRowConverter, row_kind, types_of
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import FindAdditions
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.current_conversion import CurrentConversion

__all__ = ["ArrowStream", "ReadRows", "RowReader", "Rows", "RowsOutdatedError"]


@runtime_checkable
class ArrowStream(Protocol):
    """Data that other libraries read through Arrow's C interface, such as a DataFrame of pandas or polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream."""
        ...


Rows: TypeAlias = pa.RecordBatch | pa.Table | ArrowStream | Iterable[Any]
"""What a writer sends: Arrow data, a DataFrame, or an iterable of rows.

A row is a dict, a `beam.Row`, a NamedTuple, a dataclass, or a JSON object as str or bytes."""


class ReadRows(NamedTuple):
    """Rows as a batch.

    Attributes:
        batch: The batch.
        unread: The rows that could not be read; those are null in the batch.
        schema: The table's schema that they were converted for; None for Arrow data, which is sent as it is.
    """

    batch: pa.RecordBatch | pa.Table
    unread: Sequence[RowError] = ()
    schema: TableSchema | None = None


class RowsOutdatedError(ConversionError):
    """Rows were converted for a schema that the table no longer has, and do not fit the new one: convert them again."""


_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
_ONE_ROW = "give a list of rows, such as [row]"


class RowReader:
    """Makes batches of the rows that a writer receives; thread-safe."""

    def __init__(self, config: WriterConfig, current_conversion: CurrentConversion) -> None:
        self._config = config
        self._current_conversion = current_conversion
        self._converter = CurrentRowConverter(config.row_options)

    def listed(self, rows: Rows) -> Rows:
        """Return rows that are not Arrow data as a list, which can be read again; anything else as it is.

        Raises:
            ConversionError: They are not rows.
        """
        return rows if isinstance(rows, pa.RecordBatch | pa.Table) or _is_arrow(rows) else self._listed(rows)

    def read(self, rows: Rows) -> ReadRows:
        """Return rows as a batch.

        Raises:
            ConversionError: They are not rows, or a DataFrame that Arrow cannot hold.
            ConfigurationError: The table's schema is not known, so that rows other than Arrow's cannot be read.
            ZerobusError: The schema could not be fetched.
        """
        if isinstance(rows, pa.RecordBatch | pa.Table):
            return ReadRows(rows)
        if _is_arrow(rows):
            return ReadRows(self._from_arrow(rows))
        return self._convert(self._listed(rows))

    def _from_arrow(self, data: Any) -> pa.Table:
        try:
            # pandas gained Arrow's interface in 2.2.
            table = pa.Table.from_pandas(data) if _is_of_pandas(data) else pa.table(data)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if not getattr(getattr(data, "columns", None), "is_unique", True):  # of pandas
                raise ConversionError(
                    f"A {type(data).__name__} for table {self._config.table} has columns with the same name: rename "
                    "or drop all but one"
                ) from error
            raise ConversionError(
                f"A {type(data).__name__} for table {self._config.table} cannot become Arrow data "
                f"({type(error).__name__}): give each column one type; or send its rows, such as "
                'df.to_dict("records"), to find those that do not fit'
            ) from error
        return table.select([name for name in table.column_names if not _UNNAMED_INDEX.fullmatch(name)])

    def _listed(self, rows: Any) -> list[Any]:
        table, kind = self._config.table, type(rows).__name__
        if isinstance(rows, list):
            return rows
        if isinstance(rows, Mapping | str | bytes | bytearray) or hasattr(rows, "_fields") or hasattr(rows, "_asdict"):
            raise ConversionError(f"A value of Python type {kind} for table {table} is not a list of rows: {_ONE_ROW}")
        if dataclasses.is_dataclass(rows) or not isinstance(rows, Iterable):
            raise ConversionError(
                f"A value of Python type {kind} for table {table} is not a list of rows: {_ONE_ROW}; or a "
                "pyarrow.RecordBatch, a Table, or a DataFrame"
            )
        return list(rows)

    def _convert(self, values: list[Any]) -> ReadRows:
        kinds = {row_kind(kind) for kind in types_of(values)} or {"row"}
        if len(kinds) > 1:
            raise ConversionError(
                f"Rows for table {self._config.table} are JSON text and other rows together: send each kind by itself"
            )
        (kind,) = kinds
        conversion = self._current_conversion.resolve(None)

        def fetch_again(find: FindAdditions) -> TableSchema:
            return self._current_conversion.look_again(conversion, find).schema

        converted, schema = self._converter.convert(
            values,
            kind,
            schema=conversion.schema,
            fetch_again=fetch_again if self._current_conversion.may_look_again else None,
        )
        return ReadRows(converted.whole, converted.rejected, schema)


def _is_arrow(rows: object) -> bool:
    return _is_of_pandas(rows) or hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "__arrow_c_array__")


def _is_of_pandas(rows: object) -> bool:
    return type(rows).__module__.startswith("pandas.") and type(rows).__name__ == "DataFrame"
