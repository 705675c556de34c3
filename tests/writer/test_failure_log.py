"""Rejected rows are in the log, whether or not the caller looks at the result."""

import asyncio
import logging

import pytest

from beam_zerobus import RowError, ZerobusWriter, ZerobusWriters
from beam_zerobus.writer.failure_log import FailureLog, failure_log

TABLE, DDL = "main.iot.air", "id BIGINT NOT NULL, co2 INT"
ROWS = [{"id": 1, "co2": 417}, {"id": 2, "co2": "high"}]


def test_it_is_limited_in_rate_and_loses_no_count(caplog):
    now = 0.0
    log = FailureLog(" went to failed_rows", interval=10, clock=lambda: now)
    error = RowError(0, "wrong_type", "column 'name' is STRING", "batching")
    with caplog.at_level(logging.WARNING, logger="beam_zerobus"):
        for _ in range(5):
            log.note([error] * 10, table=TABLE)
        now = 10.0
        log.note([error], table=TABLE)
    assert [record.args[0] for record in caplog.records] == ["10 rows", "41 rows"]


def send(writer):
    writer.send(ROWS)


def asend(writer):
    asyncio.run(writer.asend(ROWS))


def send_to_one_of_many(writer):
    with ZerobusWriters(schema=DDL, dry_run=True) as writers:
        writers.send(TABLE, ROWS)


def asend_to_one_of_many(writer):
    with ZerobusWriters(schema=DDL, dry_run=True) as writers:
        asyncio.run(writers.asend(TABLE, ROWS))


@pytest.mark.parametrize("call", [send, asend, send_to_one_of_many, asend_to_one_of_many])
def test_rows_that_were_rejected_are_logged_where_the_result_is_not_used(call, caplog):
    failure_log.forget()
    with caplog.at_level(logging.WARNING, logger="beam_zerobus"), ZerobusWriter(TABLE, schema=DDL, dry_run=True) as one:
        call(one)
    [record] = caplog.records
    assert record.getMessage() == (
        f"1 row rejected for table {TABLE}, see failed_rows of the result; most recently: wrong_type (1): column 'co2' "
        "is INT: a value of Python type str does not fit; pass an int"
    )
