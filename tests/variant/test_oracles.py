"""The encoding as others read and write it: DuckDB, and Spark's Python library."""

from __future__ import annotations

import io
import json
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql.variant_utils import VariantUtils

from beam_zerobus.variant import VARIANT_TYPE, decode_variants, encode_json

from .documents import DOCUMENTS, exact

TEXTS = st.lists(DOCUMENTS, min_size=1, max_size=6)


def _duckdb_has_variants() -> bool:
    try:
        return duckdb.sql("SELECT typeof(1::VARIANT)").fetchall() == [("VARIANT",)]
    except duckdb.Error:
        return False


needs_duckdb = pytest.mark.skipif(not _duckdb_has_variants(), reason="this DuckDB has no VARIANT")


def variant_file(path: Path, variants: pa.Array) -> Path:
    """Write a Parquet file with a VARIANT column, which pyarrow cannot: the annotation is added to the footer."""
    written = io.BytesIO()
    pq.write_table(pa.table({"v": variants}), written, store_schema=False)
    content = written.getvalue()
    length = int.from_bytes(content[-8:-4], "little")
    # In Thrift's compact protocol: name "v" and two children; then also logicalType VARIANT, specification_version 1.
    group = b"\x18\x01v\x15\x04"
    footer = content[-8 - length : -8]
    assert footer.count(group + b"\0") == 1
    footer = footer.replace(group, group + b"\x5c\x0c\x20\x13\x01\0\0")
    path.write_bytes(content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def comparable(text: str | None) -> Any:
    """Return an exact value in which JSON null and no value are the same, as they are in DuckDB's JSON."""
    return ("JSON", None) if text is None else exact(text)


@needs_duckdb
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.sampled_from([1, 13]))
def test_duckdb_reads_what_was_encoded(tmp_path: Path, texts: list[str], times: int) -> None:
    texts = [text for text in texts if "\\u0000" not in text] * times  # DuckDB's JSON has no NUL
    variants, problems = encode_json(pa.array(texts, pa.string()))
    assert problems == {}
    file = variant_file(tmp_path / "v.parquet", variants)
    read = duckdb.sql(f"SELECT v::JSON FROM '{file}'").fetchall()
    assert [comparable(text) for (text,) in read] == [comparable(text) for text in texts]


@needs_duckdb
@settings(max_examples=60)
@given(TEXTS)
def test_what_duckdb_encodes_is_read(texts: list[str]) -> None:
    rows = pa.table({"text": pa.array([text for text in texts if "\\u0000" not in text], pa.string())})
    encoded = duckdb.sql("SELECT variant_to_parquet_variant(text::JSON::VARIANT) AS v FROM rows").fetchall()
    variants = pa.array([value for (value,) in encoded], VARIANT_TYPE)
    for text, sent in zip(decode_variants(variants).to_pylist(), rows["text"].to_pylist(), strict=True):
        assert json.loads(text) == approximately(json.loads(sent))


def approximately(value: Any) -> Any:
    """Return a value that equals one with the same numbers as doubles, which is what DuckDB makes of JSON."""
    if isinstance(value, dict):
        return {key: approximately(part) for key, part in value.items()}
    if isinstance(value, list):
        return [approximately(part) for part in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return pytest.approx(value, rel=1e-12, abs=1e-300) if is_number else value


@settings(max_examples=60)
@given(TEXTS, st.sampled_from([1, 13]))
def test_spark_reads_what_was_encoded(texts: list[str], times: int) -> None:
    texts = texts * times
    variants, problems = encode_json(pa.array(texts))
    assert problems == {}
    for text, variant in zip(texts, variants.to_pylist(), strict=True):
        with localcontext(prec=60):  # Spark multiplies decimals, which rounds to 28 digits otherwise
            read = VariantUtils.to_python(variant["value"], variant["metadata"])
        assert as_decimals(read) == exact(text)[1]


@settings(max_examples=60)
@given(DOCUMENTS)
def test_what_spark_encodes_is_read(text: str) -> None:
    value, metadata = VariantUtils.parse_json(text)
    variants = pa.array([{"metadata": metadata, "value": value}], VARIANT_TYPE)
    read = decode_variants(variants)[0].as_py()
    assert json.loads(read) == json.loads(text)


def as_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_decimals(part) for key, part in value.items()}
    if isinstance(value, list):
        return [as_decimals(part) for part in value]
    if isinstance(value, float):
        return Decimal(repr(value))
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
