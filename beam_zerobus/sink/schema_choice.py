"""The schema that a sink's elements declare, where neither the user nor Unity Catalog gives the table's."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from numbers import Number
from typing import Any

import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_zerobus.destinations import KeptFields
from beam_zerobus.errors import ConfigurationError, about_table
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.source import ELEMENTS, SchemaSource, parse_schema
from beam_zerobus.sink.row_types import has_no_columns, row_type_schema
from beam_zerobus.sink.rows_of_file import RowsOfFile
from beam_zerobus.writer.config import WriterConfig, make_config

__all__ = ["check_columns", "has_python_values", "schema_of", "with_schema_of_element", "with_schema_of_type"]


def check_columns(config: WriterConfig, element_type: Any) -> None:
    """Raise ConfigurationError where the schema is that of the elements, and their type has no columns."""
    if config.schema == ELEMENTS and has_no_columns(element_type):
        raise _no_columns(config, element_type)


def with_schema_of_type(
    config: WriterConfig, element_type: Any, given: Mapping[str, Any], kept: KeptFields | None
) -> WriterConfig:
    """Fill in the schema when the pipeline is built, where it is that of the elements and their type declares it.

    Args:
        config: The configuration; returned as it is if the table's schema is given or fetched.
        element_type: Beam's type of the elements.
        given: The options that the configuration was made from.
        kept: The fields that are written.

    Raises:
        ConfigurationError: The type, or a field of it, does not determine column types.
    """
    if element_type is RowsOfFile:
        return config
    check_columns(config, element_type)
    if config.schema != ELEMENTS:
        return config
    with about_table(config.table):
        schema = row_type_schema(element_type)
    if schema is None:
        return config
    return make_config(config.table, **{**given, "schema": schema if kept is None else kept.of_schema(schema)})


def with_schema_of_element(config: WriterConfig, element: object, kept: KeptFields | None) -> WriterConfig:
    """Fill in the schema on the worker, for elements whose type was not known when the pipeline was built.

    Raises:
        ConfigurationError: The element has no column types.
    """
    if config.schema != ELEMENTS:
        return config
    with about_table(config.table):
        if isinstance(element, RowsOfFile):
            element = element.rows[0] if isinstance(element.rows, list) else element.rows
        # Named, not left to the first batch of a shared writer: that may be another pipeline's.
        schema = element.schema if isinstance(element, pa.RecordBatch | pa.Table) else row_type_schema(type(element))
    if schema is None:
        raise _no_columns(config, type(element))
    if kept is not None:
        schema = kept.of_schema(schema)
    # The key is equal in every DoFn of the process, so that they share one writer.
    key = hashlib.sha256(f"{config.key}\n{schema}".encode()).hexdigest()
    with about_table(config.table):
        return replace(config, schema=parse_schema(schema), key=key)


def schema_of(elements: Any, kept: KeptFields | None) -> SchemaSource:
    """Return the schema of elements, given as a PCollection, their type or their schema; None where there is none.

    Raises:
        ConfigurationError: A field of the type does not determine a column type; or elements themselves are given.
    """
    if elements is None or isinstance(elements, str | TableSchema):
        return elements
    if isinstance(elements, pa.Schema):
        schema: pa.Schema | None = elements
    elif isinstance(elements, pa.RecordBatch | pa.Table):
        schema = elements.schema
    elif isinstance(elements, Collection | Number):
        raise ConfigurationError(
            f"check() compares columns, and was given a value of type {type(elements).__qualname__}: give a "
            "PCollection, the type of its elements, or their schema"
        )
    else:
        schema = row_type_schema(elements.element_type if isinstance(elements, PCollection) else elements)
    return schema if schema is None or kept is None else kept.of_schema(schema)


def has_python_values(elements: Any) -> bool:
    """Return whether what `schema_of` takes describes Python values, and not Arrow data."""
    return not isinstance(elements, str | TableSchema | pa.Schema | pa.RecordBatch | pa.Table)


def _no_columns(config: WriterConfig, element_type: Any) -> ConfigurationError:
    if config.dry_run:
        why = 'in a dry run without schema="unity_catalog"'
    elif config.creates_table:
        why = 'where create_table="if_needed" may have to make the table'
    else:
        why = "without workspace_url" if config.workspace_url is None else 'with schema="elements"'
    name = getattr(element_type, "__qualname__", None) or str(element_type)
    return ConfigurationError(
        f"Elements of type {name} for table {config.table} have no column types, and the table's schema is not fetched "
        f"{why}: give WriteToZerobus(schema=...)"
    )
