"""Beam is imported where `beam_zerobus/sink/__init__.py` says, and the writer works without it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import beam_zerobus

PACKAGE = Path(beam_zerobus.__file__).parent


def imported_by(module: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(module.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_outside_the_sink_and_yaml_only_beams_filesystems_are_imported() -> None:
    sink = PACKAGE / "sink"
    modules = [path for path in PACKAGE.rglob("*.py") if sink not in path.parents and path.name != "yaml.py"]
    found = {name for path in modules for name in imported_by(path) if name.startswith("apache_beam")}
    assert found <= {"apache_beam.io.filesystem", "apache_beam.io.filesystems"}


def test_a_writer_works_without_beam() -> None:
    program = """
import sys
import pyarrow as pa
from beam_zerobus import ZerobusWriter
with ZerobusWriter("main.iot.air", schema="id BIGINT", dry_run=True) as writer:
    assert writer.send_batch(pa.record_batch({"id": [1]})).success
assert "apache_beam" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
