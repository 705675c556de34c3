"""Debug files to damage, and `beam-zerobus` run on them."""

from __future__ import annotations

import contextlib
import io
import unicodedata
from pathlib import Path

import pyarrow as pa
from hypothesis import settings

from beam_zerobus import DebugFiles, RowError
from beam_zerobus.cli import main
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import ProtoEncoder
from tests.debug_files.samples import EVERY_TYPE, TABLE, encode, every_type

FEW = settings(max_examples=40)
ESCAPES = "\x1b[31mred\x1b[0m \x9b31m \x07 \x08 \x7f \u202eabc \u2028"
DEEP = "[" * 100_000
ARROW = f"zerobus/arrow/{TABLE}.arrow"
PROTO = f"zerobus/proto/{TABLE}.proto"
DESCRIPTOR = f"{PROTO}.desc"
REJECTS = f"zerobus/arrow/{TABLE}.rejects.jsonl"


def run(*arguments: object) -> tuple[int, str, str]:
    """Run the command; its status and what it wrote to both outputs, none of which may control a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    for text in (out.getvalue(), err.getvalue()):
        assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
        assert not set(text) & set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return status, out.getvalue(), err.getvalue()


def assert_error(*arguments: object, names: object) -> None:
    """Check that the command fails with one line that names the file."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("beam-zerobus: ")
    assert err.count("\n") == 1
    assert str(names) in err


def assert_result_or_error(*arguments: object) -> None:
    """Check that the command works and names what is not complete, or fails with one line."""
    status, _, err = run(*arguments)
    assert status in (0, 1, 2)
    assert status or not err
    assert err.count(" is not complete: ") == err.count("\n") or (status, err.count("\n")) == (2, 1)


def write_files(directory: Path) -> Path:
    """Write files of every type, with a mark of a rejected row."""
    encoder = ProtoEncoder(EVERY_TYPE)
    writer = DebugFileWriter(
        DebugFiles(output_dir=directory), table=TABLE, descriptor=encoder.descriptor, schema=EVERY_TYPE
    )
    batch = every_type()
    for _ in range(2):
        writer.reject(writer.write(batch, frame(encode(batch, encoder))), [RowError(1, "null", "why", "service")])
    writer.close()
    return directory


def write_arrow(directory: Path, batch: pa.RecordBatch) -> None:
    writer = DebugFileWriter(DebugFiles(output_dir=directory, proto=False), table=TABLE)
    writer.write(batch)
    writer.close()
