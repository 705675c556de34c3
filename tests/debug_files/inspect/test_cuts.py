"""Files that are cut at any byte, or that a writer still has open: what is whole is shown, the rest is said."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import DebugFiles, RowError
from beam_zerobus.debug_files import DebugFileWriter, read_arrow, read_proto
from beam_zerobus.debug_files.framing import frame
from tests.debug_files.samples import AIR, AIR_ENCODER, TABLE, air, encode
from tests.debug_files.test_writer import open_writer, write
from tests.hostile.inspecting import ARROW, PROTO, REJECTS, run

Reader = Callable[[Path], Iterator[pa.RecordBatch]]
BATCHES, ROWS = 4, 3
CUT = settings(max_examples=25)


@dataclass(frozen=True)
class Written:
    """Closed debug files, and where each of their rows ends."""

    directory: Path
    ends: dict[str, list[int]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("written")
    writer = DebugFileWriter(
        DebugFiles(output_dir=directory), table=TABLE, descriptor=AIR_ENCODER.descriptor, schema=AIR
    )
    ends: dict[str, list[int]] = {ARROW: [], PROTO: []}
    for number in range(BATCHES):
        records = encode(air(ROWS * number, ROWS))
        before = (directory / PROTO).stat().st_size if number else 0
        writer.write(air(ROWS * number, ROWS), frame(records))
        ends[ARROW] += [(directory / ARROW).stat().st_size] * ROWS
        for record in records:
            before += len(frame([record]))
            ends[PROTO].append(before)
    writer.reject(1, [RowError(0, "null", "why", "service"), RowError(2, "null", "why", "service")])
    writer.close()
    return Written(directory, ends)


@pytest.mark.parametrize(("name", "reader"), [(ARROW, read_arrow), (PROTO, read_proto)])
def test_a_file_cut_at_any_byte_shows_what_is_whole_and_says_the_rest(
    written: Written, name: str, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    size = (written.directory / name).stat().st_size
    ends = written.ends[name]
    # Nothing marks the end of a protobuf message, so a cut between two rows cannot be seen in the file alone.
    complete = {size} if name == ARROW else {0, size, *ends}

    @CUT
    @given(st.one_of(st.sampled_from([0, 4, 8, size - 8, size - 4, size, *ends]), st.integers(0, size)))
    def check(cut: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            directory = shutil.copytree(written.directory, Path(place, "debug"))
            file = directory / name
            file.write_bytes(file.read_bytes()[:cut])
            whole = sum(end <= cut for end in ends)
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert sum(batch.num_rows for batch in reader(file)) == whole
            status, out, err = run("inspect", file, "--json")
            assert json.loads(out)[0]["rows"] == whole
            if cut in complete:
                assert (status, err, caplog.text) == (0, "", "")
            else:
                assert status == 1
                assert err.count("\n") == 1
                rows = "1 row" if whole == 1 else f"{whole} rows"
                assert f"{file} is not complete: {rows} could be read" in err
                assert f"{file} is not complete: {rows} could be read" in caplog.text
            if cut < size:  # the other side knows what is missing
                assert run("inspect", directory, "--diff")[0] == 1

    check()


@CUT
@given(data=st.data())
def test_marks_cut_at_any_byte_are_said(written: Written, data: st.DataObject) -> None:
    marks = (written.directory / REJECTS).read_bytes()
    cut = data.draw(st.integers(0, len(marks)))
    whole = marks[:cut].count(b"\n")
    with tempfile.TemporaryDirectory() as place:
        directory = shutil.copytree(written.directory, Path(place, "debug"))
        (directory / REJECTS).write_bytes(marks[:cut])
        status, out, err = run("inspect", directory / ARROW, "--json")
        # A mark without its line end is one all the same.
        is_mark = marks[cut : cut + 1] == b"\n"
        assert json.loads(out)[0]["rejected_rows"] == whole + is_mark
        is_between = is_mark or marks[:cut].endswith(b"\n") or not cut
        assert (status, f"{directory / REJECTS} is not complete" in err) == ((0, False) if is_between else (1, True))


def test_what_follows_the_end_is_damage(written: Written, tmp_path: Path) -> None:
    content = (written.directory / ARROW).read_bytes()
    file = tmp_path / f"{TABLE}.arrow"
    file.write_bytes(content + content)
    status, out, err = run("inspect", file)
    assert (status, out) == (2, "")
    assert "something follows the end of its stream" in err
    with pytest.raises(ValueError, match="something follows the end"):
        list(read_arrow(file))


def test_the_file_of_a_writer_that_still_has_it_open_is_not_complete(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    write(writer, 0)
    status, out, err = run("inspect", tmp_path / ARROW, "--json")
    assert (status, json.loads(out)[0]["rows"]) == (1, 3)
    assert "its writer is still writing it" in err
    writer.close()
    assert run("inspect", tmp_path / ARROW, "--json")[::2] == (0, "")


def test_conditions_choose_the_rejected_rows_too(written: Written) -> None:
    (arrow,) = json.loads(run("inspect", written.directory / ARROW, "--json", "--where", "id=5")[1])
    (file,) = arrow["files"]
    assert (arrow["matching_rows"], arrow["rejected_rows"]) == (1, 2)
    assert file["matching_rejected_rows"] == 1
    assert [(mark["batch"], mark["row"]) for mark in file["rejections"]] == [(1, 2)]
    assert "first 1 of 1 rejected row" in run("inspect", written.directory / ARROW, "--where", "id=5")[1]
    assert "rejected row" not in run("inspect", written.directory / ARROW, "--where", "id=4")[1]


def test_protobuf_files_say_that_rejected_rows_are_not_chosen(tmp_path: Path) -> None:
    writer = DebugFileWriter(
        DebugFiles(output_dir=tmp_path, arrow=False), table=TABLE, descriptor=AIR_ENCODER.descriptor, schema=AIR
    )
    writer.reject(writer.write(air(0), frame(encode(air(0)))), [RowError(1, "null", "why", "service")])
    writer.close()
    (proto,) = json.loads(run("inspect", tmp_path, "--json", "--where", "id=0")[1])
    assert proto["files"][0]["matching_rejected_rows"] is None
    assert len(proto["files"][0]["rejections"]) == 1
    shown = " ".join(run("inspect", tmp_path, "--where", "id=0")[1].split())
    assert "first 1 of 1 rejected row, whether they match or not" in shown
