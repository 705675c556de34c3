"""The golden files of Arrow's integration suite, where `ARROW_TEST_DATA` names a checkout's `data` directory."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.encoding.proto import encoder as encoder_module
from beam_zerobus.errors import ZerobusError
from beam_zerobus.schema import Conformer, TableSchema

DATA = os.environ.get("ARROW_TEST_DATA")
FILES = sorted(Path(DATA).glob("arrow-ipc-stream/integration/*/*.stream")) if DATA else []

pytestmark = pytest.mark.skipif(not FILES, reason="ARROW_TEST_DATA does not name the data of apache/arrow-testing")


def batches_of(path: Path) -> list[pa.RecordBatch]:
    try:
        with pa.ipc.open_stream(path) as reader:
            return [batch for batch in reader if batch.columns]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        pytest.skip(f"pyarrow {pa.__version__} cannot read it: {error}")


def schema_of(field: pa.Field) -> TableSchema | None:
    """Return a table of this one column; None for what neither Delta nor protobuf holds."""
    try:
        schema = TableSchema.from_arrow(pa.schema([pa.field("c", field.type)]))
        ProtoEncoder(schema)
    except ZerobusError:
        return None
    return schema


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_column_is_what_protobuf_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "FEW_ROWS", 1)
    for batch in batches_of(path):
        for field, column in zip(batch.schema, batch.columns, strict=True):
            schema = schema_of(field)
            if schema is None:
                continue
            fitting = Conformer(schema).conform(pa.RecordBatch.from_arrays([column], ["c"])).batch
            encoder = ProtoEncoder(schema)
            payloads = list(encoder.encode(fitting))
            rejected = {error.index for payload in payloads for error in payload.rejected}
            kept = fitting.take(pa.array([i for i in range(fitting.num_rows) if i not in rejected], pa.int64()))
            assert [record for payload in payloads for record in payload.records] == encoder._classes.serialize(kept)
