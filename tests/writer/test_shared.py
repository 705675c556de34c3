"""Writers shared by the DoFns of a process."""

import time

import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, OAuthClientCredentials, Retry
from beam_zerobus.writer.config import make_config
from beam_zerobus.writer.shared import SharedWriters
from tests.emulator.sdk import eventually

DDL = "id BIGINT"


@pytest.fixture
def config(emulator):
    emulator.create_table("main.iot.air", DDL)
    return make_config(
        "main.iot.air",
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema=DDL,
        wire_format="proto",
        retry=Retry(),
        streams_per_worker=1,
        debug_files=None,
        telemetry=None,
        dry_run=False,
    )


def one_row():
    return pa.record_batch({"id": [1]})


def test_leases_of_one_configuration_share_one_writer_and_stream(emulator, config):
    registry = SharedWriters()
    for _ in range(5):  # as a runner does that sets DoFns up for every bundle
        with registry.acquire(config) as first, registry.acquire(config) as second:
            assert first.writer is second.writer
            assert first.writer.send_batch(one_row()).success
    registry.close()
    assert emulator.stats.streams_opened == 1
    assert emulator.stats.streams_open == 0


def test_an_idle_writer_is_closed_after_its_linger_and_made_anew(emulator, config):
    registry = SharedWriters(linger=0.2)
    with registry.acquire(config) as lease:
        lease.writer.send_batch(one_row())
    eventually(lambda: not emulator.stats.streams_open)
    with registry.acquire(config) as lease:
        assert lease.writer.send_batch(one_row()).success
    registry.close()


def test_a_writer_of_a_missing_table_is_not_kept(emulator, config):
    registry = SharedWriters()
    missing = make_config(
        "main.iot.missing",
        endpoint=config.endpoint,
        workspace_url=config.workspace_url,
        credentials=config.credentials,
    )
    with registry.acquire(missing) as lease, registry.acquire(missing) as other:
        first = lease.writer
        with pytest.raises(ConfigurationError):
            first.send_batch(one_row())
        other.release()
        assert not first.closed
    assert first.closed
    emulator.create_table("main.iot.missing", DDL)
    with registry.acquire(missing) as lease:
        assert lease.writer.send_batch(one_row()).success
        first = lease.writer
    with registry.acquire(missing) as lease:
        assert lease.writer is first
    registry.close()


def test_a_leased_writer_outlives_its_linger(emulator, config):
    registry = SharedWriters(linger=0.1)
    with registry.acquire(config) as lease:
        lease.writer.send_batch(one_row())
        time.sleep(0.5)
        assert emulator.stats.streams_open == 1
        assert lease.writer.send_batch(one_row()).success
    registry.close()
