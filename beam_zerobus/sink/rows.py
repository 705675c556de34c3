"""Elements to what the writer takes: one RecordBatch of those that are rows, and each that holds rows as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from beam_zerobus.batching import ElementConverter, element_converter, types_of
from beam_zerobus.errors import ConfigurationError, RowError, about_table
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.elements import Elements, Origin, holds_rows
from beam_zerobus.sink.row_types import UnresolvedTypeError, schema_source
from beam_zerobus.writer.config import WriterConfig, parse_schema

__all__ = ["GatheredRows", "RowConverter", "Rows", "separated", "with_schema_of"]

Kind = Literal["rows", "json", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows for the writer, and which element each was.

    Attributes:
        batch: What is sent.
        origin: The elements.
        kept: For each row of the batch the number of its element; None where all elements are in the batch.
        rejected: The elements that could not be read, by number.
    """

    batch: pa.RecordBatch | pa.Table
    origin: Origin
    kept: np.ndarray | None = None
    rejected: tuple[RowError, ...] = ()

    @property
    def count(self) -> int:
        """All rows, those that could not be read included."""
        return self.batch.num_rows + len(self.rejected)

    def number(self, index: int) -> int:
        """Return the number, among all rows, of a row of the batch."""
        return index if self.kept is None else int(self.kept[index])


class RowConverter:
    """Converts elements that are one row each, for one table schema.

    Attributes:
        schema: The table's.
    """

    def __init__(self, schema: TableSchema, *, ignore_unknown_fields: bool) -> None:
        self.schema = schema
        self._by_kind: dict[Kind, ElementConverter] = {
            "json": element_converter("json", schema, ignore_unknown_fields=ignore_unknown_fields),
            "row": element_converter("row", schema, ignore_unknown_fields=ignore_unknown_fields),
        }

    def convert(self, elements: Elements, kind: Kind) -> Rows:
        """Convert elements of one kind; those that cannot be read are among `rejected`."""
        converted = self._by_kind[kind](elements.values)
        return Rows(batch=converted.batch, origin=Origin(elements), kept=converted.rows, rejected=converted.rejected)


class GatheredRows:
    """Rows of several conversions, none rejected, that go out as one batch; their elements are let go."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._batches: list[pa.RecordBatch] = []
        self._places = Elements()
        self.count = 0

    def fits(self, rows: Rows) -> bool:
        """Tell whether rows have the very types of those that are here."""
        return not self._batches or self._batches[0].schema.equals(rows.batch.schema)

    def add(self, rows: Rows) -> None:
        """Take rows in, and where they came from."""
        self._batches.append(rows.batch)
        self._places.micros += rows.origin.elements.micros
        self._places.windows += rows.origin.elements.windows
        self.count += rows.batch.num_rows

    def take(self) -> Rows:
        """Move all rows out, as one batch."""
        batch = self._batches[0] if len(self._batches) == 1 else pa.concat_batches(self._batches)
        rows = Rows(batch=batch, origin=Origin(self._places))
        self.clear()
        return rows


def separated(elements: Elements) -> Iterator[tuple[Kind, Elements]]:
    """Split elements by kind, each that holds many rows for itself; mostly all are of one kind."""
    kinds = {kind: _kind_of(kind) for kind in types_of(elements.values)}
    present = set(kinds.values())
    if len(present) == 1 and "rows" not in present:
        yield present.pop(), elements
        return
    positions: dict[Kind, list[int]] = {}
    for position, value in enumerate(elements.values):
        kind = kinds[type(value)]
        if kind == "rows":
            yield kind, elements.select([position])
        else:
            positions.setdefault(kind, []).append(position)
    for kind, chosen in positions.items():
        yield kind, elements.select(chosen)


def _kind_of(element_type: type) -> Kind:
    if issubclass(element_type, pa.RecordBatch | pa.Table):
        return "rows"
    return "json" if issubclass(element_type, str | bytes | bytearray) else "row"


def with_schema_of(config: WriterConfig, element: object) -> WriterConfig:
    """Fill in where the schema comes from, for elements whose type was not known when the pipeline was built.

    Raises:
        ConfigurationError: The element carries no schema, and Unity Catalog cannot be asked.
    """
    if config.schema is not None or holds_rows(element):
        return config
    can_ask = not config.dry_run and config.workspace_url is not None
    try:
        with about_table(config.table):
            source = schema_source(type(element)) or "unity_catalog"
    except UnresolvedTypeError:
        if not can_ask:
            raise
        source = "unity_catalog"
    if source == "unity_catalog" and not can_ask:
        why = "in a dry run" if config.dry_run else "without workspace_url"
        raise ConfigurationError(
            f"A {type(element).__qualname__} for table {config.table} carries no column types, and Unity Catalog "
            f"cannot be asked {why}: give WriteToZerobus(schema=...)"
        )
    # Equal in every DoFn of the process, so that they share one writer.
    key = hashlib.sha256(f"{config.key}\n{source}".encode()).hexdigest()
    return replace(config, schema=parse_schema(source), key=key)
