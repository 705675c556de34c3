"""Where a table's schema is from: what users give as `schema`."""

from __future__ import annotations

import difflib
import re
from typing import Literal, TypeAlias

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.fields import shown
from beam_zerobus.schema.table import TableSchema

__all__ = ["ELEMENTS", "UNITY_CATALOG", "SchemaSource", "parse_schema"]

UNITY_CATALOG: Literal["unity_catalog"] = "unity_catalog"
ELEMENTS: Literal["elements"] = "elements"

SchemaSource: TypeAlias = pa.Schema | TableSchema | str | None
"""What users may give as `schema`: pyarrow's, a DDL string, ``"unity_catalog"``, ``"elements"``, or None."""


def parse_schema(schema: SchemaSource) -> TableSchema | Literal["unity_catalog", "elements"] | None:
    """Turn what users give as `schema` into a `TableSchema`, or leave it for the worker.

    Raises:
        ConfigurationError: It is none of the accepted kinds, or its DDL cannot be read.
    """
    if schema is None or isinstance(schema, TableSchema):
        return schema
    if isinstance(schema, pa.Schema):
        return TableSchema.from_arrow(schema)
    if isinstance(schema, str):
        return _source_or_ddl(schema)
    raise ConfigurationError(
        f"schema has the type {type(schema).__name__}: give a pyarrow.Schema, a DDL string such as "
        '"id BIGINT NOT NULL, name STRING", "unity_catalog", "elements", or None'
    )


def _source_or_ddl(text: str) -> TableSchema | Literal["unity_catalog", "elements"]:
    sources: dict[str, Literal["unity_catalog", "elements"]] = {"unitycatalog": UNITY_CATALOG, "elements": ELEMENTS}
    if text in sources.values():
        return sources[text.replace("_", "")]
    try:
        return TableSchema.from_ddl(text)
    except ConfigurationError:
        close = difflib.get_close_matches(re.sub(r"[\W_]", "", text.lower()), sources, n=1, cutoff=0.8)
        if not close:
            raise
        raise ConfigurationError(f'schema={shown(text)}: write it as "{sources[close[0]]}"') from None
