"""`CurrentConversion`: the conversion for a table's schema as a writer knows it now."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pyarrow as pa

from beam_zerobus.delivery.retry import retry_transient
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ConfigurationError, RowError, ZerobusError, about_table
from beam_zerobus.logs import get_logger
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import FindAdditions, arrow_fields_to_add, missing_fields, with_additions
from beam_zerobus.schema.reasons import may_fit_wider_column
from beam_zerobus.schema.source import UNITY_CATALOG
from beam_zerobus.tables.add_columns import add_columns
from beam_zerobus.tables.make import find_or_make_table
from beam_zerobus.workspace.single_flight import SingleFlight
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import fetch_table_schema
from beam_zerobus.writer.config import WriterConfig

__all__ = ["CurrentConversion"]

_log = get_logger(__name__)

_SHARED_FETCH_SECONDS = 3600.0  # longer than a fetch with all its retries, which has limits of its own

_ROUNDS = 5  # a change that a thread shares with others may lack its own columns

LOOK_AGAIN_SECONDS = 30.0
"""Seconds between two fetches of a schema because rows do not fit it."""


class CurrentConversion:
    """Finds the table's schema when it is first needed, and again when it may have changed; thread-safe.

    Threads that need it at the same time share one fetch, so that a catalog that does not answer delays them once,
    not one after another.

    `_looked_at` is when the schema was last fetched because rows did not fit it; `_misfits` says that such rows were
    rejected since. Neither needs the lock: what one thread overwrites of another only delays a fetch to a later batch.

    Invariant, under the one lock, which is not held while a schema is fetched: `_current` never becomes None again, and
    is replaced only by a conversion that was made from it, so that no thread brings an older schema back.
    """

    def __init__(self, config: WriterConfig, tokens: TokenSource) -> None:
        self._config = config
        self._tokens = tokens
        self._lock = threading.Lock()
        self._finding: SingleFlight[Conversion] = SingleFlight(limit=_SHARED_FETCH_SECONDS)
        self._adding: SingleFlight[None] = SingleFlight(limit=_SHARED_FETCH_SECONDS)
        self._refreshing: SingleFlight[None] = SingleFlight(limit=_SHARED_FETCH_SECONDS)
        self._current: Conversion | None = None
        self._looked_at = float("-inf")
        self._misfits = False

    @property
    def if_known(self) -> Conversion | None:
        """The conversion, once the schema is known."""
        return self._current

    def resolve(self, batch: pa.RecordBatch | pa.Table | None) -> Conversion:
        """Return the conversion; its schema is that of `batch` where nothing else is known about it.

        Raises:
            ConfigurationError: There is no such table, or no batch to take the schema from.
            ZerobusError: The schema could not be fetched.
        """
        return self._current or self._finding.run(lambda: self._find(batch))

    def resolve_for(self, batch: pa.RecordBatch | pa.Table) -> Conversion:
        """Return the conversion for a batch; where it may be out of date, the schema is fetched again first.

        It may be out of date where it lacks a field of the batch, or after a value did not fit its column, which may be
        wider now.
        """
        conversion = self._current or self.resolve(batch)
        if self._config.adds_fields and conversion.lacks_fields_of(batch.schema):
            conversion = self._with_fields(conversion, lambda schema: arrow_fields_to_add(batch.schema, schema))
        if self.may_change and (self._misfits or conversion.lacks_fields_of(batch.schema)):
            conversion = self.look_again(conversion)
            self._misfits = False  # only now, so that other threads wait for a fetch that is running
        return conversion

    def note_rejected(self, rejected: Sequence[RowError]) -> None:
        """Fetch the schema again, before the next batch, if rows were rejected that a wider column would hold."""
        self._misfits = self._misfits or may_fit_wider_column(rejected)

    @property
    def may_change(self) -> bool:
        """True where the schema is the table's own, which can be fetched again."""
        return self._config.fetches_schema

    @property
    def may_look_again(self) -> bool:
        """True where rows that do not fit are a reason to fetch the schema now, or to add columns."""
        return self._config.adds_fields or self._may_fetch

    @property
    def _may_fetch(self) -> bool:
        return self.may_change and time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS

    def look_again(self, known: Conversion, find: FindAdditions | None = None) -> Conversion:
        """Fetch the schema because rows do not fit it, at most twice a minute; return the newest.

        Args:
            known: The conversion that they do not fit.
            find: Finds the fields of rows that a schema lacks; they are added, if the options say so.
        """
        if find is not None and self._config.adds_fields and find(known.schema):
            return self._with_fields(known, find)
        if self._may_fetch:  # also while another thread fetches it: they share the fetch
            try:
                self._fetch_newer(known)
            except ZerobusError as error:  # the known schema stays in use
                _log.warning(
                    "The schema of %s could not be fetched again: %s", self._config.table, type(error).__name__
                )
            finally:
                self._looked_at = time.monotonic()
        return self._current or known

    def _with_fields(self, known: Conversion, find: FindAdditions) -> Conversion:
        """Add to the table what it lacks of some rows, and return the conversion for it.

        Threads that do so at the same time share one change; those that it does not help make the next one.

        Raises:
            ZerobusError: The columns cannot be added.
        """
        for _ in range(_ROUNDS):
            if not find(known.schema):
                break
            self._adding.run(partial(self._replace_with_fields, known, find))
            known = self._current or known
        return known

    def _replace_with_fields(self, known: Conversion, find: FindAdditions) -> None:
        self._replace(known, self._add(known, find))

    def _add(self, known: Conversion, find: FindAdditions) -> TableSchema:
        config = self._config
        if config.dry_run:
            return with_additions(known.schema, find(known.schema))
        return retry_transient(
            lambda: add_columns(self._warehouse, config.table, find, describe=self._fetch), config.retry
        )

    def refresh(self, outdated: Conversion) -> Conversion | None:
        """Return a newer conversion than one that the service found out of date; None where nothing has changed.

        It asks once, as its caller has a retry of its own.

        Raises:
            ZerobusError: The schema could not be fetched.
        """
        return self._fetch_newer(outdated) if self.may_change else None

    def differences(self) -> list[str]:
        """Return how the schema differs from that in Unity Catalog, if known; the service names one column only."""
        if self._current is None or self.may_change or self._config.workspace_url is None:
            return []
        with suppress(ZerobusError):
            return self._current.schema.differences(self._fetch())
        return []

    def _find(self, batch: pa.RecordBatch | pa.Table | None) -> Conversion:
        if self._current is not None:  # another thread was faster
            return self._current
        conversion = self._convert_with(self._find_schema(batch))
        with self._lock:
            self._current = conversion
        return conversion

    def _find_schema(self, batch: pa.RecordBatch | pa.Table | None) -> TableSchema:
        if self._config.schema == UNITY_CATALOG:
            return retry_transient(self._fetch, self._config.retry)
        wanted = self._given_schema(batch)
        if not self._config.creates_table:
            return wanted
        return retry_transient(lambda: self._make_table(wanted), self._config.retry)

    def _make_table(self, wanted: TableSchema) -> TableSchema:
        config = self._config
        found = find_or_make_table(
            self._warehouse,
            config.table,
            wanted,
            principal=config.credentials.principal(),
            describe=self._fetch,
            may_lack_columns=config.on_unknown_fields != "reject",
        )
        if not (config.adds_fields and missing_fields(wanted.columns, found.columns)):
            return found
        return add_columns(
            self._warehouse,
            config.table,
            lambda schema: missing_fields(wanted.columns, schema.columns),
            describe=self._fetch,
        )

    @property
    def _warehouse(self) -> SqlWarehouse:
        return SqlWarehouse(
            workspace_url=self._config.workspace_url or "",
            warehouse_id=self._config.warehouse_id or "",
            headers=self._tokens.workspace_headers,
        )

    def _given_schema(self, batch: pa.RecordBatch | pa.Table | None) -> TableSchema:
        if isinstance(self._config.schema, TableSchema):
            return self._config.schema
        if batch is None:
            raise ConfigurationError(
                f"The schema of {self._config.table} is not known before its first batch: "
                'give schema=..., or schema="unity_catalog" to fetch it'
            )
        with about_table(self._config.table):
            return TableSchema.from_arrow(batch.schema)

    def _fetch_newer(self, known: Conversion) -> Conversion | None:
        if self._current is known:
            self._refreshing.run(lambda: self._replace(known, self._fetch()))
        return None if self._current is known else self._current

    def _replace(self, known: Conversion, schema: TableSchema) -> None:
        if self._current is known and schema != known.schema:
            conversion = self._convert_with(schema, before=known)
            with self._lock:
                if self._current is known:  # else another thread was faster, and its columns would be lost
                    self._current = conversion

    def _convert_with(self, schema: TableSchema, *, before: Conversion | None = None) -> Conversion:
        if _log.isEnabledFor(logging.DEBUG):
            source = "from Unity Catalog" if self.may_change else "as given" if self._config.schema else "of the rows"
            _log.debug("Schema of %s, %s: %s", self._config.table, source, schema.to_ddl())
        return Conversion(
            schema,
            self._config.wire_format,
            table=self._config.table,
            ignore_unknown_fields="nulls" if self._config.adds_fields else self._config.ignores_unknown_fields,
            rescue_column=self._config.rescues_into,
            times=self._config.times,
            before=before,
        )

    def _fetch(self) -> TableSchema:
        return fetch_table_schema(
            self._config.workspace_url or "", self._config.table, headers=self._tokens.workspace_headers()
        )
