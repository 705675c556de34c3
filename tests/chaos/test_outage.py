"""The service goes away under a Beam pipeline: for a minute, and for good."""

import os
import pickle
import threading
import time

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import Batching, OAuthClientCredentials, Retry, TransientError, WriteToZerobus
from beam_zerobus.emulator import Emulator

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SECONDS = float(os.environ.get("CHAOS_OUTAGE", "60"))
TABLE = "main.chaos.rows"
ROWS = 2_000


@pytest.fixture
def emulator():
    with Emulator() as running:
        running.create_table(TABLE, "id BIGINT NOT NULL")
        yield running


def sink(emulator: Emulator, retry: Retry) -> WriteToZerobus:
    return WriteToZerobus(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema="id BIGINT NOT NULL",
        batching=Batching(max_rows=100),
        retry=retry,
    )


def slowly(row: int) -> dict[str, int]:
    time.sleep(0.002)
    return {"id": row}


def run(transform: WriteToZerobus) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(range(ROWS)) | beam.Map(slowly) | transform


def test_a_pipeline_ends_well_when_the_service_comes_back(emulator):
    def outage() -> None:
        time.sleep(1.5)
        emulator.kill()
        time.sleep(SECONDS)
        emulator.start()

    away = threading.Thread(target=outage)
    away.start()
    run(sink(emulator, Retry(max_retries=40, initial_backoff=0.1, max_backoff=5)))
    away.join()
    assert set(emulator.table(TABLE).to_arrow()["id"].to_pylist()) == set(range(ROWS))


def test_a_pipeline_fails_within_its_bounds_when_the_service_is_gone_for_good(emulator):
    transform = sink(emulator, Retry(max_retries=3, initial_backoff=0.1, max_backoff=0.5))
    emulator.kill()
    started = time.monotonic()
    with pytest.raises(Exception, match="Zerobus failed 4 times for main.chaos.rows") as raised:
        run(transform)
    assert time.monotonic() - started < 60
    copy = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(copy, TransientError)
    assert copy.attempts == 4
    assert copy.unacknowledged_rows > 0
