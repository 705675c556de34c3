"""Rows of files that do not fit the table: what is said names nothing that only a sink has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus import ConfigurationError
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.seeding import seed_from_file

NAIVE = pa.array([0], pa.timestamp("us"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"id": [1], "colour": ["red"]},
            "column 'colour' is not in the table; it has Arrow type string; leave it out, or",
        ),
        ({"at": NAIVE}, "the column has no time zone; use TIMESTAMP_NTZ in the table"),
        ({"at": [1]}, "does not accept Arrow type int64: cast it to a timestamp"),
        ({"id": ["a"]}, "does not accept Arrow type string: only Arrow's integers fit"),
    ],
)
def test_no_option_of_a_sink_is_named(
    emulator: Emulator, tmp_path: Path, rows: dict[str, object], message: str
) -> None:
    table = emulator.create_table("main.iot.air", "id BIGINT, at TIMESTAMP")
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    with pytest.raises(ConfigurationError) as raised:
        seed_from_file(table, tmp_path / "rows.parquet")
    assert message in str(raised.value)
    assert not any(name in str(raised.value) for name in ("on_unknown_fields", "assume_timezone", "epoch_unit"))
