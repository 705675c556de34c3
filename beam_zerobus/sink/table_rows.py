"""`TableRows`: the elements of one table, from the list to the bundle."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from beam_zerobus.batching import CurrentRowConverter, RowKind, RowLimit, row_kind
from beam_zerobus.errors import ConversionError, RowError, RowErrors
from beam_zerobus.schema import Conformer
from beam_zerobus.sink.bundle import Bundle
from beam_zerobus.sink.elements import Elements, Origin
from beam_zerobus.sink.failed_rows import bundle_error
from beam_zerobus.sink.rows import GatheredRows, Kind, RowsWithOrigin, rejected_rows, separated
from beam_zerobus.sink.schema_choice import with_schema_of_element
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.rows import RowsOutdatedError
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["TableRows"]


class TableRows:
    """Converts the elements of one table and submits them as soon as they fill a batch.

    Args:
        config: The table's writer; its schema may be that of the elements.
        settings: The settings of the sink.
        bundle: Sends the batches.
        row_limit: How many rows make a batch.
    """

    def __init__(self, config: WriterConfig, settings: SinkSettings, bundle: Bundle, row_limit: RowLimit) -> None:
        self._config = config
        self._settings = settings
        self._bundle = bundle
        self._row_limit = row_limit
        self._config_with_schema: WriterConfig | None = None
        self._converter = CurrentRowConverter(replace(config.row_options, kept=settings.kept))
        self._gathered = GatheredRows()

    def send(self, elements: Elements, *, incomplete: bool) -> None:
        """Submit the rows as soon as they fill a batch.

        Args:
            elements: The elements; empty for those that were gathered before.
            incomplete: Submit a batch that is not full, too.

        Raises:
            ConversionError: Elements cannot be read, and fail the bundle.
            ZerobusError: An error that concerns more than single rows.
        """
        if not elements.values and not self._gathered.count:
            return
        with self._bundle.writer(self._known_config(elements)) as writer:
            for kind, chosen in separated(elements):
                self._send_kind(writer, chosen, kind)
            if self._gathered.count and (incomplete or self._gathered.count >= self._row_limit.rows):
                self._submit(writer, self._gathered.take())

    def send_now(self, elements: Elements, kind: Kind) -> None:
        """Submit elements of one kind, at least one; nothing is gathered before or after.

        Raises:
            ConversionError: Elements cannot be read, and fail the bundle.
            ZerobusError: An error that concerns more than single rows.
        """
        with self._bundle.writer(self._known_config(elements)) as writer:
            self._send_kind(writer, elements, kind)
            if self._gathered.count:
                self._submit(writer, self._gathered.take())

    def _send_kind(self, writer: ZerobusWriter, elements: Elements, kind: Kind) -> None:
        if kind == "batch":
            self._send_whole(writer, elements)
        elif self._settings.dead_letters:
            self._send_rows(writer, Origin(elements), kind)
        else:
            self._gather(writer, self._convert(writer, Origin(elements), kind))

    def _known_config(self, elements: Elements) -> WriterConfig:
        if self._config_with_schema is None:
            self._config_with_schema = with_schema_of_element(self._config, elements.values[0], self._settings.kept)
        return self._config_with_schema

    def clear(self) -> None:
        """Drop what was gathered."""
        self._gathered.clear()

    def finish(self) -> None:
        """End a bundle; nothing is gathered."""

    def _gather(self, writer: ZerobusWriter, rows: RowsWithOrigin) -> None:
        """Gather rows whose elements are dropped; submit those before them if they do not fit together."""
        if rows.rejected:
            raise bundle_error(self._all_rejected(rows), table=self._config.table, total_rows=rows.count)
        if not self._gathered.fits(rows):
            self._submit(writer, self._gathered.take())
        self._gathered.add(rows)

    def _all_rejected(self, rows: RowsWithOrigin) -> RowErrors:
        """Return the rows that could not be read, and those that the table's schema rejects: nothing will be sent."""
        rejected = [rows.rejected]
        if rows.schema is not None and rows.batch.num_rows:
            config = self._config
            conformer = Conformer(rows.schema, ignore_unknown_fields=config.ignores_unknown_fields, times=config.times)
            rejected.append(rows.numbered(RowErrors.of(conformer.conform(rows.batch).rejected)))
        return RowErrors.joined(rejected)

    def _submit(self, writer: ZerobusWriter, rows: RowsWithOrigin) -> None:
        self._row_limit.learn(rows=rows.batch.num_rows, nbytes=rows.batch.nbytes)
        self._bundle.send(writer, rows)

    def _send_whole(self, writer: ZerobusWriter, element: Elements) -> None:
        """Submit a RecordBatch or Table; convert the rows of a file as other rows."""
        origin = Origin(element, holds_rows=True)
        if not isinstance(origin.rows, list):
            self._submit_whole(writer, origin)
            return
        rows_of_file, start = element.values[0], 0
        while start < rows_of_file.num_rows:
            part = rows_of_file.slice(start, self._row_limit.rows)
            origin = Origin(Elements([part], element.micros, element.windows), holds_rows=True, first=start)
            self._send_rows(writer, origin, row_kind(type(part.rows[0])))
            start += part.num_rows

    def _send_rows(self, writer: ZerobusWriter, origin: Origin, kind: RowKind) -> None:
        """Convert and submit rows whose elements are kept; both again where the table's schema changed in between."""
        while True:
            rows = self._convert(writer, origin, kind)
            if rows.rejected and not self._settings.dead_letters:
                rejected = origin.located(self._all_rejected(rows))
                raise bundle_error(rejected, table=self._config.table, total_rows=rows.count)
            with suppress(RowsOutdatedError):
                self._submit(writer, rows)
                return

    def _submit_whole(self, writer: ZerobusWriter, origin: Origin) -> None:
        """Submit a RecordBatch or Table as it is; if its columns cannot fit the table's, it is rejected as a whole."""
        batch, kept = origin.rows, self._settings.kept
        rows = RowsWithOrigin(batch=batch if kept is None else kept.of_batch(batch), origin=origin)
        try:
            self._bundle.send(writer, rows)
        except ConversionError as error:
            if not self._settings.dead_letters or error.unknown_table:
                raise origin.named(error) from None
            # Its columns cannot fit the table, so each of its rows is a failed row.
            reason = RowError(0, error.error_type, str(error), "schema")
            rejected = RowErrors.same(np.arange(rows.count), reason)
            self._bundle.reject(self._config.table, rejected_rows(origin.elements, rejected, holds_rows=True))

    def _convert(self, writer: ZerobusWriter, origin: Origin, kind: RowKind) -> RowsWithOrigin:
        converted, schema = self._converter.convert(
            origin.rows,
            kind,
            origin.elements.parsed,
            schema=writer.resolve_schema(),
            fetch_again=writer.look_again if writer.may_look_again else None,
        )
        return RowsWithOrigin(
            batch=converted.batch, origin=origin, kept=converted.rows, rejected=converted.rejected, schema=schema
        )
