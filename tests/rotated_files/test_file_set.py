"""Rotation and retention of files whose format nobody here knows."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.rotated_files.destination import Destination, RotatedFilesOptions, open_destination
from beam_zerobus.rotated_files.growing import ByteFile
from beam_zerobus.rotated_files.layout import Companion, Folder, superfluous
from beam_zerobus.rotated_files.local import create_private, write_all
from beam_zerobus.rotated_files.names import Name, Rotation

NOTES = Companion(suffix=".notes", rewrite_line=lambda line, old, new: line.replace(old.encode(), new.encode()))
FORM = Companion(suffix=".form")
FOLDER = Folder(name="data", suffix=".data", companions=(NOTES, FORM))
OTHER = Folder(name="other", suffix=".other")


def open_files(directory: Path, **options: int | None) -> Destination:
    return open_destination(
        RotatedFilesOptions(output_dir=directory, root="root", **options),
        base="name",
        folders=(FOLDER, OTHER),
        clock=lambda: 0.0,
    )


def add(destination: Destination, folder: Folder, content: bytes) -> ByteFile:
    path = destination.files.layout.path(folder, folder.suffix)
    file = destination.files.add(ByteFile(path, header=b"<", trailer=b">"))
    file.append([content])
    return file


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_files_rotate_together_with_their_companions(tmp_path: Path) -> None:
    destination = open_files(tmp_path)
    layout = destination.files.layout
    add(destination, FOLDER, b"one")
    add(destination, OTHER, b"two")
    for suffix, text in ((".notes", b"of name\nand name\n"), (".form", b"name")):
        with create_private(layout.path(FOLDER, suffix)) as file:
            write_all(file, text)
    rotation = destination.files.rotate()
    stem = f"name.{rotation}"
    assert content(tmp_path) == {
        f"{stem}.data": b"<one>",
        f"{stem}.notes": f"of {stem}\nand {stem}\n".encode(),
        f"{stem}.form": b"name",
        f"{stem}.other": b"<two>",
    }
    destination.close()


def test_the_header_is_written_with_the_first_bytes_or_at_the_end(tmp_path: Path) -> None:
    destination = open_files(tmp_path)
    file = add(destination, FOLDER, b"")
    assert (file.size, content(tmp_path)["name.data"]) == (1, b"<")
    file.append([b"ab", memoryview(b"c")])
    assert destination.files.current() == [(file.path, 4)]
    destination.files.close()
    assert content(tmp_path)["name.data"] == b"<abc>"
    destination.close()


def test_files_of_an_earlier_writer_rotate_and_the_oldest_are_removed(tmp_path: Path) -> None:
    for run in range(5):
        destination = open_files(tmp_path, max_files_retained=2)
        add(destination, FOLDER, str(run).encode())
        destination.files.close()
        destination.prepare_flush()()
        destination.close()
    assert sorted(content(tmp_path).values()) == [b"<2>", b"<3>", b"<4>"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not rename an open file")
def test_a_file_that_somebody_replaced_is_missed(tmp_path: Path) -> None:
    destination = open_files(tmp_path)
    file = add(destination, FOLDER, b"one")
    destination.files.check_in_place()
    file.path.rename(tmp_path / "moved")
    file.path.write_bytes(b"other")
    with pytest.raises(FileNotFoundError, match="was replaced while it was written"):
        destination.files.check_in_place()
    with pytest.raises(FileNotFoundError, match="was replaced"):
        destination.files.rotate()
    assert content(tmp_path) == {"moved": b"<one>", "name.data": b"other"}
    destination.close()


@given(
    rotations=st.lists(st.integers(1, 30), unique=True, max_size=20),
    suffixes=st.lists(st.sampled_from([".data", ".notes"]), min_size=20, max_size=20),
    kept=st.integers(0, 5),
)
def test_the_retention_keeps_the_latest_data_files_and_what_belongs_to_them(
    rotations: list[int], suffixes: list[str], kept: int
) -> None:
    names = [
        Name("name", Rotation("20261123T231945Z", number), suffix)
        for number, suffix in zip(rotations, suffixes, strict=False)
    ]
    current = Name("name", None, ".data")
    removed = superfluous([*names, current], kept, ".data")
    assert superfluous([*names, current], None, ".data") == []
    assert current not in removed
    data = sorted((name for name in names if name.suffix == ".data"), key=lambda name: name.order)
    assert [name for name in data if name not in removed] == (data[-kept:] if kept else [])
    oldest_kept = next((name for name in data if name not in removed), None)
    for name in names:
        if name.suffix == ".notes" and oldest_kept is not None and name.order > oldest_kept.order:
            assert name not in removed
