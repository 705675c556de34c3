"""Which schema a sink uses if none was given: that of its elements' type, or the table's from Unity Catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from beam_zerobus.errors import ConfigurationError, about_table
from beam_zerobus.sink.elements import holds_rows
from beam_zerobus.sink.row_types import UnresolvedTypeError, schema_source
from beam_zerobus.writer.config import WriterConfig, make_config, parse_schema

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
            f"A {type(element).__qualname__} for table {config.table} has no column types, and Unity Catalog "
            f"cannot be asked {why}: give WriteToZerobus(schema=...)"
        )
    # Equal in every DoFn of the process, so that they share one writer.
    key = hashlib.sha256(f"{config.key}\n{source}".encode()).hexdigest()
    return replace(config, schema=parse_schema(source), key=key)
