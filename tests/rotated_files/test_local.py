"""Opening, making and renaming private local files."""

import os
import stat
import sys
from pathlib import Path

import pytest

from beam_zerobus.rotated_files.local import (
    create_private,
    make_private_directories,
    move,
    open_private,
    open_regular,
    read_regular,
    sync,
    sync_directory,
    write_all,
)
from beam_zerobus.rotated_files.lock import NameLock


def test_a_file_is_created_once_and_then_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with create_private(path) as file:
        write_all(file, b"one")
    with pytest.raises(FileExistsError):
        create_private(path)
    with open_private(path, "ab") as file:
        write_all(file, memoryview(b"two"))
    assert read_regular(path) == b"onetwo"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="is a directory, not a regular file"):
        open_regular(tmp_path / "directory", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing", os.O_RDONLY)
    sync(tmp_path / "nothing")
    sync_directory(tmp_path / "nothing")
    sync_directory(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_device_and_a_socket_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with pytest.raises(OSError, match="is a device, not a regular file"):
        open_regular("/dev/null", os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket")
        with pytest.raises(OSError, match="is a socket, not a regular file"):
            open_regular(tmp_path / "socket", os.O_RDWR)


def test_a_file_is_never_moved_over_another(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.write_text("new")
    destination.write_text("old")
    with pytest.raises(FileExistsError):
        move(source, destination)
    destination.unlink()
    move(source, destination)
    assert (source.exists(), destination.read_text()) == (False, "new")


def test_directories_are_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        assert make_private_directories(tmp_path / "a" / "b", "c", "d") == tmp_path / "a" / "b" / "c" / "d"
    (tmp_path / "a" / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, not a directory: remove it"):
        make_private_directories(tmp_path / "a", "file", "c")


def test_a_name_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / ".name.lock"
    first = NameLock.acquire(path)
    assert first is not None
    assert NameLock.acquire(path) is None
    first.release()
    first.release()
    second = NameLock.acquire(path)
    assert second is not None
    second.release()
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove an open file")
def test_a_lock_removes_no_file_but_its_own(tmp_path: Path) -> None:
    path = tmp_path / ".name.lock"
    first = NameLock.acquire(path)
    path.unlink()
    second = NameLock.acquire(path)
    assert first is not None
    assert second is not None
    first.release()
    assert path.exists()
    assert NameLock.acquire(path) is None
    second.release()
