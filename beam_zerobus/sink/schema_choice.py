"""Which schema a sink uses if none was given: that of its elements' type, or the table's from Unity Catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError, about_table
from beam_zerobus.sink.row_types import UnresolvedTypeError, schema_source
from beam_zerobus.writer.config import SchemaSource, WriterConfig, make_config, parse_schema

__all__ = ["with_schema_of_element", "with_schema_of_type"]


def with_schema_of_type(config: WriterConfig, element_type: Any, given: Mapping[str, Any]) -> WriterConfig:
    """Fill in the schema when the pipeline is built; unchanged if the type of the elements says nothing about it.

    Args:
        config: The configuration; returned as it is if it has a schema.
        element_type: Beam's type of the elements.
        given: The options that the configuration was made from.

    Raises:
        ConfigurationError: A field of the type has no column type, and Unity Catalog cannot be asked.
    """
    if config.schema is not None:
        return config
    try:
        with about_table(config.table):
            source = schema_source(element_type)
    except UnresolvedTypeError as unresolved:
        try:
            return make_config(config.table, **{**given, "schema": "unity_catalog"})
        except ConfigurationError:
            raise unresolved from None
    return config if source is None else make_config(config.table, **{**given, "schema": source})


def with_schema_of_element(config: WriterConfig, element: object) -> WriterConfig:
    """Fill in the schema on the worker, for elements whose type was not known when the pipeline was built.

    Raises:
        ConfigurationError: The element has no column types, and Unity Catalog cannot be asked.
    """
    if config.schema is not None:
        return config
    if isinstance(element, pa.RecordBatch | pa.Table):
        # Named, not left to the first batch of a shared writer: that may be another pipeline's.
        return _with_source(config, element.schema, str(element.schema))
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
            f"A {type(element).__qualname__} for table {config.table} has no column types, and Unity Catalog "
            f"cannot be asked {why}: give WriteToZerobus(schema=...)"
        )
    return _with_source(config, source, str(source))


def _with_source(config: WriterConfig, source: SchemaSource, name: str) -> WriterConfig:
    """Fill in the schema; the key is equal in every DoFn of the process, so that they share one writer."""
    key = hashlib.sha256(f"{config.key}\n{name}".encode()).hexdigest()
    with about_table(config.table):
        return replace(config, schema=parse_schema(source), key=key)
