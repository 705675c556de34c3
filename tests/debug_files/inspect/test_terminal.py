"""What `beam-zerobus inspect` prints fits a terminal of 80 columns, and shows why rows were rejected."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles, RowError
from beam_zerobus.cli import main
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema

TABLE = "main.iot.air_quality"
SCHEMA = TableSchema.from_ddl(
    "id BIGINT, device STRING, measured_at TIMESTAMP, received_at TIMESTAMP, temperature DOUBLE, humidity DOUBLE"
)
REASON = "column 'temperature' is DOUBLE: a value of Python type str does not fit; pass a float"


@pytest.fixture
def debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of a Beam worker, whose names are long; one value of each differs, and one row is rejected."""
    monkeypatch.setenv("COLUMNS", "80")
    encoder = ProtoEncoder(SCHEMA)
    writer = DebugFileWriter(
        DebugFiles(output_dir=tmp_path, max_file_bytes=1),
        table=TABLE,
        shard="beam-worker-0-12345-3f2a9c1e",
        descriptor=encoder.descriptor,
        schema=SCHEMA,
    )
    for start in (0, 1_700_000_000_000_000):
        times = pa.array([start, start + 1], pa.timestamp("us", "UTC"))
        numbers = pa.array([0.1 + 0.2, None])
        columns = [pa.array([start, start + 1]), pa.array(["attic", "cellar"]), times, times, numbers, numbers]
        batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA.to_arrow())
        changed = batch.set_column(1, "device", pa.array(["another device", "cellar"]))
        records = [record for payload in encoder.encode(changed) for record in payload.records]
        writer.reject(writer.write(batch, frame(records)), [RowError(1, "wrong_type", REASON, "service")])
    writer.close()
    return tmp_path


@pytest.mark.parametrize("flags", [[], ["--diff"]])
def test_it_fits_80_columns_and_breaks_no_name_and_no_value(debug: Path, capsys, flags: list[str]) -> None:
    assert main(["inspect", str(debug / "zerobus"), *flags]) == len(flags)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if str(debug) not in line]
    assert max(map(len, lines)) <= 80
    values = ["device", "attic", "2023-11-14T22:13:20.000001Z", "1970-01-01T00:00:00Z"]
    values += ["measured_at", "temperature", "0.30000000000000004", "timestamp[us, tz=UTC]"]
    for whole in ["another device", "attic"] if flags else values:
        assert whole in out


def test_it_shows_why_rows_were_rejected(debug: Path, capsys) -> None:
    assert main(["inspect", str(debug)]) == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert words.count("first 1 of 1 rejected row") == 2
    assert words.count(f"wrong_type: {REASON}") == 2
    assert main(["inspect", str(debug), "--json", "--limit", "0"]) == 0
    arrow, _ = json.loads(capsys.readouterr().out)
    assert [(file["rejected_rows"], file["rejections"]) for file in arrow["files"]] == [(1, []), (1, [])]


def test_diff_says_in_words_what_each_file_has(debug: Path, capsys) -> None:
    (debug / "zerobus" / "proto" / f"{TABLE}-beam-worker-0-12345-3f2a9c1e.proto").unlink()
    assert main(["inspect", str(debug), "--diff"]) == 1
    words = " ".join(capsys.readouterr().out.split())
    assert "2 rows in Arrow, 0 rejected before sending, 2 rows in protobuf, 1 value differs" in words
    assert "2 rows in Arrow, 0 rejected before sending, no protobuf file, 0 values differ" in words
