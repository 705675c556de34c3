"""Attacks on the emulator's storage: kills at any moment, foreign files, a second emulator."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.__main__ import main
from beam_zerobus.errors import ConfigurationError

TABLE = "main.iot.air"
SEED = 16

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")


# Creates tables, writes a row into each and drops some, and prints what is acknowledged once it is.
LOAD = """
    import sys
    from beam_zerobus.emulator import Emulator
    from tests.emulator.sdk import RawStream
    with Emulator(sys.argv[1]) as emulator:
        print("ready", flush=True)
        for number in range(int(sys.argv[2]), 1_000_000):
            name = f"main.iot.t{number}"
            print("creating", flush=True)
            emulator.create_table(name, "id BIGINT NOT NULL")
            with RawStream(emulator, name, emulator.issue_token(name)) as stream:
                stream.create(name)
                stream.receive()
                stream.send_json(0, '{"id": %d}' % number)
                stream.receive()
            if number % 5:
                print(number, flush=True)
            else:
                emulator.drop_table(name)
"""


@needs_sigkill
@pytest.mark.hostile
@pytest.mark.timeout(400)
def test_a_kill_at_any_moment_leaves_storage_that_opens_with_every_acknowledged_row(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    acknowledged: set[int] = set()
    for _ in range(8):
        command = [sys.executable, "-c", textwrap.dedent(LOAD), str(tmp_path), str(max(acknowledged, default=0) + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout.readline() == "ready\n", "the storage opens"
            lines = [running.stdout.readline() for _ in range(chance.randint(1, 8))]
            while lines[-1] != "creating\n":
                lines.append(running.stdout.readline())
            time.sleep(chance.uniform(0, 0.01))  # about as long as a table takes
            os.kill(running.pid, signal.SIGKILL)
            # A number cut in the middle was not acknowledged as far as anybody knows.
            lines += [line for line in running.stdout if line.endswith("\n")]
            acknowledged |= {int(line) for line in lines if line.strip().isdigit()}
    assert acknowledged
    with Emulator(tmp_path) as emulator:
        stored = {row for table in emulator.tables for row in table.to_arrow().column("id").to_pylist()}
        assert acknowledged <= stored
        number = max(stored) + 1
        emulator.create_table(f"main.iot.t{number}", "id BIGINT NOT NULL")


def test_a_creation_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    """What a kill left behind before tables were created whole."""
    for name, entry in (("empty", ""), ("temporary", "_commit_0a1b.json.tmp")):
        log = tmp_path / "main" / "iot" / name / "_delta_log"
        log.mkdir(parents=True)
        if entry:
            (log / entry).write_text("{")
    with Emulator(tmp_path) as emulator:
        assert emulator.tables == ()
        for name in ("empty", "temporary"):
            emulator.create_table(f"main.iot.{name}", "id INT")
    with Emulator(tmp_path) as emulator:
        assert len(emulator.tables) == 2


def test_what_is_not_a_table_of_the_emulator_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(tmp_path) as emulator:
        emulator.create_table(TABLE, "id INT")
        emulator.create_table("main.iot.broken", "id INT")
    write_deltalake(tmp_path / "main" / "iot" / "foreign", pa.table({"id": [1]}))
    write_deltalake(tmp_path / "main" / "iot" / "no-name", pa.table({"id": [1]}))
    (tmp_path / "main" / "iot" / "file").mkdir()
    (tmp_path / "main" / "iot" / "file" / "notes.txt").write_text("mine")
    (tmp_path / "other").write_text("mine")
    next((tmp_path / "main" / "iot" / "broken" / "_delta_log").glob("*.json")).write_text("{")
    with Emulator(tmp_path) as emulator:
        assert [table.name for table in emulator.tables] == [TABLE]
        for name, reason in (
            ("foreign", "not made by the emulator"),
            ("no-name", "not a table name"),
            ("broken", "open"),
        ):
            assert any(name in line and reason in line for line in caplog.messages), caplog.messages
        for name in ("main.iot.foreign", "main.iot.file", "main.iot.broken"):
            with pytest.raises(ConfigurationError, match="is not a table of the emulator"):
                emulator.create_table(name, "id INT")
        with pytest.raises(ConfigurationError, match="cannot be created"):
            emulator.create_table("other.iot.air", "id INT")
    assert DeltaTable(tmp_path / "main" / "iot" / "foreign").to_pyarrow_table().num_rows == 1
    assert (tmp_path / "main" / "iot" / "file" / "notes.txt").read_text() == "mine"


def test_a_second_emulator_on_a_directory_does_not_start(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        with pytest.raises(ConfigurationError, match=f"in use by another emulator .process {os.getpid()}."):
            Emulator(tmp_path)
        command = [sys.executable, "-m", "beam_zerobus.emulator", "--storage-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 2
        assert f"in use by another emulator (process {os.getpid()})" in done.stderr
        first.kill()
        with Emulator(tmp_path), pytest.raises(ConfigurationError, match="in use"):
            first.start()
        first.start()


@needs_sigkill
def test_a_killed_emulator_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; from beam_zerobus.emulator import Emulator\n"
        "emulator = Emulator(sys.argv[1]); print(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-uc", script, str(tmp_path)], stdout=subprocess.PIPE) as running:
        assert running.stdout.readline()
        with pytest.raises(ConfigurationError, match=str(running.pid)):
            Emulator(tmp_path)
        running.kill()
    Emulator(tmp_path).stop()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a directory that even root cannot write")
def test_a_directory_that_cannot_be_written_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--storage-dir", "/proc/self"]) == 2
    assert "/proc/" in (error := capsys.readouterr().err)
    assert "cannot be written" in error
