"""CONTRIBUTING.md and docs/architecture.md name each make target, what it needs, and each room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
TARGETS = dict(re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
PACKAGE = ROOT / "beam_zerobus"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def words(needs: str) -> set[str]:
    return set(re.findall(r"[A-Z]\w+(?: \d+)?|git", needs))


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"help"}))
def test_each_target_is_there_with_what_it_needs(target: str) -> None:
    assert f"`make {target}`" in CONTRIBUTING
    needs = re.search(r"\(needs ([^)]*)\)", TARGETS[target])
    row = next((line for line in CONTRIBUTING.splitlines() if line.startswith("|") and f"`make {target}`" in line), "")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert words(needs[1] if needs else "") <= words(cells[-1]), "the Makefile names what the row does not"


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_there(room: str) -> None:
    assert f"| `{room}/` |" in CONTRIBUTING
    assert f"`{room}/`" in ARCHITECTURE


def test_the_architecture_names_only_modules_that_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", ARCHITECTURE)) - {"tests/test_architecture.py"}
    assert named
    assert {name for name in named if not (PACKAGE / name).is_file() and not list(PACKAGE.rglob(name))} == set()
    folders = set(re.findall(r"`((?:\w+/)+)`", ARCHITECTURE)) - {"beam_zerobus/"}
    assert {name for name in folders if not (PACKAGE / name).is_dir()} == set()
