"""Damaged and malicious files for `beam-zerobus`: a clear error in one line, and no control of the terminal."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import DebugFiles
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.descriptors import describe
from tests.debug_files.samples import AIR, AIR_ENCODER, TABLE, every_type
from tests.debug_files.test_writer import open_writer, write
from tests.hostile.inspecting import (
    ARROW,
    DEEP,
    DESCRIPTOR,
    FEW,
    PROTO,
    REJECTS,
    assert_error,
    assert_result_or_error,
    run,
    write_arrow,
    write_files,
)

pytestmark = pytest.mark.hostile


@pytest.fixture
def debug(tmp_path: Path) -> Path:
    return write_files(tmp_path)


# Damaged files


@FEW
@given(content=st.binary(min_size=1) | st.text(min_size=1).map(str.encode))
def test_a_garbage_arrow_file_is_an_error(content: bytes) -> None:
    if content[:4] == b"\xff\xff\xff\xff"[: len(content)]:
        content = b"x" + content
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{TABLE}.arrow"
        file.write_bytes(content)
        assert_error("inspect", file, names=f"{TABLE}.arrow is damaged or not an Arrow debug file")
        assert_error("inspect", file, "--json", names=f"{TABLE}.arrow is damaged")


@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff\0\0\0\0", b"\xff\xff\xff\xff\x07\0\0\0", b"ARROW1\0\0" * 9])
def test_an_arrow_file_without_a_schema_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / f"{TABLE}.arrow"
    file.write_bytes(content)
    assert_error("inspect", file, names="not an Arrow debug file")


def test_an_arrow_file_with_a_damaged_middle_is_an_error(debug: Path) -> None:
    file = debug / ARROW
    content = bytearray(file.read_bytes())
    batch = content.index(b"\xff\xff\xff\xff", 8)  # after the schema
    content[batch + 8 : batch + 68] = b"\x11" * 60
    file.write_bytes(content)
    status, _, err = run("inspect", file)
    assert (status, "is damaged" in err) == (2, True)


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Content with a few bytes changed, or cut, or continued with garbage."""
    change = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=4)

    def apply(changes: list[tuple[int, int]]) -> bytes:
        changed = bytearray(content)
        for position, byte in changes:
            changed[position] = byte
        return bytes(changed)

    cut = st.integers(0, len(content)).map(lambda size: content[:size])
    return change.map(apply) | cut | st.builds(lambda rest: content + rest, st.binary(min_size=1, max_size=40))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("damaged", [ARROW, PROTO, DESCRIPTOR, REJECTS])
@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_a_result_or_an_error_in_one_line(originals: Path, damaged: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in (ARROW, PROTO, DESCRIPTOR, REJECTS):
            content = (originals / name).read_bytes()
            target = Path(directory) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.draw(mutations(content)) if name == damaged else content)
        for arguments in ([], ["--json"], ["--diff"]):
            assert_result_or_error("inspect", directory, *arguments)


@FEW
@given(content=st.binary())
def test_a_garbage_descriptor_set_is_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer = open_writer(directory)
        write(writer, 0)
        writer.close()
        (Path(directory) / DESCRIPTOR).write_bytes(content)
        assert_error("inspect", Path(directory) / PROTO, names=f"{TABLE}.proto.desc is damaged")


def nested(depth: int, fields: int) -> DescriptorProto:
    """A row message with `fields` fields of a message with `fields` fields, and so on."""
    row = DescriptorProto(name="Row")
    message = row
    path = ".Row"
    for level in range(depth):
        inner = message.nested_type.add(name=f"M{level}")
        path += f".M{level}"
        for number in range(1, fields + 1):
            message.field.add(
                name=f"f{number}",
                number=number,
                type=FieldDescriptorProto.TYPE_MESSAGE,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
                type_name=path,
            )
        message = inner
    return row


def own_child() -> DescriptorProto:
    row = DescriptorProto(name="Row")
    row.field.add(
        name="child",
        number=1,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type_name=".Row",
    )
    return row


def scalar_rows() -> bytes:
    description = FileDescriptorSet.FromString(describe(AIR_ENCODER.descriptor, AIR))
    rows = description.file[0].message_type[1].field[0]
    rows.ClearField("type_name")
    rows.type = FieldDescriptorProto.TYPE_INT64
    return description.SerializeToString()


@pytest.mark.parametrize(
    "make",
    [
        lambda: describe(own_child(), None),
        lambda: describe(nested(30, 2), None),
        scalar_rows,
        lambda: FileDescriptorSet().SerializeToString(),
        lambda: b"",
    ],
    ids=["a message in itself", "2^30 fields", "rows that are numbers", "no file", "empty"],
)
def test_a_malicious_descriptor_set_is_an_error(debug: Path, make: Callable[[], bytes]) -> None:
    (debug / DESCRIPTOR).write_bytes(make())
    assert_error("inspect", debug / PROTO, names=f"{TABLE}.proto.desc is damaged")


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        "[]",
        "5",
        "null",
        "{}",
        '{"batch": "0", "row": 1, "stage": "schema"}',
        '{"batch": 0',
        "\x1b[31m",
        "9" * 5000,
    ],
)
def test_a_line_that_is_no_mark_is_an_error(debug: Path, line: str) -> None:
    with (debug / REJECTS).open("a") as file:
        file.write(line + "\n")
    for arguments in ([], ["--diff"]):
        assert_error("inspect", debug, *arguments, names="line 3 is not the mark of a rejected row")


def test_a_line_that_is_cut_off_is_left_out(debug: Path) -> None:
    with (debug / REJECTS).open("a") as file:
        file.write('{"file": "x", "bat')
    assert json.loads(run("inspect", debug, "--json")[1])[0]["rejected_rows"] == 2


def test_values_that_python_cannot_hold_are_shown(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xffb"]).buffers()[1:]])
    decimals = pa.Array.from_buffers(pa.decimal128(2, 0), 1, [None, pa.py_buffer(b"\x7f" * 16)])
    zone = pa.array([1], pa.timestamp("us", "Nowhere/Nothing"))
    write_arrow(tmp_path, pa.record_batch({"text": texts, "decimal": decimals, "zone": zone}))
    status, out, _ = run("inspect", tmp_path, "--json")
    assert status == 0
    assert json.loads(out)[0]["head"][0]["text"] == r"a\xffb"
    assert run("inspect", tmp_path)[0] == 0


def test_a_column_whose_type_changes_and_one_that_appears_twice_are_shown(tmp_path: Path) -> None:
    writer = DebugFileWriter(DebugFiles(output_dir=tmp_path, proto=False), table=TABLE)
    writer.write(pa.record_batch({"t": pa.array([1], pa.timestamp("us"))}))
    writer.write(pa.record_batch({"t": pa.array([1], pa.timestamp("us", "UTC"))}))
    writer.write(pa.record_batch({"t": pa.array([1], pa.date32())}))
    writer.write(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["twice", "twice"]))
    writer.close()
    assert_result_or_error("inspect", tmp_path, "--columns", "t")
    assert run("inspect", tmp_path)[0] == 0
    run("inspect", tmp_path, "--diff")


# Conditions


@settings(max_examples=100)
@given(
    column=st.sampled_from(every_type().schema.names),
    operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    value=st.text(max_size=12) | st.sampled_from(["null", "1e400", "9" * 50, "1-1-1", "nan", "-"]),
)
def test_any_condition_is_a_result_or_an_error(originals: Path, column: str, operator: str, value: str) -> None:
    if "\0" in value:
        value = value.replace("\0", "0")
    assert_result_or_error("inspect", originals / ARROW, "--json", "--where", f"{column}{operator}{value}")


# Schemas

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["columns", "name", "position", "type_json", "type_text", "nullable"]), inner, max_size=6
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(table=JSON)
def test_any_json_is_a_schema_or_an_error(table: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "table.json"
        for content in (table, {"columns": table}, {"columns": [table]}):
            file.write_text(json.dumps(content))
            assert_result_or_error("schema", file)


@pytest.mark.parametrize("content", ["[]", "5", "null", '"text"', DEEP, '{"columns": ' * 10_000, "", "{", "9" * 5000])
def test_json_that_is_no_table_is_an_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "table.json"
    file.write_text(content)
    assert_error("schema", file, names=file)


@FEW
@pytest.mark.parametrize("suffix", [".json", ".arrow", ".parquet", ".ddl"])
@given(content=st.binary())
def test_garbage_is_no_schema(suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"table{suffix}"
        file.write_bytes(b"\xff\xfe" + content)
        assert_error("schema", file, names=file)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
