"""The emulator in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from pickle import PicklingError

import pytest
import requests
from deltalake import DeltaTable

from beam_zerobus.emulator import EmulatorProcess
from beam_zerobus.errors import ConfigurationError

from .sdk import Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL"


def test_its_tables_hold_every_row_when_it_has_ended(tmp_path: Path) -> None:
    with EmulatorProcess(tmp_path, {TABLE: DDL}, readable_after=60) as emulator, Stream(emulator, TABLE, DDL) as stream:
        stream.wait(stream.send([{"id": 1}, {"id": 2}]))
    found = DeltaTable(tmp_path.joinpath(*TABLE.split("."))).to_pyarrow_table()
    assert sorted(found.column("id").to_pylist()) == [1, 2]


@pytest.mark.hostile
def test_a_program_writes_to_it_by_its_environment_alone() -> None:
    emulator = EmulatorProcess(tables={TABLE: DDL}, tls=True)
    emulator.start()
    try:
        program = f"from beam_zerobus import ZerobusWriter\nwith ZerobusWriter({TABLE!r}) as it: it.send([{{'id': 7}}])"
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **emulator.environment}, check=True, timeout=60
        )
        rows = requests.get(
            f"{emulator.workspace_url}/control/tables/{TABLE}/rows",
            headers={"Authorization": f"Bearer {emulator.control_token}"},
            verify=str(emulator.ca_file),
            timeout=10,
        )
        assert rows.json() == {"count": 1, "rows": [{"id": 7}]}
    finally:
        emulator.stop()


@pytest.mark.parametrize(
    ("tables", "options", "reason"),
    [
        ({"air": DDL}, {}, "catalog.schema.table"),
        ({}, {"readable_after": -1}, "readable_after=-1"),
        ({}, {"unknown": 1}, "unknown"),
    ],
)
def test_it_says_why_it_does_not_run(tmp_path: Path, tables: dict, options: dict, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the emulator does not run: .*{reason}"):
        EmulatorProcess(tmp_path, tables, **options).__enter__()


@pytest.mark.hostile
def test_it_starts_again_and_records_into_another_file(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    emulator = EmulatorProcess(tmp_path / "data", {TABLE: DDL}, record_to=recordings)
    emulator.stop()  # nothing runs yet
    for count in (1, 2):
        emulator.start()
        with pytest.raises(ConfigurationError, match="runs already"):
            emulator.start()
        emulator.stop()
        emulator.stop()
        assert len([*recordings.iterdir()]) == count


@pytest.mark.hostile
def test_an_option_that_cannot_be_sent_leaves_nothing_behind() -> None:
    emulator = EmulatorProcess(client_id=lambda: "a lambda cannot be pickled")
    for _ in range(2):
        with pytest.raises((AttributeError, TypeError, PicklingError)):
            emulator.start()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = """
        import sys, time
        from beam_zerobus.emulator import EmulatorProcess
        if __name__ == "__main__":
            with EmulatorProcess(sys.argv[1], {"main.iot.air": "id BIGINT"}) as emulator:
                print(emulator._process.pid, flush=True)
                time.sleep(60)
    """
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    with subprocess.Popen([sys.executable, script, tmp_path / "data"], stdout=subprocess.PIPE, text=True) as running:
        emulator = int(running.stdout.readline())
        running.kill()
    eventually(lambda: _is_gone(emulator), seconds=30)


@pytest.mark.hostile
def test_it_runs_without_beam_and_without_the_sdk() -> None:
    program = """
        import sys
        for name in ("apache_beam", "zerobus"):
            sys.modules[name] = None
        from beam_zerobus.emulator import Emulator
        with Emulator(memory=True) as emulator:
            emulator.create_table("main.iot.air", "id BIGINT")
            print(emulator.table("main.iot.air").count_rows())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.stdout == "0\n", run.stderr


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"  # ended, and nobody asked yet
