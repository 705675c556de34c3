"""`WritersConfig`: the options of the writers of several tables, checked, and in one value that pickles."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from beam_zerobus.errors import ConfigurationError, about_table
from beam_zerobus.options.fields import check_options, limits
from beam_zerobus.schema.source import SchemaSource, parse_schema
from beam_zerobus.schema.table_name import check_table_name
from beam_zerobus.writer.config import WriterConfig, make_base_config

__all__ = ["SchemaOfTables", "WritersConfig", "WritersOptions", "make_writers_config", "writers_options_among"]

SchemaOfTables: TypeAlias = SchemaSource | Mapping[str, Any] | Callable[[str], Any]
"""What users may give as `schema` of several tables: one for all, or one for each by its name or by a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritersOptions:
    """Options of the writers of several tables beyond those of one; each field is the one declaration of its option.

    Attributes:
        max_open_tables: Tables that a worker process has open at once, each with its own stream; the one that was used
            least recently is flushed and closed when another is needed.
        max_tables_in_metrics: Tables of a worker process that have metrics of their own; all others are counted under
            ``"other"``.
    """

    max_open_tables: int = field(default=50, metadata=limits(at_most=10_000, flat="max_open_tables"))
    max_tables_in_metrics: int = field(default=100, metadata=limits(at_least=0, flat="max_tables_in_metrics"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WritersConfig:
    """The options of the writers of several tables, checked and complete.

    Attributes:
        base: The options that all tables have in common; its `table` stands for their names.
        schemas: The schema of each table, by its name or by a function; None where `base` says it for all.
        options: How many tables at once, and how many with metrics.
        identity: Stands for `schemas` and `options` in the key.
    """

    base: WriterConfig
    schemas: Mapping[str, Any] | Callable[[str], Any] | None
    options: WritersOptions
    identity: str

    @property
    def key(self) -> str:
        """Identifies the configuration among those that a process shares; holds no secret."""
        return hashlib.sha256(f"{self.base.key}\n{self.identity}".encode()).hexdigest()

    def of(self, table: str) -> WriterConfig:
        """Return the configuration of one table's writer.

        Raises:
            ConfigurationError: The name is not valid, or there is no schema for the table.
        """
        check_table_name(table)
        if self.schemas is None:
            return replace(self.base, table=table, key="")
        with about_table(table):
            schema = parse_schema(self._schema_of(table))
        return replace(self.base, table=table, schema=self.base.schema if schema is None else schema, key="")

    def _schema_of(self, table: str) -> Any:
        if isinstance(self.schemas, Mapping):
            if table not in self.schemas:
                raise ConfigurationError("schema=... has no entry for it: add one").of_unknown_table()
            return self.schemas[table]
        assert self.schemas is not None  # noqa: S101 - checked by the caller
        return self.schemas(table)


def make_writers_config(label: str, **options: Any) -> WritersConfig:
    """Check every option of the writers of several tables, and fill in what is missing from the environment.

    Args:
        label: Stands for the tables' names.
        options: Options of `WriterConfig` and `WritersOptions`, as users give them; `schema` may be a `SchemaOfTables`.

    Raises:
        ConfigurationError: An option is wrong; the message names it and the remedy.

    Example:
        >>> config = make_writers_config("main.{kind}.air", schema={"main.a.air": "id BIGINT"}, dry_run=True)
        >>> config.of("main.a.air").schema.to_ddl()
        'id BIGINT'
    """
    own = writers_options_among(options)
    check_options(WritersOptions, own)
    common = {name: value for name, value in options.items() if name not in own}
    schema = common.get("schema")
    schemas = schema if isinstance(schema, Mapping) or callable(schema) else None
    if schemas is not None:
        common["schema"] = None
    if isinstance(schemas, Mapping):
        for table, source in schemas.items():
            check_table_name(table)
            with about_table(table):
                parse_schema(source)
    base = make_base_config(label, **common)
    # A function has no value to compare.
    identity = repr((own, uuid.uuid4().hex if callable(schemas) else schemas))
    return WritersConfig(base=base, schemas=schemas, options=WritersOptions(**own), identity=identity)


def writers_options_among(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `WritersOptions` among the arguments of a function that takes them all."""
    return {name: given[name] for name in ("max_open_tables", "max_tables_in_metrics") if name in given}
