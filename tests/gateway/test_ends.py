"""How the gateway ends: what it accepted is delivered, what it confirmed is in the table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
import requests
from pyarrow import flight

from beam_zerobus.emulator import Faults, ScriptedFault
from tests.emulator.sdk import eventually
from tests.gateway.conftest import TABLE, batch, path, put
from tests.gateway.process import COMMAND, process

NO_SIGTERM = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")


@NO_SIGTERM
def test_sigterm_delivers_what_was_accepted(emulator, table):
    emulator.faults = Faults(ack_delay=2.0)
    with process(emulator, "--stop-timeout", "60") as (run, location), flight.connect(location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        for number in range(5):
            writer.write_batch(batch(number))
        eventually(lambda: emulator.stats.tables[TABLE].rows_received == 5)  # all are accepted, none is acknowledged
        run.send_signal(signal.SIGTERM)
        writer.done_writing()
        answers: list[dict[str, Any]] = []
        while (answer := reader.read()) is not None:
            answers.append(json.loads(answer.to_pybytes()))
        writer.close()
        assert run.wait(60) == 0
    assert [answer["success"] for answer in answers] == [True] * 5
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(5))


@NO_SIGTERM
def test_a_client_that_stays_silent_does_not_hold_the_end(emulator, table):
    with process(emulator, "--stop-timeout", "1") as (run, location), flight.connect(location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        assert json.loads(reader.read().to_pybytes())["success"]
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 3
        assert run.stderr is not None
        assert "some calls did not end in time" in run.stderr.read()
    assert table.to_arrow()["id"].to_pylist() == [1]


def test_sigkill_what_was_confirmed_is_in_the_table_and_the_client_sees_an_error(emulator, table):
    confirmed: list[int] = []
    with process(emulator) as (run, location), flight.connect(location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)

        def read() -> None:
            try:
                while (answer := reader.read()) is not None:
                    confirmed.append(json.loads(answer.to_pybytes())["batch"])
            except (pa.ArrowException, flight.FlightError):
                return

        reading = threading.Thread(target=read)
        reading.start()
        for number in range(200):
            writer.write_batch(batch(number))
        run.kill()
        run.wait(60)
        with pytest.raises((pa.ArrowException, flight.FlightError, OSError)):
            writer.close()
        reading.join(60)
        assert not reading.is_alive()
    assert set(confirmed) <= set(table.to_arrow()["id"].to_pylist())
    with process(emulator) as (_, location), flight.connect(location) as client:
        missing = sorted(set(range(200)) - set(confirmed))
        assert all(result["success"] for result in put(client, [batch(*missing)]))
    assert set(range(200)) <= set(table.to_arrow()["id"].to_pylist())


def test_a_wrong_setting_is_reported_at_the_start(emulator):
    command = [*COMMAND, "--host", "0.0.0.0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 2
    assert "is not loopback: it needs tls_certificate and tls_key, and a token or tls_client_ca" in done.stderr
    assert "Traceback" not in done.stderr


def call_is_rejected(client: Any) -> bool:
    try:
        put(client, [batch(2)])
    except flight.FlightUnavailableError as error:
        return "stopping" in str(error)
    return False


def test_nothing_new_after_the_stop(start, table):
    gateway = start(stop_timeout=60)  # it ends as soon as the call does
    with flight.connect(gateway.location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        reader.read()
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        eventually(lambda: call_is_rejected(client))
        writer.write_batch(batch(3))
        with pytest.raises(flight.FlightUnavailableError, match="send the batches without a result again"):
            writer.close()
        stopping.join(60)
        assert not stopping.is_alive()
    assert 3 not in table.to_arrow()["id"].to_pylist()


def test_stopping_twice_and_from_two_threads(start):
    gateway = start(health_port=0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: gateway.stop(), range(4))) == [True] * 4


def test_a_service_that_hangs_does_not_hold_the_end(start, table, emulator):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1, times=1000),))
    gateway = start()
    with flight.connect(gateway.location) as client:
        writer, _ = client.do_put(path(), batch(1).schema, flight.FlightCallOptions(timeout=20))
        writer.write_batch(batch(1))
        eventually(lambda: emulator.stats.streams_opened == 1)  # the batch is accepted
        assert not gateway.stop(0.2)
        emulator.kill()  # ends what hangs
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            writer.close()


def test_while_it_stops_health_says_so_and_actions_are_rejected(start, table):
    gateway = start(health_port=0, stop_timeout=60)  # it ends as soon as the call does
    health = f"http://127.0.0.1:{gateway.health_port}/health"
    with flight.connect(gateway.location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        reader.read()
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        eventually(lambda: requests.get(health, timeout=20).status_code == 503)
        [state] = client.do_action("health")
        content = json.loads(state.body.to_pybytes())
        assert (content["status"], content["calls"]) == ("stopping", 1)
        for action in ("check", "flush"):
            with pytest.raises(flight.FlightUnavailableError, match="The gateway is stopping"):
                list(client.do_action(flight.Action(action, TABLE.encode())))
        writer.close()
        stopping.join(60)
        assert not stopping.is_alive()
