"""SIGKILL of the emulator's process at any moment, under load: every acknowledged row is in the table, which opens."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import duckdb
import polars as pl
import pytest
import requests
from deltalake import DeltaTable
from zerobus.sdk.sync import ZerobusException

from .sdk import FORMATS, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"
KILLS = int(
    os.environ.get("SOAK_KILLS", "5")
)  # with rows that are readable at once, and as many with rows that are not
ROWS = (300, 20, 20, 20)  # a call of each thread; those of many rows are decoded another way
CONTROL_TOKEN = "control"
SEED = 17


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rest:
    """REST insert, used as a stream."""

    def __init__(self, service: SimpleNamespace) -> None:
        self._url = service.workspace_url
        token = self._post("/control/tokens", {"table": TABLE}, CONTROL_TOKEN).json()["access_token"]
        self._insert = partial(self._post, f"/zerobus/v1/tables/{TABLE}/insert", token=token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, rows: list[dict[str, Any]]) -> int:
        self._insert(rows)
        return 0

    def wait(self, offset: int) -> None:
        """Do nothing: the answer is the acknowledgement."""

    def _post(self, path: str, body: Any, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.post(self._url + path, json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer


class Load:
    """Writes from one thread for each wire format, through the real SDK, and over REST; notes what is acknowledged."""

    def __init__(self, service: SimpleNamespace) -> None:
        self._service = service
        self._stop = threading.Event()
        self.acknowledged: list[int] = []
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(len(FORMATS) + 1)]

    def _write(self, worker: int) -> None:
        number = worker * 1_000_000_000
        while not self._stop.is_set():
            with (
                contextlib.suppress(ZerobusException, requests.RequestException),
                self._open(worker) as stream,
            ):
                while not self._stop.is_set():
                    ids = range(number, number + ROWS[worker])
                    number += ROWS[worker]
                    stream.wait(stream.send([{"id": value, "name": f"n{value}"} for value in ids]))
                    self.acknowledged += ids
            time.sleep(0.01)

    def _open(self, worker: int) -> Stream | Rest:
        if worker == len(FORMATS):
            return Rest(self._service)
        return Stream(self._service, TABLE, DDL, FORMATS[worker], patience_ms=10_000)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)
            assert not any(thread.is_alive() for thread in self._threads)


@pytest.mark.hostile
@pytest.mark.timeout(120 + 200 * KILLS)  # the machine may be busy: a start alone has 180 s
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("readable_after", ["0", "0.3"])
def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, readable_after: str) -> None:
    port, http_port = free_port(), free_port()
    service = SimpleNamespace(
        endpoint=f"http://127.0.0.1:{port}",
        workspace_url=f"http://127.0.0.1:{http_port}",
        client_id="client",
        client_secret="secret",
    )
    command = [sys.executable, "-m", "beam_zerobus.emulator", "--storage-dir", str(tmp_path)]
    command += ["--table", f"{TABLE}={DDL}", "--port", str(port), "--http-port", str(http_port)]
    command += ["--client-id", "client", "--client-secret", "secret"]
    command += ["--control-token", CONTROL_TOKEN, "--readable-after"]
    path = tmp_path.joinpath(*TABLE.split("."))
    chance = random.Random(SEED)
    load = Load(service)

    def start(seconds: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, seconds], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    with load.running():
        for kill in range(KILLS):
            running = start(readable_after)
            try:
                seen = len(load.acknowledged)
                if kill % 5:  # else at any moment of the start too
                    eventually(lambda seen=seen: len(load.acknowledged) > seen, seconds=180)
                time.sleep(chance.uniform(0, 0.5))
            finally:
                ended = running.poll()
                running.kill()
                _, said = running.communicate(timeout=30)
                assert ended is None, said.decode()
            assert b"Traceback" not in said, said.decode()
            assert b"skipped" not in said, said.decode()
            if path.exists():
                DeltaTable(path)
    assert len(load.acknowledged) > KILLS * min(ROWS)
    running = start("0")
    try:
        expected = set(load.acknowledged)
        eventually(lambda: expected <= ids(path), seconds=60)
    finally:
        running.terminate()
        running.communicate(timeout=30)
    stored = DeltaTable(path).to_pyarrow_table()
    numbers = stored.column("id").to_pylist()
    assert len(numbers) == len(set(numbers)), "no row was sent twice, and none is stored twice"
    assert set(pl.read_delta(str(path))["id"]) == set(numbers)
    # Without its own extension, which it fetches over the network, DuckDB reads the files that the table lists.
    files = [uri.removeprefix("file://") for uri in DeltaTable(path).file_uris()]
    assert {row[0] for row in duckdb.read_parquet(files).project("id").fetchall()} == set(numbers)
    assert all(f"n{row['id']}" == row["name"] for row in stored.slice(0, 1000).to_pylist())


def ids(path: Path) -> set[int]:
    return set(DeltaTable(path).to_pyarrow_table().column("id").to_pylist())
