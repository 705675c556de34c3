"""Links between the pages at the top of the repository, and to the documentation; the site checks its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = sorted(path.name for path in ROOT.glob("*.md"))


def prose(path: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TOP)
def test_links_and_anchors_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^):]+)\)", prose(ROOT / name)):
        file, _, anchor = target.partition("#")
        path = ROOT / (file or name)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_security_policy_names_tests_that_exist() -> None:
    tests = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text("utf-8"))
    assert len(tests) > 10
    assert [test for test in tests if not (ROOT / test).is_file()] == []


def test_the_page_of_commands_names_commands_that_exist() -> None:
    table = (ROOT / "docs" / "commands.md").read_text("utf-8").partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = set(re.findall(r"`([\w-]+)`", " ".join(first_cells)))
    cli = (ROOT / "beam_zerobus" / "cli.py").read_text("utf-8")
    assert len(named) >= 9
    assert named <= set(re.findall(r'add_parser\(\s*"([\w-]+)"', cli))
