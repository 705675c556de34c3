"""Standard input as a file: messages call it that, never by the temporary file that has its copy."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.cli import main
from beam_zerobus.options.signals import ending_signals
from beam_zerobus.programs.open_files import STDIN_COPY

TABLE = "main.files.readings"
AVRO = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}]}
BAD = 2**40


def as_avro(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, AVRO, rows)
    return buffer.getvalue()


def as_parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


ROWS = [{"id": 1}, {"id": BAD}]
REJECTED = {
    "csv": (f"id\n1\n{BAD}\n".encode(), "standard input, line 3, column 'id'"),
    "csv too": (b"id\n1\n2,3\n", "standard input, line 3: it has 2 values"),
    "json": (b"\n".join(json.dumps(row).encode() for row in ROWS), "standard input, line 2, column 'id'"),
    "json too": (json.dumps(ROWS).encode(), "standard input, element 2, column 'id'"),
    "avro": (as_avro(ROWS), "standard input, block at byte"),
    "parquet": (as_parquet(ROWS), "standard input, row group 0, row 1, column 'id'"),
}
UNREADABLE = {
    "csv": (b"colour\nred\n", "The header of standard input: column 'colour' is not in the table"),
    "csv too": (b'id\n1\n"2\n', "standard input, line 3: a quote is opened and not closed"),
    "json": (b'[{"id": 1},', "standard input cannot be read after element 1: the array is not valid JSON"),
    "avro": (b"x", "standard input cannot be read at byte 0: it does not start with the header of an Avro file"),
    "parquet": (b"x", "standard input cannot be read: Parquet"),
}


def send(data: bytes, file_format: str, *arguments: object) -> int:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
    try:
        flags = ["--input", "-", "--format", file_format.partition(" ")[0], "--zerobus_table", TABLE]
        return main(["send", *flags, *map(str, arguments)])
    finally:
        sys.stdin = before


@pytest.mark.parametrize(("case", "keep"), [*((case, True) for case in REJECTED), ("json", False)])
def test_a_rejected_row_names_standard_input(zerobus, tmp_path, capfd, case, keep):
    table = zerobus.create_table(TABLE, "id INT")
    data, place = REJECTED[case]
    assert send(data, case, *(["--dead_letters", tmp_path / "dead"] if keep else [])) == (0 if keep else 1)
    said = "".join(capfd.readouterr())
    if keep:
        said += "".join(path.read_text() for path in (tmp_path / "dead").iterdir())
        assert table.count_rows() == 1
    assert place in said
    assert "beam-zerobus-standard-input" not in said


@pytest.mark.parametrize("case", UNREADABLE)
def test_standard_input_that_cannot_be_read_is_named(zerobus, capfd, case):
    zerobus.create_table(TABLE, "id INT")
    data, reason = UNREADABLE[case]
    assert send(data, case) in (1, 2)
    said = "".join(capfd.readouterr())
    assert reason in said
    assert "beam-zerobus-standard-input" not in said


def test_standard_input_that_is_closed(zerobus, capsys, monkeypatch):
    zerobus.create_table(TABLE, "id INT")
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["send", "--input", "-", "--format", "csv", "--zerobus_table", TABLE]) == 2
    assert "Standard input is closed: pipe the rows in, or name files" in capsys.readouterr().err


def test_standard_input_that_may_not_be_read(zerobus, tmp_path, capsys, monkeypatch):
    (tmp_path / "in.csv").touch()
    with os.fdopen(os.open(tmp_path / "in.csv", os.O_WRONLY)) as unreadable:
        monkeypatch.setattr(sys, "stdin", unreadable)
        assert main(["send", "--input", "-", "--format", "csv", "--zerobus_table", TABLE]) == 2
    assert "Standard input cannot be copied to" in capsys.readouterr().err


@pytest.fixture
def no_handlers() -> Iterator[None]:
    """Signals as a process finds them at its start, whatever programs ran before in this one; but they end no test."""
    before = {number: signal.getsignal(number) for number in ending_signals()}
    for number in before:
        signal.signal(number, lambda *_: pytest.fail("the program did not handle the signal"))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("no_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_standard_input_is_read(zerobus, capsys, monkeypatch, tmp_path, number):
    class Waiting(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            assert [path.name for path in tmp_path.iterdir() if path.name.startswith(STDIN_COPY)]
            signal.raise_signal(number)
            return 0

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Waiting())))
    assert main(["send", "--input", "-", "--format", "csv", "--zerobus_table", TABLE]) == 128 + number
    assert capsys.readouterr().err == "beam-zerobus: interrupted\n"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(STDIN_COPY)]


def test_a_file_of_that_name_is_named_as_it_is(zerobus, tmp_path, capsys, monkeypatch):
    zerobus.create_table(TABLE, "id INT")
    monkeypatch.chdir(tmp_path)
    Path("standard input.csv").write_text("id\nx\n")
    assert main(["send", "--input", "standard input.csv", "--zerobus_table", TABLE]) == 1
    assert "standard input.csv, line 2" in capsys.readouterr().out
