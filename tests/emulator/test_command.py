"""The emulator as a process: its command line, its end, and its storage after SIGKILL."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from zerobus.sdk.sync import ZerobusException

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.__main__ import main
from beam_zerobus.emulator.command import _greeting
from beam_zerobus.errors import ConfigurationError

from .sdk import FORMATS, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"
NO_SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[SimpleNamespace]:
    """Start the command; yield the process, with the addresses and credentials of its greeting."""
    command = [sys.executable, "-m", "beam_zerobus.emulator", *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as running:
        try:
            greeting = ""
            while "Stop with" not in greeting:
                line = running.stdout.readline()
                assert line, running.stderr.read()
                greeting += line
            exports = dict(re.findall(r"^export (\w+)=(\S+)$", greeting, re.MULTILINE))
            yield SimpleNamespace(
                process=running,
                greeting=greeting,
                endpoint=exports["ZEROBUS_ENDPOINT"],
                workspace_url=exports["DATABRICKS_HOST"],
                client_id=exports["DATABRICKS_CLIENT_ID"],
                client_secret=exports["DATABRICKS_CLIENT_SECRET"],
            )
        finally:
            running.kill()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(signal.SIGINT, marks=NO_SIGNALS),
        pytest.param(signal.SIGTERM, marks=NO_SIGNALS),
        pytest.param("stdin", marks=pytest.mark.hostile),
    ],
)
def test_it_serves_and_ends_cleanly(tmp_path: Path, end: signal.Signals | str) -> None:
    arguments = ["--storage-dir", str(tmp_path), "--table", f"{TABLE}={DDL}", "--client-id", "me"]
    with process(*arguments, *(["--until-stdin-closes"] if end == "stdin" else [])) as running:
        assert running.client_id == "me"
        assert f"{TABLE}: {DDL}" in running.greeting
        stream = Stream(running, TABLE, DDL)
        stream.send([{"id": 1}])
        stream.flush()
        running.process.stdin.close() if end == "stdin" else running.process.send_signal(end)
        assert running.process.wait(20) == 0
        assert running.process.stderr.read() == ""
    with Emulator(tmp_path) as emulator:
        assert emulator.table(TABLE).count_rows() == 1


@NO_SIGNALS
@pytest.mark.hostile
def test_it_makes_tables_of_otlp_and_gives_a_table_its_first_rows(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1}\n{"id": 2}\n')
    arguments = ["--storage-dir", str(tmp_path / "data"), "--table", f"{TABLE}={DDL}", "--seed", f"{TABLE}={rows}"]
    for _ in range(2):  # the second time, the rows are there
        with process(*arguments, "--otlp", "main.otel.shop") as running:
            for name in ("spans", "logs", "metrics"):
                assert f"main.otel.shop_otel_{name}: record_id STRING" in running.greeting
            running.process.terminate()
            assert running.process.wait(20) == 0
    with Emulator(tmp_path / "data") as emulator:
        assert emulator.table(TABLE).count_rows() == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seed", "main.iot.none=rows.csv"], "--seed main.iot.none: no table 'main.iot.none'"),
        (["--seed", f"{TABLE}=rows.txt"], "rows.txt: the name must end with one of .arrow,"),
        (["--seed", f"{TABLE}=rows.csv"], "rows.csv cannot be read: No such file"),
        (["--otlp", "main"], "catalog.schema.table"),
    ],
)
def test_a_table_that_cannot_be_made_or_filled_is_an_error(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--memory", "--table", f"{TABLE}={DDL}", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["--storage-dir", "tables"], "/tables\n"),
        pytest.param([], ", which is removed at the end; --storage-dir DIR keeps them\n", marks=pytest.mark.hostile),
        pytest.param(["--memory"], "Rows are kept in memory\n", marks=pytest.mark.hostile),
        pytest.param(["--discard"], "Rows are counted and not kept\n", marks=pytest.mark.hostile),
    ],
)
def test_the_greeting_says_how_long_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], kept: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with process(*arguments) as running:
        assert kept in running.greeting


@NO_SIGNALS
def test_the_greeting_exports_our_names_and_those_of_the_official_examples() -> None:
    with process("--memory", "--table", f"{TABLE}={DDL}") as running:
        exports = dict(re.findall(r"^export (\w+)=(\S+)$", running.greeting, re.MULTILINE))
        assert exports["ZEROBUS_SERVER_ENDPOINT"] == exports["ZEROBUS_ENDPOINT"] == running.endpoint
        assert exports["DATABRICKS_WORKSPACE_URL"] == exports["DATABRICKS_HOST"] == running.workspace_url
        assert exports["ZEROBUS_TABLE_NAME"] == TABLE
        assert [line for line in running.greeting.splitlines() if len(line) > 80] == []
        running.process.terminate()
        assert running.process.stderr.read() == "", "nothing to warn of on loopback"
    with process("--memory", "--host", "0.0.0.0", "--tls", "--tls-name", "zerobus.test") as running:
        assert "ZEROBUS_TABLE_NAME" not in running.greeting, "there is no table"
        exports = dict(re.findall(r"^export (\w+)=(\S+)$", running.greeting, re.MULTILINE))
        ca_file = exports["SSL_CERT_FILE"]
        assert exports["REQUESTS_CA_BUNDLE"] == ca_file
        assert running.endpoint.startswith("https://0.0.0.0:")
        assert requests.get(running.workspace_url, verify=ca_file, timeout=10).status_code == 200
        running.process.terminate()
        assert running.process.wait(20) == 0
        assert running.process.stderr.read() == ""


def test_the_greeting_quotes_credentials_for_the_shell() -> None:
    odd = {"client_id": "an id", "client_secret": "it's $HOME", "control_token": "a;b"}
    with Emulator(memory=True, **odd) as emulator:
        greeting = _greeting(emulator, "")
    exports = dict(words[1].split("=", 1) for line in greeting.splitlines() if (words := _exported(line)))
    names = ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "ZEROBUS_CONTROL_TOKEN")
    assert [exports[name] for name in names] == list(odd.values())


def _exported(line: str) -> list[str]:
    return shlex.split(line) if line.startswith("export ") else []


@pytest.mark.parametrize("token", ["tök", "a b", "a\n", "a\x00"])
def test_a_control_token_that_no_header_can_hold(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--memory", "--control-token", token]) == 2
    said = capsys.readouterr().err
    assert "--control-token" in said
    assert token not in said


def test_a_table_of_many_columns_has_one_line_of_the_greeting() -> None:
    columns = ", ".join(f"column_{number} INT" for number in range(12))
    with process("--memory", "--table", f"{TABLE}={columns}") as running:
        [line] = [line for line in running.greeting.splitlines() if TABLE in line and "export" not in line]
    assert line == f"  {TABLE}: column_0 INT, column_1 INT, column_2 INT, ... (12 columns)"
    assert len(line) <= 80


def test_otlp_without_its_package_is_reported_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    assert main(["--memory", "--otlp", "main.otel.shop"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_faults_by_flag() -> None:
    faults = ["--fault", "status,at_call=2,code=ABORTED,after_storing=true", "--reject", "id=7", "--ack-delay", "0.01"]
    with process("--memory", "--table", f"{TABLE}={DDL}", *faults) as running:
        stream = Stream(running, TABLE, DDL)
        stream.wait(stream.send([{"id": 1}]))
        offset = stream.send([{"id": 2}])
        with pytest.raises(ZerobusException, match="injected fault: ABORTED"):
            stream.wait(offset)
        stream = Stream(running, TABLE, DDL)
        offset = stream.send([{"id": 7}])
        with pytest.raises(ZerobusException, match="rejects"):
            stream.wait(offset)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--table", "a.b=id INT"], "catalog.schema.table"),
        (["--table", "a.b.c id INT"], "--table 'a.b.c id INT': write NAME=COLUMNS"),
        (["--table", "a.b.c=id NOTHING"], "--table a.b.c: schema DDL, line 1, column 4: 'NOTHING'"),
        (["--table", "a.b.c=id INT", "--seed", "a.b.d=x.csv"], "there are: a.b.c; create it with --table"),
        (["--table", "a.b.c=id INT", "--seed", "a.b.c="], "--seed 'a.b.c=': write NAME=FILE"),
        (["--record", ""], "--record is empty: name a new file"),
        (["--reject", "id"], "--reject 'id': write COLUMN=VALUE"),
        (["--fault", "status"], "set at_call"),
        (["--fault", "status,at_call"], "--fault 'at_call': write NAME=VALUE"),
        (["--fault", "status,at_cal=1"], "--fault: ScriptedFault has no member 'at_cal'; there are: kind, at_call,"),
        (["--fault-kinds", "status,bang"], "'bang'"),
        (["--fault-rate", "3"], "rate"),
        (["--host", "256.0.0.1"], "is not loopback"),
        (["--host", "256.0.0.1", "--tls"], "cannot be opened"),
        (["--tls", "--tls-name", "zerobüs"], "is not a host name"),
    ],
)
def test_wrong_arguments_are_reported(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--memory", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_port_in_use_leaves_the_other_one_closed(emulator: Emulator) -> None:
    in_use = int(emulator.endpoint.rpartition(":")[2])

    def is_closed() -> bool:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = probe.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"^port {in_use} of 127.0.0.1 cannot be opened: Address"):
            Emulator(memory=True, port=in_use, http_port=free).start()
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", free)).close()
            return True
        return False

    assert any(is_closed() for _ in range(3)), "another process may take a free port meanwhile, hardly three times"


def test_a_port_in_use_is_reported_in_one_line(emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    for flag, url in (("--port", emulator.endpoint), ("--http-port", emulator.workspace_url)):
        assert main(["--memory", flag, url.rpartition(":")[2]]) == 2
        (line,) = capfd.readouterr().err.splitlines()  # gRPC would print one of its own
        assert "choose another" in line


@pytest.mark.parametrize(
    ("flag", "content", "remedy"),
    [
        ("--seed", "id\nx\n", "no row was added: correct the file, or the columns of a.b.c"),
        ("--seed", None, "name a file that you may read"),
        ("--record", None, "name a file in a directory that you may write to"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_remedy(
    flag: str, content: str | None, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ("rows.csv" if content else "nowhere/rows.csv")
    if content:
        file.write_text(content)
    value = f"a.b.c={file}" if flag == "--seed" else str(file)
    assert main(["--memory", "--table", "a.b.c=id INT", flag, value]) == 2
    said = capsys.readouterr().err
    assert remedy in said
    assert str(file) in said


def test_an_emulator_that_is_not_stopped_does_not_keep_the_process_from_ending() -> None:
    program = """
from emulator.sdk import Stream
from beam_zerobus.emulator import Emulator
emulator = Emulator()
emulator.start()
emulator.create_table("a.b.c", "id INT")
stream = Stream(emulator, "a.b.c", "id INT")
stream.wait(stream.send([{"id": 1}]))
print("leaving")
"""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, timeout=250, check=False)
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.hostile)])
def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path, kills: int) -> None:
    acknowledged: list[int] = []

    def load(running: SimpleNamespace, worker: int) -> None:
        stream = Stream(running, TABLE, DDL, FORMATS[worker % 3])
        first = worker * 1_000_000
        with contextlib.suppress(ZerobusException):
            for call in range(1_000_000):
                rows = [{"id": first + call * 10 + i, "name": "x" * 50} for i in range(10)]
                stream.wait(stream.send(rows))
                acknowledged.extend(row["id"] for row in rows)

    for kill in range(kills):
        seen = len(acknowledged)
        with process("--storage-dir", str(tmp_path), "--table", f"{TABLE}={DDL}") as running:
            threads = [threading.Thread(target=load, args=(running, kill * 10 + worker)) for worker in range(3)]
            for thread in threads:
                thread.start()
            eventually(lambda seen=seen: len(acknowledged) > seen + 300, seconds=60)
            os.kill(running.process.pid, signal.SIGKILL)
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
        with Emulator(tmp_path) as emulator:
            stored = emulator.table(TABLE).to_arrow().column("id").to_pylist()
        assert set(acknowledged) <= set(stored)
        assert len(set(stored)) == len(stored)
