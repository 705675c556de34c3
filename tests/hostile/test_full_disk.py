"""A disk that is full, an output that cannot be written: one clear error, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus import OAuthClientCredentials, Retry, TransientError
from beam_zerobus.emulator import Emulator
from beam_zerobus.programs import written_rows
from beam_zerobus.programs.written_rows import WrittenRows
from tests.emulator.sdk import eventually
from tests.hostile.full_disk import files_end_at, needs_limit
from tests.hostile.inspecting import write_arrow

TABLE = "main.iot.air"
QUICK = Retry(max_retries=1, initial_backoff=0.01, max_backoff=0.02)


def batch(start: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(range(start, start + 100), pa.int64())})


# The emulator's storage.


@needs_limit
@pytest.mark.hostile
@pytest.mark.parametrize("readable_after", [0.0, 0.2])
def test_storage_that_is_full_acknowledges_nothing_and_works_again_when_it_is_not(tmp_path, connect, readable_after):
    acknowledged: set[int] = set()
    with Emulator(tmp_path, readable_after=readable_after) as emulator:
        table = emulator.create_table(TABLE, "id BIGINT NOT NULL")
        credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
        addresses = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url}
        writer = connect(TABLE, retry=QUICK, credentials=credentials, **addresses)
        for number, size in enumerate((0, 1, 100)):
            start = 1_000 * number
            with files_end_at(size), pytest.raises(TransientError, match="the rows could not be stored") as raised:
                writer.send(batch(start))
            assert raised.value.unacknowledged_rows == 100
            assert writer.send(batch(start + 500)).success
            acknowledged.update(range(start + 500, start + 600))
        eventually(lambda: acknowledged <= set(table.to_arrow()["id"].to_pylist()))
    with Emulator(tmp_path) as again:
        assert acknowledged <= set(again.table(TABLE).to_arrow()["id"].to_pylist())


# The notes of a run that can be resumed.


@needs_limit
def test_notes_that_a_full_disk_cuts_off_are_one_error_and_those_after_them_count(tmp_path, caplog):
    journal = WrittenRows(str(tmp_path / "notes"))
    Path(journal.path).write_text("{}\n")
    journal.note(np.array([1, 2]))
    for cut in range(12):
        with files_end_at(Path(journal.path).stat().st_size + cut):
            for row in (100, 200):
                journal.note(np.array([row]))
        journal.note(np.array([10 + cut]))
    written = [row for start, stop in journal.read()[1][0] for row in range(start, stop)]
    assert written == [1, 2, *range(10, 22)]  # and none that was cut off
    # The limit is that of the process: what another thread of it writes may fail too, and be logged.
    [line] = [record.getMessage() for record in caplog.records if record.name == written_rows.__name__]
    assert line.startswith(f"{journal.path} cannot be written: ")


def test_notes_that_are_damaged_otherwise_are_an_error(tmp_path):
    journal = WrittenRows(str(tmp_path / "notes"))
    for line in ("nonsense", "[[0, 1", "{}"):
        Path(journal.path).write_text(f"{{}}\n{line}\n[[0, 1, 1]]\n")
        with pytest.raises(Exception, match="cannot be read"):
            journal.read()


# Outputs of the commands.

OUTPUTS = {
    "a full disk": 'exec "$0" "$@" >/dev/full',
    "closed": 'exec "$0" "$@" >&-',
    "a pipe that nobody reads": 'exec "$0" "$@"',
}
COMMANDS = {
    "schema": "schema id~INT",
    "create-table": "create-table a.b.c --schema id~INT",
    "inspect": "inspect {}/debug",
    "inspect in JSON": "inspect {}/debug --json",
    "check": "check main.iot.air --endpoint http://127.0.0.1:9 --workspace-url http://127.0.0.1:9",
    "send": "send --input {}/rows.parquet --zerobus_table main.iot.air --zerobus_dry_run --zerobus_schema id~BIGINT",
    "gateway": "gateway",
    "emulator": "emulator --memory",
}
CASES = [(command, output) for command in COMMANDS for output in OUTPUTS]
RUN_ON = {("gateway", "closed"), ("emulator", "closed")}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_arrow(tmp_path / "debug", pa.record_batch({"id": [1]}))
    pq.write_table(pa.table({"id": [1]}), tmp_path / "rows.parquet")
    return tmp_path


@pytest.mark.hostile
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("command", "output"), [case for case in CASES if case not in RUN_ON])
def test_an_output_that_cannot_be_written_is_an_error_in_one_line(emulator, files, command, output):
    arguments = [part.format(files).replace("~", " ") for part in COMMANDS[command].split()]
    program = "import sys; from beam_zerobus.cli import main; sys.exit(main())"
    environment = {"ZEROBUS_ENDPOINT": emulator.endpoint, "DATABRICKS_HOST": emulator.workspace_url}
    environment |= {"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_CLIENT_SECRET": "secret", "PYTHONUNBUFFERED": ""}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ["sh", "-c", OUTPUTS[output], sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=250,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if output == "closed":  # so that nothing is written
        assert done.returncode == (2 if command == "check" else 0), done.stderr  # nobody listens at its addresses
    else:
        assert done.returncode in (1, 2), done.stderr
        # The gateway checks its credentials beside its start, and may have logged what it found.
        said = [line for line in done.stderr.splitlines() if " beam_zerobus.gateway.sign_in " not in line]
        assert len(said) <= 1
