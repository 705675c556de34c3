"""Names of catalogs with hyphens, and names in any case, from Unity Catalog to the table."""

from __future__ import annotations

import pyarrow as pa
import pytest

WIRE_FORMATS = ["proto", "arrow", "json"]


@pytest.mark.parametrize("wire_format", WIRE_FORMATS)
def test_a_catalog_with_hyphens_and_names_in_any_case(emulator, connect, wire_format):
    table = emulator.create_table("my-catalog.my-schema.Readings", "Id INT NOT NULL, Name STRING, Inner STRUCT<A: INT>")
    writer = connect("my-catalog.my-schema.Readings", schema="unity_catalog", wire_format=wire_format)
    rows = pa.RecordBatch.from_pylist([{"NAME": "a", "inner": {"a": 1}, "ID": 7}])
    assert writer.send_batch(rows).successful_count == 1
    writer.close()
    assert table.to_arrow().to_pylist() == [{"Id": 7, "Name": "a", "Inner": {"A": 1}}]
