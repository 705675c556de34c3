"""The examples in docstrings run, and other code in them compiles and names what exists."""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "beam_zerobus"
SOURCES = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path, source in SOURCES.items()
    if ">>> " in source
]
BLOCK = re.compile(r":\n\n((?:(?: {4}.*)?(?:\n|\Z))+)")
NOT_PYTHON = {"programs/replay_dead_letters.py": "a command", "yaml.py": "a pipeline of Beam YAML"}


def blocks() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of each indented block that no `>>>` begins."""
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for found in BLOCK.finditer(ast.get_docstring(node) or ""):
                    if ">>> " not in found[1]:
                        yield path.relative_to(PACKAGE).as_posix(), textwrap.dedent(found[1]).strip()


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write files
    failed, tried = doctest.testmod(import_module(module))
    assert tried > 0, "the examples are where doctest finds none"
    assert failed == 0, "see the output"


def test_other_code_compiles_and_names_what_exists() -> None:
    found = list(blocks())
    assert {file for file, _ in found} > NOT_PYTHON.keys()
    for file, block in found:
        if file not in NOT_PYTHON:
            compile(block, file, "exec")
        for name in re.findall(r"\bbeam_zerobus(?:\.\w+)+", block):
            assert resolve_name(name) is not None


def test_no_example_is_skipped() -> None:
    assert [str(path) for path, source in SOURCES.items() if re.search(r"# *doctest: *\+SKIP", source)] == []
