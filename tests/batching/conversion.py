"""Elements converted for a table, for the tests of this room."""

from __future__ import annotations

from beam_zerobus.batching import element_converter
from beam_zerobus.schema import TableSchema

SECRET = "s3cret-value"


def convert(kind, ddl, elements, **options):
    return element_converter(kind, TableSchema.from_ddl(ddl), **options)(elements)
