"""A bundle that fails while the thread of `max_delay` waits for room."""

import threading

import pytest

from beam_zerobus import Batching, OAuthClientCredentials, Retry
from beam_zerobus.delivery import limits
from beam_zerobus.emulator import Faults
from beam_zerobus.sink.dofns import WriteRows
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.writer import shared
from beam_zerobus.writer.config import make_config
from tests.emulator.sdk import eventually

TABLE = "main.iot.air"


@pytest.mark.timeout(60)
def test_a_failed_bundle_does_not_wait_for_the_service(emulator, monkeypatch):
    monkeypatch.setattr(limits, "MAX_IN_FLIGHT_BYTES", 1)
    emulator.create_table(TABLE, "id BIGINT")
    emulator.faults = Faults(rate=1.0, kinds=("reject",))  # no stream can be opened, so everything stays in the ledger
    config = make_config(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema="id BIGINT",
        retry=Retry(max_retries=60, initial_backoff=0.1, max_backoff=1.0),
    )
    fn = WriteRows(SinkSettings(config=config, batching=Batching(max_delay=0.05), dead_letters=False, namespace="test"))
    fn.setup()
    fn.start_bundle()
    fn.process({"id": 1})
    with shared.acquire(config) as lease:
        eventually(lambda: lease.writer.in_flight_rows == 1)
        fn.process({"id": 2})
        eventually(lambda: not fn._values)  # the ticker's thread has taken it, and waits for room
        dropping = threading.Thread(target=fn.teardown, daemon=True)
        dropping.start()
        dropping.join(20)
        emulator.faults = Faults()
        assert not dropping.is_alive()
        eventually(lambda: lease.writer.in_flight_rows == 0)
        assert emulator.stats.tables[TABLE].rows_received == 0
    shared.close_all()
