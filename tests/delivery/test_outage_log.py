"""What the log says while the service fails."""

import logging

import pyarrow as pa
import pytest

from beam_zerobus import Retry
from beam_zerobus.delivery.outage import Outage
from beam_zerobus.emulator import Faults, ScriptedFault


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.WARNING, "beam_zerobus.delivery.outage")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "beam_zerobus.delivery.outage"]


def test_an_outage_is_logged_from_the_second_failure_on_at_most_once_in_ten_seconds(messages):
    clock = Clock()
    outage = Outage("main.iot.air", clock)
    for failures in range(1, 32):
        outage.failed("UNAVAILABLE", failures=failures, wait=1.0, rows=500)
        clock.now += 1
    assert len(messages()) == 3  # of 31 seconds, the first failure has none
    assert all("main.iot.air" in said and "UNAVAILABLE" in said and "500 rows" in said for said in messages())
    assert "21 s" in messages()[-1]
    outage.ended()
    assert "works again for main.iot.air after 31 s" in messages()[-1]


def test_one_failure_is_not_worth_a_line(messages):
    outage = Outage("main.iot.air", Clock())
    outage.failed("UNAVAILABLE", failures=1, wait=0.1, rows=1)
    outage.ended()
    assert messages() == []


def test_what_was_given_up_is_no_recovery(messages):
    outage = Outage("main.iot.air", Clock())
    outage.failed("UNAVAILABLE", failures=2, wait=0.1, rows=1)
    outage.given_up()
    outage.ended()
    assert len(messages()) == 1


def test_a_writer_says_what_fails_and_when_it_is_over(emulator, connect, messages):
    emulator.create_table("main.iot.air", "id BIGINT")
    emulator.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=3),))
    writer = connect(schema="id BIGINT", retry=Retry(initial_backoff=0.01, max_backoff=0.02))
    assert writer.send_batch(pa.record_batch({"id": [1, 2]})).success
    failing, works = messages()
    assert "UNAVAILABLE: 2 rows wait" in failing
    assert "works again" in works
