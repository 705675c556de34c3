"""Compressed files: what follows the end of compressed data is read, or is an error; it is never left out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from beam_zerobus.programs import open_files
from beam_zerobus.programs.open_files import opened

LINES = b"".join(b'{"id": %d}\n' % number for number in range(5_000))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".deflate": lambda data: zlib.compress(data)[2:-4],
}


def read(path: Path) -> bytes:
    with opened(str(path)) as file:
        return b"".join(iter(lambda: bytes(file.read(1 << 16)), b""))


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_whole_file_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](LINES))
    assert read(path) == LINES


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst", ".xz"])
def test_files_that_were_compressed_one_by_one_and_joined_are_one(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](LINES) + COMPRESS[ending](LINES))
    assert read(path) == LINES + LINES


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("damage", ["garbage", "damaged"])
def test_what_follows_the_compressed_data_is_an_error_where_it_cannot_be_read(
    tmp_path: Path, ending: str, damage: str
) -> None:
    path = tmp_path / f"in.jsonl{ending}"
    second = bytearray(COMPRESS[ending](LINES))
    second[0] ^= 0x55  # its first byte says what it is
    path.write_bytes(COMPRESS[ending](LINES) + (b"garbage" * 40 if damage == "garbage" else bytes(second)))
    with pytest.raises((OSError, ValueError, EOFError, lzma.LZMAError)):
        read(path)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("cut", [0, 1, 2, 20, -20, -9, -8, -5, -4, -1])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, ending: str, cut: int) -> None:
    path = tmp_path / f"in.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](LINES)[: cut or 0])
    with pytest.raises((OSError, ValueError, EOFError, lzma.LZMAError)):
        read(path)


@pytest.mark.parametrize("padding", [4, 8, 5 << 20])
@pytest.mark.parametrize("rest", [b"", lzma.compress(LINES)], ids=["last", "joined"])
def test_zero_bytes_that_pad_an_xz_file_are_no_damage(tmp_path: Path, padding: int, rest: bytes) -> None:
    path = tmp_path / "in.jsonl.xz"
    path.write_bytes(lzma.compress(LINES) + bytes(padding) + rest)
    assert read(path) == (LINES + LINES if rest else LINES)


@pytest.mark.parametrize("ending", [".xz", ".lzma", ".deflate"])
def test_a_file_whose_end_is_longer_than_a_buffer_by_a_few_bytes_is_whole(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decompressor may have all of the compressed bytes by then, and still the last of the others."""
    monkeypatch.setattr(open_files, "_CHUNK_BYTES", 1 << 16)
    for more in range(1, 260, 13):
        data = b"a" * ((1 << 16) + more)
        path = tmp_path / f"in.jsonl{ending}"
        path.write_bytes(COMPRESS[ending](data))
        assert read(path) == data
