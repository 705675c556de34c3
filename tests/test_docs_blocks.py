"""Each block of the documentation that a reader can copy and run is run by a test, or says why not.

A comment before the block says which: ``<!-- run by tests/... -->``, ``<!-- part of tests/... -->``, a program that a
test runs, or ``<!-- not run: reason -->``. Without a comment, a ``python`` block is run here, and a ``console`` block
by a test that reads it with `tests.runners.pages.commands`.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import TransientError, WriteToZerobus, ZerobusWriter
from beam_zerobus.emulator import Emulator
from tests.runners.support import ROOT, zerobus_environment

TABLE = "main.iot.air_quality"
HERE = "tests/test_docs_blocks.py"
LANGUAGES = "console|sh|bash|python|yaml|toml|sql|go|java|javascript|rust"
BLOCK = re.compile(rf"(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>{LANGUAGES})\n(?P<code>.*?)```", re.DOTALL)
MARK = re.compile(r"not run: \S.*|run by (?P<test>tests/\S+\.py)|part of (?P<program>tests/\S+)")
TESTS = {path: path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))}
READERS_OF_COMMANDS = "\n".join(text for text in TESTS.values() if "from tests.runners.pages import commands\n" in text)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of a page.

    Attributes:
        page: The page's path in the repository.
        heading: The heading above the block.
        mark: What the comment before the block says, or nothing.
        language: What the block is marked with.
        code: Its lines.
    """

    page: Path
    heading: str
    mark: str | None
    language: str
    code: str

    @property
    def test(self) -> str | None:
        """The test that runs the block, as its comment says."""
        found = MARK.fullmatch(self.mark or "")
        return None if found is None else found["test"]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in BLOCK.finditer(text):
        outside = re.sub(r"```.*?```", "", text[: found.start()], flags=re.DOTALL)  # a comment in a block is no heading
        yield Block(
            page=page.relative_to(ROOT),
            heading=re.findall(r"^#+ (.*)$", outside, re.MULTILINE)[-1],
            mark=found["mark"],
            language=found["language"],
            code=found["code"],
        )


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python" and block.mark is None]
COMMANDS = [block for block in BLOCKS if block.language == "console" and block.test == HERE]


def name(block: Block) -> str:
    return f"{block.page}: {block.heading}"


@pytest.fixture
def zerobus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator with the table of the pages, in the environment, and an empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") or variable == "DATABRICKS_TOKEN":
            monkeypatch.delenv(variable)
    with Emulator() as running:
        running.create_table(TABLE, "device STRING, co2 INT")
        running.create_table("main.iot.any_device", "device STRING, co2 INT, _rescued_data VARIANT")
        for variable, value in zerobus_environment(running).items():
            monkeypatch.setenv(variable, value)
        yield running


@pytest.mark.parametrize("block", BLOCKS, ids=name)
def test_a_test_runs_the_block_or_a_reason_says_why_not(block: Block) -> None:
    if block.mark is None:
        assert block.language in ("python", "console"), f"put a comment before the {block.language} block"
        if block.language == "console":
            page = block.page.as_posix().removeprefix("docs/")
            read = f'"{page}"' in READERS_OF_COMMANDS and f'"{block.heading}"' in READERS_OF_COMMANDS
            assert read, "no test reads these commands: put a comment before the block"
        return
    found = MARK.fullmatch(block.mark)
    assert found, f"this comment says neither 'run by tests/...', 'part of tests/...' nor 'not run: ...': {block.mark}"
    if found["program"]:
        program = {line.strip() for line in (ROOT / found["program"]).read_text("utf-8").splitlines()}
        assert {line.strip() for line in block.code.splitlines()} - program == set()
    if block.test == HERE:
        assert block in COMMANDS, f"a {block.language} block is run here without a comment"
    elif block.test is not None:
        assert block.page.name.lower() in TESTS[ROOT / block.test].lower(), "the test does not name the page"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "console"], ids=name)
def test_commands_have_no_prompt(block: Block) -> None:
    assert not re.search(r"^[$>] ", block.code, re.MULTILINE)


@pytest.mark.parametrize("block", PYTHON, ids=name)
def test_python(block: Block, zerobus: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    batch = pa.record_batch({"device": ["attic"], "co2": pa.array([417], pa.int32())})
    given: dict[str, Any] = {"batch": batch, "TransientError": TransientError}
    with ExitStack() as stack:
        if re.search(r"\bresult\.failed_rows \|", block.code):
            pipeline = stack.enter_context(beam.Pipeline(runner=FnApiRunner()))
            rows = pipeline | beam.Create([{"device": "attic"}, {"co2": "high"}])
            given["result"] = rows | WriteToZerobus(TABLE, on_bad_rows="dead_letter")
        elif not re.search(r"\bas writer\b", block.code):
            given["writer"] = stack.enter_context(ZerobusWriter(TABLE))
        exec(
            block.code.replace("beam.Pipeline()", "beam.Pipeline(runner=FnApiRunner())"),
            given | {"FnApiRunner": FnApiRunner},
        )


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("block", COMMANDS, ids=name)
def test_commands(block: Block, zerobus: Emulator, tmp_path: Path) -> None:
    pq.write_table(pa.table({"device": ["attic"], "co2": pa.array([417], pa.int32())}), tmp_path / "readings.parquet")
    done = subprocess.run(
        ["bash", "-ec", block.code],
        cwd=tmp_path,
        env={**zerobus_environment(zerobus), "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
