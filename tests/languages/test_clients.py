"""Clients in Rust, Go and Java: rows arrive, each result is right, errors are clear, and nothing confirmed is lost."""

from __future__ import annotations

import time

import pytest

from beam_zerobus.emulator import Faults
from beam_zerobus.emulator.tables.table import Table
from tests.gateway.process import process
from tests.languages.conftest import LANGUAGES, TABLE, results_of, start_client

pytestmark = [pytest.mark.languages, pytest.mark.slow, pytest.mark.timeout(1_800)]

MILLION = 1_000_000


def wait_for_rows(table: Table, rows: int) -> None:
    deadline = time.monotonic() + 120
    while table.count_rows() < rows:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ids_in(table: Table) -> set[int]:
    return set(table.to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_wrong_table_has_a_clear_error_and_the_next_one_is_written(build, emulator, table, name):
    language = build(name)
    tasks = (2,) if name == "rust" else ()
    with process(emulator) as (_, location):
        client = start_client(language, location, 1_000, 100, *tasks, "main.iot.missing", TABLE)
        wrong, right = results_of(client)
    assert (wrong["table"], wrong["written"]) == ("main.iot.missing", 0)
    assert wrong["failures"][0].startswith("NOT_FOUND: table main.iot.missing does not exist")
    assert right == {"table": TABLE, "written": 1_000, "failures": []}
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(1_000))


def test_a_million_rows_from_rust_through_faults_and_a_restart_of_the_service(build, emulator, table):
    language = build("rust")
    emulator.faults = Faults(
        seed=9, rate=0.01, kinds=("status", "drop", "slow_ack")
    )  # three of the first hundred calls
    with process(emulator) as (_, location):
        client = start_client(language, location, MILLION, 10_000, 8, TABLE)
        wait_for_rows(table, 200_000)
        assert client.poll() is None
        emulator.restart(1.0)
        [result] = results_of(client)
    assert emulator.stats.faults["drop"] >= 2
    assert result["written"] == MILLION
    # A call that meets the end of the gateway's retries fails with what to do, and the client sends its batches again.
    assert all(failure.startswith("UNAVAILABLE: ") for failure in result["failures"])
    assert ids_in(table) == set(range(MILLION))


def test_a_million_rows_from_rust_through_a_kill_of_the_gateway(build, emulator, table):
    language = build("rust")
    with process(emulator) as (first, location):
        client = start_client(language, location, MILLION, 10_000, 8, TABLE)
        wait_for_rows(table, 200_000)
        first.kill()
        first.wait(20)
    with process(emulator, port=int(location.rsplit(":", 1)[1])):
        [result] = results_of(client)
    assert result["written"] == MILLION  # each one confirmed
    assert result["failures"]  # the client saw the end of the first gateway
    assert ids_in(table) == set(range(MILLION))
