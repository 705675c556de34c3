"""How the gateway ends: what it accepted is delivered, what it confirmed is in the table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus.emulator import Emulator, Faults
from tests.gateway.conftest import batch, path, put

PROGRAM = "import sys; from beam_zerobus.cli import main; sys.exit(main())"


@contextmanager
def process(emulator: Emulator, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; give the process and its location."""
    command = [sys.executable, "-c", PROGRAM, "gateway", "--port", "0", "--stop-timeout", "10", *arguments]
    environment = {
        **os.environ,
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        try:
            assert run.stdout is not None
            line = run.stdout.readline()
            assert line.startswith("Gateway at grpc://"), line
            yield run, line.split()[2].rstrip(",")
        finally:
            if run.poll() is None:
                run.kill()


def test_sigterm_delivers_what_was_accepted(emulator, table):
    emulator.faults = Faults(ack_delay=0.5)
    with process(emulator) as (run, location), flight.connect(location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        for number in range(5):
            writer.write_batch(batch(number))
        answers: list[dict[str, Any]] = [json.loads(reader.read().to_pybytes())]
        run.send_signal(signal.SIGTERM)
        writer.done_writing()
        while (answer := reader.read()) is not None:
            answers.append(json.loads(answer.to_pybytes()))
        writer.close()
        assert run.wait(20) == 0
    assert [answer["success"] for answer in answers] == [True] * 5
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(5))


def test_a_client_that_stays_silent_does_not_hold_the_end(emulator, table):
    with process(emulator, "--stop-timeout", "1") as (run, location), flight.connect(location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        assert json.loads(reader.read().to_pybytes())["success"]
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 3
        assert run.stderr is not None
        assert "clients were still connected" in run.stderr.read()
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
        run.wait(20)
        with pytest.raises((pa.ArrowException, flight.FlightError, OSError)):
            writer.close()
        reading.join(20)
        assert not reading.is_alive()
    assert set(confirmed) <= set(table.to_arrow()["id"].to_pylist())
    with process(emulator) as (_, location), flight.connect(location) as client:
        missing = sorted(set(range(200)) - set(confirmed))
        assert all(result["success"] for result in put(client, [batch(*missing)]))
    assert set(range(200)) <= set(table.to_arrow()["id"].to_pylist())


def test_a_wrong_setting_is_said_at_the_start(emulator):
    command = [sys.executable, "-c", PROGRAM, "gateway", "--host", "0.0.0.0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is not loopback: it needs a token" in done.stderr
    assert "Traceback" not in done.stderr


def client_is_turned_away(client: Any) -> bool:
    try:
        put(client, [batch(2)])
    except flight.FlightUnavailableError as error:
        return "stopping" in str(error)
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_new_after_the_stop(start, table):
    gateway = start()
    with flight.connect(gateway.location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        reader.read()
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        wait_until(lambda: client_is_turned_away(client))
        writer.write_batch(batch(3))
        with pytest.raises(flight.FlightUnavailableError, match="send the batches without a result again"):
            writer.close()
        stopping.join(20)
        assert not stopping.is_alive()
    assert 3 not in table.to_arrow()["id"].to_pylist()
