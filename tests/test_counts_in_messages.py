"""A number in a message agrees with its noun and its verb: `counted` and `agreeing` say them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_zerobus.errors import agreeing, counted

PACKAGE = Path(__file__).parents[1] / "beam_zerobus"
NOUNS = r"(?:batches|bytes|calls|checks|columns|digits|differences|fields|files|lines|records|rows|streams|values)"
VERBS = r"(?:are|were|have|stay|differ|do)"
# What is counted there is above a limit, so that it is never one.
ABOVE_A_LIMIT = {
    *("emulator/counts/stream_rate.py", "emulator/otlp/exports.py", "emulator/rows/ipc.py"),
    *("emulator/streams/calls.py", "encoding/splitting.py", "gateway/put.py", "schema/validation.py"),
}
LIMIT = re.compile(r"\{[^{}]*(?:limit|max_bytes|MAX_|_BLOCK_BYTES|\.format)[^{}]*\}")  # never one, or no number


def source_of(part: ast.expr) -> str:
    """Return a part of a formatted text, with what is inserted in braces."""
    if isinstance(part, ast.FormattedValue):
        return "{" + re.sub(r"[{}]", "", ast.unparse(part.value)) + "}"
    return str(part.value) if isinstance(part, ast.Constant) else ""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(source_of, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def wrong_in(text: str) -> list[str]:
    """Return where a noun or a verb does not depend on the number before it."""
    text = LIMIT.sub("LIMIT", text)
    patterns = [rf"(?:\{{[^{{}}]*\}}|%d) {NOUNS}\b(?!/s)", rf"\{{counted\([^{{}}]*\)\}}(?: of [a-z ]+)? {VERBS}\b"]
    return [found.group() for pattern in patterns for found in re.finditer(pattern, text)]


def test_numbers_agree_with_nouns_and_verbs() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {found}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in ABOVE_A_LIMIT
        for line, text in texts(path)
        for found in wrong_in(text)
    ]
    assert wrong == [], "use counted() and agreeing() of beam_zerobus.errors: " + ", ".join(wrong)


def test_the_test_reads_formatted_texts(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        """f"{number} rows"
f"{counted(n, 'row')} of it are there"
"%d rows"
f"{counted(n, 'row')} {agreeing(n, 'is')} there, {limit} rows at most"
"""
    )
    assert {line for line, text in texts(module) if wrong_in(text)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("count", "noun", "verb", "said"),
    [
        (0, "row", "is", "0 rows are"),
        (1, "row", "has", "1 row has"),
        (2, "batch", "was", "2 batches were"),
        (1_000, "answer", "differs", "1,000 answers differ"),
    ],
)
def test_counts(count: int, noun: str, verb: str, said: str) -> None:
    assert counted(count, noun, verb) == said
    assert said.endswith(agreeing(count, verb))
