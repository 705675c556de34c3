"""The emulator in a process of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
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
            [sys.executable, "-c", program], env={**os.environ, **emulator.environment}, check=True, timeout=250
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
        pytest.param({}, {"readable_after": -1}, "readable_after=-1", marks=pytest.mark.hostile),
        pytest.param({}, {"unknown": 1}, "unknown", marks=pytest.mark.hostile),
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


@pytest.mark.parametrize(
    "way", ["file", *(pytest.param(way, marks=pytest.mark.hostile) for way in ("stdin", "module"))]
)
def test_a_program_needs_no_guard_of_its_main_module(tmp_path: Path, way: str) -> None:
    program = f"""
from pathlib import Path
from beam_zerobus.emulator import EmulatorProcess, Faults, ScriptedFault
with Path("runs").open("a") as runs:
    runs.write("once")
with EmulatorProcess(memory=True, tables={{{TABLE!r}: {DDL!r}}}, faults=Faults(rate=0.5)) as emulator:
    print(emulator.endpoint)
"""
    (tmp_path / "program.py").write_text(program)
    command = {"file": ["program.py"], "stdin": ["-"], "module": ["-m", "program"]}[way]
    run = subprocess.run(
        [sys.executable, *command],
        input=program,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        cwd=tmp_path,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("http://127.0.0.1:")
    assert (tmp_path / "runs").read_text() == "once"


@pytest.mark.hostile
def test_an_option_of_the_main_module_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from beam_zerobus.emulator import EmulatorProcess, Faults, RejectRows
            def is_bad(row): return True
            EmulatorProcess(memory=True, faults=Faults(reject_rows=(RejectRows(predicate=is_bad),))).start()
        """)
    )
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=250, check=False)
    assert "define it in a module that can be imported, not in the program itself" in run.stderr.splitlines()[-1]


@pytest.mark.hostile
def test_it_ends_though_a_fork_holds_its_pipes() -> None:
    with EmulatorProcess(memory=True) as emulator:
        process = emulator._process
        fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        fork.start()
        try:
            emulator.stop()
            assert process.returncode == 0
        finally:
            fork.kill()
            fork.join()


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
    run = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert run.stdout == "0\n", run.stderr


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"  # ended, and nobody asked yet


def test_a_start_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = subprocess.Popen.kill

    def kill_slowly(process: subprocess.Popen[bytes]) -> None:
        kill(process)
        time.sleep(0.3)  # the thread that kills is still alive when the end of the process is seen

    monkeypatch.setattr(subprocess.Popen, "kill", kill_slowly)
    monkeypatch.setattr("beam_zerobus.emulator.process._START_SECONDS", 0.01)
    with pytest.raises(ConfigurationError, match="the emulator does not run: it did not start within"):
        EmulatorProcess().start()


def test_a_process_that_is_killed_as_it_answers_has_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is reached after the answer and before the timer is cancelled."""
    late = threading.Event()
    kill = subprocess.Popen.kill

    def kill_and_say_so(process: subprocess.Popen[bytes]) -> None:
        kill(process)
        late.set()

    def ask_and_wait(process: subprocess.Popen[bytes], sent: bytes) -> dict[str, str]:
        assert late.wait(60)
        return {"endpoint": "http://localhost:1"}

    monkeypatch.setattr(subprocess.Popen, "kill", kill_and_say_so)
    monkeypatch.setattr("beam_zerobus.emulator.process._ask", ask_and_wait)
    monkeypatch.setattr("beam_zerobus.emulator.process._START_SECONDS", 0.01)
    with pytest.raises(ConfigurationError, match="it did not start within"):
        EmulatorProcess().start()
