"""Values, names and messages that `beam-zerobus` prints control no terminal."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.cli import main
from beam_zerobus.debug_files.framing import frame
from tests.debug_files.samples import air, encode
from tests.debug_files.test_writer import open_writer
from tests.hostile.inspecting import ESCAPES, FEW, assert_error, run, write_arrow

pytestmark = pytest.mark.hostile


@FEW
@given(value=st.text() | st.just(ESCAPES), name=st.text(min_size=1) | st.just(ESCAPES))
def test_values_and_names_control_no_terminal(value: str, name: str) -> None:
    def encodable(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    value, name = encodable(value), encodable(name)
    with tempfile.TemporaryDirectory() as directory:
        inner = pa.array([{name: value}], pa.struct([(name, pa.string())]))
        columns = [pa.array([value]), inner, pa.array([[value]]), pa.array([value.encode()])]
        write_arrow(Path(directory), pa.RecordBatch.from_arrays(columns, names=[name, "inner", "list", "bytes"]))
        assert run("inspect", directory)[0] == 0
        status, out, _ = run("inspect", directory, "--json")
        assert status == 0
        assert json.loads(out)[0]["head"][0]["list"] == [value]
        run("inspect", directory, "--diff")
        run("inspect", directory, f"--where={name}=x")  # in one word, since a name may begin with a hyphen


def test_escapes_are_shown_and_markup_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    write_arrow(tmp_path, pa.record_batch({"name": [ESCAPES, "[bold]plain[/bold]", "Zürich 東京 👩‍🚀"]}))
    out = run("inspect", tmp_path)[1]
    for text in (
        r"\x1b[31mred\x1b[0m \x9b31m \x07 \x08 \x7f \u202eabc \u2028",
        "[bold]plain[/bold]",
        "Zürich 東京 👩‍🚀",
    ):
        assert text in out


def test_differences_control_no_terminal(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    changed = air(0).set_column(1, "device", pa.array([ESCAPES, "b", "c"]))
    writer.write(changed, frame(encode(air(0))))
    writer.close()
    for arguments in ([], ["--json"]):
        status, out, _ = run("inspect", tmp_path, "--diff", *arguments)
        assert status == 1
        assert "red" in out


def test_file_names_and_messages_control_no_terminal(tmp_path: Path) -> None:
    directory = tmp_path / "a\x1b[31mb"
    try:
        write_arrow(directory, pa.record_batch({"id": [1]}))
    except Exception:  # noqa: BLE001
        pytest.skip("this file system has no such names")
    assert run("inspect", directory)[0] == 0
    assert run("inspect", directory, "--json")[0] == 0
    for arguments in (["--columns", ESCAPES], ["--where", f"{ESCAPES}=1"], ["--where", f"id={ESCAPES}"]):
        assert_error("inspect", directory, *arguments, names="id")
    assert_error("inspect", directory / f"{ESCAPES}.arrow", names="no debug file")
    assert_error("schema", f"id {ESCAPES}", names="unexpected character")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_printed_schema_controls_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "table.arrow"
    with pa.ipc.new_stream(file, pa.schema([("a\x1b[31m", pa.int64())])):
        pass
    for form in ("ddl", "proto", "arrow"):
        terminal = Terminal()
        with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(io.StringIO()):
            main(["schema", str(file), "--format", form])
        assert "\x1b" not in terminal.getvalue()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
