"""Beam is imported where `beam_zerobus/sink/__init__.py` says, and the writer works without it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import beam_zerobus

PACKAGE = Path(beam_zerobus.__file__).parent


def imported_by(module: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(module.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_outside_the_sink_the_programs_and_yaml_only_beams_filesystems_are_imported() -> None:
    with_beam = {PACKAGE / "sink", PACKAGE / "programs"}
    modules = [path for path in PACKAGE.rglob("*.py") if not with_beam & {*path.parents} and path.name != "yaml.py"]
    found = {name for path in modules for name in imported_by(path) if name.startswith("apache_beam")}
    assert found <= {"apache_beam.io.filesystem", "apache_beam.io.filesystems"}


def run(program: str) -> str:
    """Run a program in a process of its own and return what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=120, capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


WITHOUT = """
import sys
found = {"apache_beam", "databricks.sdk", "pandas", "polars"} & set(sys.modules)
assert not found, found
"""

# The first Python values that pyarrow converts make it import pandas, where that is installed.
WITHOUT_BEAM = """
import sys
assert "apache_beam" not in sys.modules
"""


@pytest.mark.parametrize(
    "module",
    [
        "from beam_zerobus import ZerobusWriter",
        "from beam_zerobus.emulator import Emulator",
        "import beam_zerobus.emulator.command",
        "import beam_zerobus.cli",
        "import beam_zerobus.gateway.command",
        "import beam_zerobus.writer.shared",
    ],
)
def test_neither_beam_nor_pandas_is_imported_without_need(module: str) -> None:
    run(module + WITHOUT)


def test_a_writer_works_without_beam() -> None:
    run(
        """
import pyarrow as pa
from beam_zerobus import ZerobusWriter
with ZerobusWriter("main.iot.air", schema="id BIGINT, at TIMESTAMP", dry_run=True) as writer:
    assert writer.send_batch(pa.record_batch({"id": [1]})).success
    assert writer.send([{"id": 1, "at": 5}, {"id": 2.0, "at": None}]).success
    assert writer.send(['{"id": 1}']).success
"""
        + WITHOUT_BEAM
    )


def test_a_writer_and_the_emulator_work_without_beam() -> None:
    run(
        """
from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.emulator import Emulator
with Emulator() as emulator:
    table = emulator.create_table("main.iot.air", "id BIGINT")
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    with ZerobusWriter("main.iot.air", endpoint=emulator.endpoint, workspace_url=emulator.workspace_url,
                       credentials=credentials) as writer:
        assert writer.send([{"id": 1}]).success
    assert table.count_rows() == 1
"""
        + WITHOUT_BEAM
    )


COMMANDS = (
    ["schema", "id BIGINT"],
    ["schema", "id BIGINT", "--format", "arrow"],
    ["inspect", "nowhere", "--json"],
    ["create-table", "main.iot.air", "--schema", "id BIGINT"],
    ["emulator", "--help"],
    ["gateway", "--help"],
    ["check", "--help"],
    ["--help"],
)


def test_the_command_line_works_without_beam() -> None:
    run(
        f"""
import contextlib, io
from beam_zerobus.cli import main
for command in {COMMANDS}:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(command)
"""
        + WITHOUT
    )


PLAIN = """
import logging
assert logging.getLogger().handlers == []
assert logging.getLogger().filters == []
import apache_beam, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="mine: %(message)s")
logging.info("hello")
"""


@pytest.mark.parametrize(
    "first",
    [
        "from beam_zerobus import WriteToZerobus",
        pytest.param("from beam_zerobus import ZerobusOptions", marks=pytest.mark.hostile),
        pytest.param("import beam_zerobus.sink", marks=pytest.mark.hostile),
        pytest.param("import beam_zerobus.rotated_files.beam_destination", marks=pytest.mark.hostile),
        pytest.param("import beam_zerobus.programs.files_to_zerobus", marks=pytest.mark.hostile),
    ],
)
def test_importing_the_sink_writes_nothing_and_leaves_the_root_logger_alone(first: str) -> None:
    assert run(f"{first}\n{PLAIN}") == "mine: hello\n"


def test_other_warnings_while_beam_is_imported_are_shown() -> None:
    program = """
import logging
from beam_zerobus.logs import importing_beam
with importing_beam():
    logging.warning("apitools not found, and so on")
    logging.warning("something else")
assert logging.getLogger().handlers == []
"""
    assert run(program) == "something else\n"


def test_a_handler_of_the_application_stays() -> None:
    program = """
import logging, sys
logging.basicConfig(format="mine: %(message)s")
from beam_zerobus import WriteToZerobus
logging.warning("hello")
"""
    assert run(program) == "mine: hello\n"
