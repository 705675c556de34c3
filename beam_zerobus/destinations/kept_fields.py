"""`KeptFields`: which fields of a row are written, where some were only there to choose its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError

__all__ = ["KeptFields"]


@dataclass(frozen=True, slots=True)
class KeptFields:
    """The fields that are written; names are the same in any case, as in Delta.

    Attributes:
        names: The fields that are named, in lower case.
        named_are_kept: Only the named fields are written; otherwise all but these.
    """

    names: frozenset[str]
    named_are_kept: bool

    @classmethod
    def of(cls, keep: Sequence[str] | None, drop: Sequence[str] | None) -> KeptFields | None:
        """Return which fields the options `keep` and `drop` leave; None where both leave all.

        Raises:
            ConfigurationError: Both are given.

        Example:
            >>> KeptFields.of(None, ["region"]).of_dicts([{"Region": "eu", "co2": 417}])
            [{'co2': 417}]
        """
        if keep and drop:
            raise ConfigurationError("keep=... and drop=... are both given: name the fields to keep, or those to drop")
        named = keep or drop
        return cls(frozenset(name.lower() for name in named), bool(keep)) if named else None

    def of_dicts(self, records: Sequence[dict[Any, Any]]) -> list[dict[Any, Any]]:
        """Return the records without the fields that are not written."""
        left_out = self._left_out(set().union(*records))
        return [{name: value for name, value in record.items() if name not in left_out} for record in records]

    def of_batch(self, batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
        """Return the rows without the columns that are not written; nothing is copied."""
        left_out = self._left_out(batch.schema.names)
        return batch.select([n for n, name in enumerate(batch.schema.names) if name not in left_out])

    def of_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of the rows as they are written."""
        left_out = self._left_out(schema.names)
        return pa.schema([field for field in schema if field.name not in left_out])

    def _left_out(self, names: Iterable[Any]) -> set[Any]:
        return {name for name in names if (str(name).lower() in self.names) != self.named_are_kept}
