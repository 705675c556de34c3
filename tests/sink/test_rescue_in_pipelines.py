"""`on_unknown_fields="rescue"` in pipelines and as flags."""

import json

import apache_beam as beam
import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError
from beam_zerobus.sink.pipeline_options import ZerobusOptions

TABLE = "main.iot.air"
ROWS = [{"id": 1, "size": 1}, {"id": 2, "size": 2**40, "new": {"a": [1.5, None]}}]


# Not beam.Row: `Create` encodes all of them with the fields of one.
@pytest.mark.parametrize("form", [dict, json.dumps, lambda row: pa.Table.from_pylist([row])])
def test_a_sink_rescues(emulator, sink, run, form):
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL, size INT, _rescued_data VARIANT")
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(list(map(form, ROWS)), reshuffle=False)
            | sink(schema="unity_catalog", on_unknown_fields="rescue")
        )
    )
    rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert [(row["id"], row["size"]) for row in rows] == [(1, 1), (2, None)]
    assert rows[0]["_rescued_data"] is None
    assert json.loads(rows[1]["_rescued_data"]) == {"new": {"a": [1.5, None]}, "size": 2**40}


def test_flags_name_the_column():
    flags = ["--zerobus_table=main.iot.air", "--zerobus_on_unknown_fields=rescue", "--zerobus_rescue_column=rest"]
    ZerobusOptions([*flags, "--zerobus_schema=id BIGINT, rest STRING", "--zerobus_dry_run"]).sink()
    with pytest.raises(ConfigurationError, match="needs the column 'rest'"):
        ZerobusOptions([*flags, "--zerobus_schema=id BIGINT", "--zerobus_dry_run"]).sink()
