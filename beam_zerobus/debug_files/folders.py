"""The kinds of debug files, and the folders that hold them."""

from __future__ import annotations

from typing import Final

from beam_zerobus.rotated_files.layout import Companion, Folder

__all__ = ["ARROW", "DESCRIPTOR", "FOLDER_NAMES", "PROTO", "REJECTS", "ROOT", "SUFFIXES", "make_folders"]

ROOT: Final = "zerobus"
ARROW: Final = ".arrow"
PROTO: Final = ".proto"
DESCRIPTOR: Final = ".proto.desc"
REJECTS: Final = ".rejects.jsonl"
SUFFIXES: Final = (ARROW, DESCRIPTOR, PROTO, REJECTS)
FOLDER_NAMES: Final = {ARROW: "arrow", PROTO: "proto"}


def make_folders(*, arrow: bool, proto: bool) -> tuple[Folder, Folder]:
    """Return the folders of Arrow files and of protobuf files, each marked whether it is written."""
    rejects = Companion(suffix=REJECTS, rewrite_line=_rename_data_file)
    descriptor = Companion(suffix=DESCRIPTOR)
    return (
        Folder(name=FOLDER_NAMES[ARROW], suffix=ARROW, companions=(rejects,), is_written=arrow),
        Folder(name=FOLDER_NAMES[PROTO], suffix=PROTO, companions=(descriptor, rejects), is_written=proto),
    )


def _rename_data_file(line: bytes, old_stem: str, new_stem: str) -> bytes:
    """Return a line of a ``.rejects.jsonl`` file with the new name of its data file, which is the first field."""
    return line.replace(f'{{"file": "{old_stem}.'.encode(), f'{{"file": "{new_stem}.'.encode(), 1)
