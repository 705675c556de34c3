"""From RecordBatch to payloads: the schema's check, then the wire format's encoder, as one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding import Payload, make_encoder
from beam_zerobus.encoding.proto import ProtoEncoder
from beam_zerobus.encoding.rescue import RescuingConformer
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import ConversionError, RowError, RowErrors, about_table
from beam_zerobus.options import WireFormat
from beam_zerobus.schema import Conformer, TableSchema
from beam_zerobus.schema.plausible import warn_of_january_1970
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown, has_unknown_fields

__all__ = ["Conversion"]

_Batch = TypeVar("_Batch", pa.RecordBatch, pa.Table)


class Conversion:
    """Converts RecordBatches for one table schema and wire format; thread-safe, its settings never change.

    A writer whose table changes gets a new one. Payloads of the old one are converted again, never sent over a stream
    that was opened for the new one.

    Attributes:
        schema: The table's schema.
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
        table: ``catalog.schema.table``, for messages.
        times: How timestamps without a time zone or a unit are read.
        rescue_column: The column for fields that the table does not have and values that do not fit; None to reject
            their rows.
        descriptor: The row message, for protobuf.

    Args:
        schema: As above; so are `wire_format`, `table`, `times` and `rescue_column`.
        ignore_unknown_fields: Drop fields that the table does not have; with ``"nulls"`` only those of type null.
        before: The conversion before the table changed. Rows that were converted for it may have columns that the table
            has lost since.
    """

    def __init__(
        self,
        schema: TableSchema,
        wire_format: WireFormat,
        *,
        table: str,
        ignore_unknown_fields: IgnoreUnknown = False,
        rescue_column: str | None = None,
        times: TimeRules = TimeRules(),  # noqa: B008 - frozen
        before: Conversion | None = None,
    ) -> None:
        self.schema = schema
        self.wire_format = wire_format
        self.table = table
        self.times = times
        self.rescue_column = rescue_column
        self._lost: frozenset[str] = frozenset()
        if before is not None:
            self._lost = (before._lost | _names(before.schema)) - _names(schema)
        self._known_to_fit: pa.Schema | None = None
        with about_table(table):
            self._conformer: Conformer | RescuingConformer = (
                Conformer(schema, ignore_unknown_fields=ignore_unknown_fields, times=times)
                if rescue_column is None
                else RescuingConformer(schema, rescue_column, times, inner_nulls=wire_format != "proto")
            )
            self._encoder = make_encoder(wire_format, schema)
        self.descriptor = self._encoder.descriptor if isinstance(self._encoder, ProtoEncoder) else None

    def lacks_fields_of(self, incoming: pa.Schema) -> bool:
        """Return whether rows of an Arrow schema have a field that the table's schema lacks."""
        if self._known_to_fit is None or not self._known_to_fit.equals(incoming):
            if has_unknown_fields(incoming, self.schema.columns):
                return True
            self._known_to_fit = incoming  # a cache of one; threads may replace it at any time
        return False

    def payloads(
        self, batch: pa.RecordBatch | pa.Table, *, without: Sequence[RowError] = (), framed: bool = False
    ) -> Iterator[Payload]:
        """Yield the batch's rows in payloads; row indices, also those of rejected rows, are the batch's own.

        Args:
            batch: The rows.
            without: Rows that were rejected before.
            framed: Give `Payload.framed`, where that costs little; protobuf only.

        Raises:
            ConversionError: The batch's schema cannot fit the table's.
        """
        batch = self._without_lost_columns(batch)
        if without:
            yield Payload(records=[], rows=range(0), size_bytes=0, rejected=without)
            others = np.setdiff1d(np.arange(batch.num_rows), RowErrors.of(without).indices)
            yield from self.payloads_of(batch, others, framed=framed)
            return
        if isinstance(batch, pa.RecordBatch):
            yield from self._payloads_of_batch(batch, framed=framed)
            return
        start = 0
        for part in batch.to_batches():
            for payload in self._payloads_of_batch(part, framed=framed):
                yield _shifted(payload, start) if start else payload
            start += part.num_rows

    def _payloads_of_batch(self, batch: pa.RecordBatch, *, framed: bool) -> Iterator[Payload]:
        with about_table(self.table):
            conformed = self._conformer.conform(batch)
        warn_of_january_1970(conformed.batch, self.schema, table=self.table)
        if conformed.rejected:
            yield Payload(records=[], rows=range(0), size_bytes=0, rejected=conformed.rejected)
        kept = conformed.rows
        for payload in self._encode(conformed.batch, framed=framed):
            yield payload if kept is None else _in_batch(payload, kept)

    def _encode(self, rows: pa.RecordBatch, *, framed: bool) -> Iterator[Payload]:
        if framed and isinstance(self._encoder, ProtoEncoder):
            return self._encoder.encode(rows, framed=True)
        return self._encoder.encode(rows)

    def payloads_of(
        self, batch: pa.RecordBatch | pa.Table, rows: np.ndarray, *, framed: bool = False
    ) -> Iterator[Payload]:
        """Yield payloads of some of the batch's rows, given by ascending indices."""
        for payload in self.payloads(take_rows(batch, rows), framed=framed):
            yield _in_batch(payload, rows)

    def payloads_after_change(self, batch: pa.RecordBatch | pa.Table, rows: np.ndarray) -> list[Payload]:
        """Return payloads of rows that fitted the table before it changed; each that no longer fits is rejected alone.

        Args:
            batch: The batch that the rows are part of.
            rows: Their ascending indices.
        """
        try:
            return list(self.payloads_of(batch, rows))
        except ConversionError as error:
            unfit = self._has_lost_values(take_rows(batch, rows))
            if unfit.all() or not unfit.any():
                rejected = RowErrors.same(rows, RowError(0, error.error_type, str(error), "schema"))
                return [Payload(records=[], rows=range(0), size_bytes=0, rejected=rejected)]
        return self.payloads_after_change(batch, rows[~unfit]) + self.payloads_after_change(batch, rows[unfit])

    def _has_lost_values(self, rows: pa.RecordBatch | pa.Table) -> np.ndarray:
        """Return whether each row has a value in a column that the table has lost."""
        found = np.zeros(rows.num_rows, bool)
        for index, field in enumerate(rows.schema):
            if field.name.lower() in self._lost:
                found |= np.asarray(rows.column(index).is_valid())
        return found

    def _without_lost_columns(self, rows: _Batch) -> _Batch:
        """Leave out the columns that the table has lost, where no row has a value in them."""
        if not self._lost:
            return rows
        lost = [
            index
            for index, field in enumerate(rows.schema)
            if field.name.lower() in self._lost and rows.column(index).null_count == rows.num_rows
        ]
        return rows.select([index for index in range(rows.num_columns) if index not in lost]) if lost else rows

    def encode_again(self, batch: pa.RecordBatch | pa.Table, payload: Payload) -> Payload:
        """Return a payload that this conversion made of `batch`, with the records that were taken from it."""
        records: list[Any] = []
        for part in self.payloads_of(batch, np.asarray(payload.rows, dtype=np.int64)):
            records += part.records
        return replace(payload, records=records)


def _names(schema: TableSchema) -> frozenset[str]:
    return frozenset(column.name.lower() for column in schema.columns)


def _in_batch(payload: Payload, kept: np.ndarray) -> Payload:
    """Express a payload's row indices, counted among the kept rows, in the incoming batch's."""
    rejected = RowErrors.of(payload.rejected)
    return replace(
        payload, rows=kept[np.asarray(payload.rows, dtype=np.int64)], rejected=rejected.at(kept[rejected.indices])
    )


def _shifted(payload: Payload, start: int) -> Payload:
    """Express a payload's row indices, counted in a part of the batch, in the whole batch's."""
    rows, rejected = payload.rows, RowErrors.of(payload.rejected)
    return replace(
        payload,
        rows=range(rows.start + start, rows.stop + start) if isinstance(rows, range) else rows + start,
        rejected=rejected.at(rejected.indices + start),
    )
