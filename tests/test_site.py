"""The documentation site: what its pages link to, what its search finds, and which names the reference has."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import beam_zerobus

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.com/owner/name"
REFERENCE = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE)

built = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra docs is not installed")


def test_the_reference_has_each_public_name_once() -> None:
    names = [path.rpartition(".")[2] for path in REFERENCE]
    assert len(names) == len(set(names))
    elsewhere = {"schema": ["TableSchema"], "check": ["Report", "Finding"], "debug_files": ["read_arrow", "read_proto"]}
    elsewhere["sink.dead_letters"] = ["to_element"]
    for module in ("emulator", "gateway"):
        elsewhere[module] = import_module(f"beam_zerobus.{module}").__all__
    others = {f"beam_zerobus.{module}.{name}" for module, of_module in elsewhere.items() for name in of_module}
    assert others <= set(REFERENCE)
    of_package = {path.rpartition(".")[2] for path in set(REFERENCE) - others}
    assert of_package == set(beam_zerobus.__all__) - {"__version__"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "REPOSITORY_URL": REPOSITORY}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=110)
    return directory


@built
@pytest.mark.hostile
def test_each_page_links_to_the_repository_and_its_neighbours_and_has_a_dark_mode(site: Path) -> None:
    pages = sorted(path for path in site.rglob("index.html"))
    assert len(pages) >= len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        html = page.read_text("utf-8")
        assert f'href="{REPOSITORY}"' in html, page
        assert 'data-md-color-scheme="slate"' in html, page
        assert "md-footer__link--prev" in html or page.parent == site, page
        assert "md-footer__link--next" in html or page.parent.name == "reference", page


@built
@pytest.mark.hostile
def test_search_finds_what_a_new_user_looks_for(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    pages: dict[str, set[str]] = {}  # by word: search finds words by how they begin
    for entry in index["docs"]:
        text = re.sub(r"<[^>]*>", " ", f"{entry['title']} {entry['text']}").lower()
        for word in re.split(index["config"]["separator"], text):
            pages.setdefault(word, set()).add(entry["location"].partition("#")[0])
    for word, page in (
        ("pytest", "testing/"),
        ("fixture", "testing/"),
        ("asyncio", "asyncio/"),
        ("timezone", "types/"),
        ("azure", "databricks/"),
        ("uuid", "types/"),
        ("resume", "pipelines/"),
        ("duckdb", "debug-files/"),
    ):
        assert page in pages[word], word


@built
@pytest.mark.hostile
def test_the_reference_shows_each_name_by_itself(site: Path) -> None:
    html = (site / "reference" / "index.html").read_text("utf-8")
    for path in REFERENCE:
        assert html.count(f'<h3 id="{path}"') == 1, path
