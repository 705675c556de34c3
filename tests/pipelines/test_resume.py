"""A run that ended too early is resumed: each row is in the table, and none that was acknowledged twice."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.emulator import Faults, ScriptedFault
from beam_zerobus.programs import files_to_zerobus
from beam_zerobus.programs.written_rows import ReadUnwritten, Run, WrittenRows
from tests.pipelines.readers import metadata
from tests.runners.support import started, wait_until, zerobus_environment

TABLE = "main.files.readings"
AVRO = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": ["null", "long"]}]}


def send(*arguments: object) -> int:
    return files_to_zerobus.main(["--zerobus_table", TABLE, *map(str, arguments)])


def noted(dead: Path) -> int:
    _, written = WrittenRows(str(dead / "unfinished-run")).read()
    return sum(stop - start for spans in written.values() for start, stop in spans)


def write_files(directory: Path) -> int:
    """Write files of all formats, with a null in each, which the table rejects; return the number of other rows."""
    directory.mkdir()
    sizes = (20_000, 100, 100, 100)
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    parts = [[*range(start, start + size), None] for start, size in zip(starts, sizes, strict=True)]
    pq.write_table(pa.table({"id": parts[0]}), directory / "a.parquet", row_group_size=100)
    (directory / "b.csv").write_text("id\n" + "".join(f"{'x' if n is None else n}\n" for n in parts[1]))
    (directory / "c.json").write_text(json.dumps([{"id": n} for n in parts[2]], indent=1))
    with (directory / "d.avro").open("wb") as file:
        fastavro.writer(file, AVRO, [{"id": n} for n in parts[3]])
    return sum(sizes)


def test_after_a_failure_only_what_is_not_acknowledged_is_sent(zerobus, tmp_path, capsys):
    table = zerobus.create_table(TABLE, "id BIGINT NOT NULL")
    rows = write_files(tmp_path / "in")
    dead = tmp_path / "dead"
    flags = ["--input", tmp_path / "in", "--dead_letters", dead, "--zerobus_max_retries=0"]
    zerobus.faults = Faults(script=(ScriptedFault("status", at_call=150, times=10_000, code="UNAVAILABLE"),))
    assert send(*flags) == 1
    before, stored = noted(dead), table.count_rows()
    assert 0 < before <= stored < rows
    output = capsys.readouterr().out
    assert f"{before:,} rows of these files are acknowledged and stay in the table" in output
    assert "The same command with --resume sends the others" in output

    zerobus.faults = Faults()
    (dead / "beam-temp-of-a-killed-run").mkdir()
    assert send(*flags) == 2
    assert "add --resume" in capsys.readouterr().err
    assert send(*flags, "--null_value=x", "--resume") == 2
    assert "changed: --null_value" in capsys.readouterr().err
    assert send(*flags, "--resume") == 0
    assert f"An earlier run wrote {before:,} rows; what it wrote is not sent again" in capsys.readouterr().out
    copies = Counter(table.to_arrow()["id"].to_pylist())
    assert copies.keys() == set(range(rows))
    # Only rows that are stored, and whose acknowledgement never came, are there twice.
    assert copies.total() - rows == stored - before
    [letters] = dead.iterdir()
    assert len(letters.read_text().splitlines()) == 4
    assert send(*flags, "--resume") == 2
    assert "has no notes of a run that did not finish" in capsys.readouterr().err


def test_a_run_that_wrote_nothing_says_so(zerobus, tmp_path, capsys):
    zerobus.create_table(TABLE, "id BIGINT NOT NULL")
    write_files(tmp_path / "in")
    zerobus.faults = Faults(script=(ScriptedFault("status", at_call=1, times=10_000, code="UNAVAILABLE"),))
    assert send("--input", tmp_path / "in", "--dead_letters", tmp_path / "dead", "--zerobus_max_retries=0") == 1
    assert "No row of these files is acknowledged. The same command with --resume sends them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "it needs --dead_letters DIR"),
        (["--dead_letters", "gs://bucket/dead"], "must be a local directory"),
        (["--dead_letters", "{}", "--zerobus_dry_run"], "a dry run writes nothing"),
        (["--dead_letters", "{}", "--runner=BundleBasedDirectRunner"], "--runner must be FnApiRunner or DirectRunner"),
    ],
)
def test_where_a_run_cannot_be_resumed_the_reason_is_said(zerobus, tmp_path, capsys, flags, reason):
    zerobus.create_table(TABLE, "id BIGINT")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "in.parquet")
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "unfinished-run").touch()
    flags = [flag.format(tmp_path / "dead") for flag in flags]
    assert send("--input", tmp_path / "in.parquet", "--resume", *flags) == 2
    assert reason in capsys.readouterr().err


@given(
    batches=st.lists(st.integers(1, 6) | st.none(), max_size=8),  # None is an element that is one row
    written=st.sets(st.integers(0, 40)),
    cut=st.integers(0, 30),
)
def test_each_row_that_is_not_noted_is_read_with_its_number(tmp_path_factory, batches, written, cut):
    rows = iter(range(100))
    elements = [
        f"row {next(rows)}" if size is None else pa.table({"id": [next(rows) for _ in range(size)]}) for size in batches
    ]
    journal = WrittenRows(str(tmp_path_factory.mktemp("run") / "notes"))
    Path(journal.path).write_text("{}\n")
    journal.note(np.array(sorted(written), np.int64))
    journal.note(np.array([3 << 34], np.int64))
    # A line that a kill cut off counts for nothing.
    Path(journal.path).write_text(Path(journal.path).read_text() + "[[0, 0, 100]]"[: cut % 13])
    _, spans = journal.read()
    read = {}
    for output in ReadUnwritten(lambda _: iter(elements), spans).process((0, metadata(Path(journal.path)))):
        first = output.timestamp // 1000 if isinstance(output.timestamp, int) else output.timestamp.micros // 1000
        values = output.value["id"].to_pylist() if isinstance(output.value, pa.Table) else [int(output.value[4:])]
        read |= {first + index: value for index, value in enumerate(values)}
    assert read == {row: row for row in range(next(rows)) if row not in written}
    assert spans[3] == [[0, 1]]


def test_each_note_of_threads_at_once_is_kept(tmp_path):
    journal = WrittenRows(str(tmp_path / "notes"))
    Path(journal.path).write_text("{}\n")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: journal.note(np.array([2 * number])), range(400)))
    _, spans = journal.read()
    assert spans == {0: [[2 * number, 2 * number + 1] for number in range(400)]}


def test_a_file_that_changed_after_rows_of_it_were_written_is_refused(zerobus, tmp_path, capsys):
    zerobus.create_table(TABLE, "id BIGINT")
    path = tmp_path / "in.csv"
    path.write_text("id\n1\n2\n")
    dead = tmp_path / "dead"
    zerobus.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=100, code="UNAVAILABLE"),))
    assert send("--input", path, "--dead_letters", dead, "--zerobus_max_retries=0") == 1
    WrittenRows(str(dead / "unfinished-run")).note(np.array([0]))
    path.write_text("id\n1\n2\n3\n")
    assert send("--input", path, "--dead_letters", dead, "--resume") == 2
    assert "has changed since 1 row of it went into the table" in capsys.readouterr().err


@pytest.mark.hostile
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_is_resumed_without_its_acknowledged_batches(zerobus, tmp_path):
    table = zerobus.create_table(TABLE, "id BIGINT NOT NULL")
    rows = 600_000
    pq.write_table(pa.table({"id": range(rows)}), tmp_path / "in.parquet", row_group_size=2_000)
    dead = tmp_path / "dead"
    command = [sys.executable, "-m", "pipelines.files_to_zerobus", "--input", str(tmp_path / "in.parquet")]
    command += [f"--zerobus_table={TABLE}", "--dead_letters", str(dead)]
    copies_when_noted: dict[int, int] = {}
    journal = dead / "unfinished-run"
    for attempt in range(2):
        more = ["--resume"] if attempt else []
        with started(
            [*command, *more], environment=zerobus_environment(zerobus), log=tmp_path / f"log{attempt}"
        ) as sending:
            before = noted(dead) if attempt else 0
            wait_until(lambda before=before: journal.exists() and noted(dead) > before, "rows are noted")
            sending.kill()
            sending.wait(60)
        _, spans = WrittenRows(str(dead / "unfinished-run")).read()
        copies = Counter(table.to_arrow()["id"].to_pylist())
        for start, stop in spans[0]:
            for row in range(start, stop):
                copies_when_noted.setdefault(row, copies[row])
    assert 0 < len(copies_when_noted) == noted(dead) < rows
    assert send("--input", tmp_path / "in.parquet", "--dead_letters", dead, "--resume") == 0
    copies = Counter(table.to_arrow()["id"].to_pylist())
    assert len(copies) == rows
    assert {row: copies[row] for row in copies_when_noted} == copies_when_noted
    assert not (dead / "unfinished-run").exists()  # Beam leaves the temporary folder of a killed run


def test_two_runs_do_not_share_a_directory(zerobus, tmp_path, capsys):
    table = zerobus.create_table(TABLE, "id BIGINT")
    (tmp_path / "in.csv").write_text("id\n1\n")
    flags = ["--input", tmp_path / "in.csv", "--dead_letters", tmp_path / "dead"]
    with Run.begin(str(tmp_path / "dead"), [], {}, resume=False):
        for more in ([], ["--resume"]):
            assert send(*flags, *more) == 2
            assert f"Another run is using {tmp_path / 'dead'}: wait for its end" in capsys.readouterr().err
    assert send(*flags) == 2
    assert "add --resume" in capsys.readouterr().err
    (tmp_path / "dead" / "unfinished-run").unlink()
    assert send(*flags) == 0
    assert table.count_rows() == 1
    assert not (tmp_path / "dead").exists()
