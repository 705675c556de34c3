"""`on_unknown_fields="rescue"`, from a writer to the Delta table; and the table that lacks the column."""

import json

import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, ZerobusWriter
from beam_zerobus.writer.config import make_config

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, size INT, _rescued_data "
ROWS = [{"id": 2, "size": 2**40, "new": {"a": [1.5, None]}}, {"id": 1, "size": 1}]  # Arrow takes the names of the first
RESCUED = [None, {"new": {"a": [1.5, None]}, "size": 2**40}]
FORMS = [list, lambda rows: [json.dumps(row) for row in rows], pa.RecordBatch.from_pylist, pa.Table.from_pylist]


def landed(table):
    rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    return [(row["id"], row["size"], json.loads(row["_rescued_data"] or "null")) for row in rows]


@pytest.mark.parametrize(("wire_format", "kind"), [("proto", "VARIANT"), ("arrow", "VARIANT"), ("json", "STRING")])
def test_a_writer_rescues(emulator, connect, wire_format, kind):
    table = emulator.create_table(TABLE, DDL + kind)
    writer = connect(schema="unity_catalog", wire_format=wire_format, on_unknown_fields="rescue")
    for form in FORMS:
        assert writer.send(form(ROWS)).success
    failed = writer.send([{"size": 3, "new": 4}, {"id": 5, "_rescued_data": "mine"}]).failed_rows
    assert [(error.index, error.error_type) for error in failed] == [(0, "null_in_not_null_column")]
    expected = [(1, 1, RESCUED[0])] * len(FORMS) + [(2, None, RESCUED[1])] * len(FORMS)
    assert landed(table) == [*expected, (5, None, {"_rescued_data": "mine"})]


def test_rows_of_an_error_are_sent_again_as_they_were(emulator, connect):
    table = emulator.create_table(TABLE, DDL + "STRING")
    writer = connect(schema=DDL + "STRING", on_unknown_fields="rescue")
    submission = writer.submit(ROWS)
    submission.result()
    assert writer.send(submission.batch).success  # as a TransientError has them
    assert landed(table) == [(1, 1, RESCUED[0])] * 2 + [(2, None, RESCUED[1])] * 2


@pytest.mark.parametrize(
    ("ddl", "says"),
    [
        ("id INT", "needs the column '_rescued_data' in the table: add it"),
        ("id INT, _rescued_data BIGINT", "is BIGINT in the table: it must be VARIANT or STRING, and nullable"),
        ("id INT, _rescued_data STRING NOT NULL", "is STRING NOT NULL in the table"),
    ],
)
def test_a_table_without_the_column_is_an_early_error(emulator, connect, ddl, says):
    with pytest.raises(ConfigurationError, match=says):
        ZerobusWriter(TABLE, schema=ddl, on_unknown_fields="rescue", dry_run=True)
    emulator.create_table(TABLE, ddl)
    with pytest.raises(ConfigurationError, match=says):
        connect(schema="unity_catalog", on_unknown_fields="rescue").resolve_schema()


def test_the_column_may_have_another_name():
    options = {"on_unknown_fields": "rescue", "rescue_column": "Rest", "dry_run": True}
    with ZerobusWriter(TABLE, schema="id INT, rest VARIANT", **options) as writer:
        assert writer.send([{"new": 1}]).success


def test_the_former_option_still_works():
    with pytest.deprecated_call(match='set on_unknown_fields="ignore"'):
        config = make_config(TABLE, schema="id INT", ignore_unknown_fields=True, dry_run=True)
    assert config == make_config(TABLE, schema="id INT", on_unknown_fields="ignore", dry_run=True)
    with pytest.raises(ConfigurationError, match="ignore_unknown_fields"):
        make_config(TABLE, ignore_unknown_fields=True, on_unknown_fields="rescue", dry_run=True)
