"""The documentation site: what its pages link to, what its search finds, and which names the reference has."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import redirect_stdout, suppress
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from io import StringIO
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import unquote

import pytest

import beam_zerobus
from beam_zerobus.cli import main

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.com/owner/name"
REFERENCE = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE)

LEFT_OUT = [
    (path, name)
    for path, names in re.findall(
        r'^::: (\S+)\n    options:\n      filters: \["!\^_\[\^_\]", "!\^\(([\w|]+)\)\$"\]$',
        (ROOT / "docs" / "reference.md").read_text("utf-8"),
        re.MULTILINE,
    )
    for name in names.split("|")
]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

built = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra docs is not installed")


def test_the_reference_has_what_pytest_finds(request: pytest.FixtureRequest) -> None:
    section = (ROOT / "docs" / "reference.md").read_text("utf-8").partition("\n## pytest\n")[2]
    names = import_module("beam_zerobus.testing").__all__
    documented = {*re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE), *(path.split(".")[-1] for path in REFERENCE)}
    assert set(names) <= documented
    markers = [line.partition("(")[0] for line in request.config.getini("markers") if "beam_zerobus" in line]
    assert markers == ["zerobus"]
    assert "| `zerobus` | marker |" in section


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


def test_what_the_reference_leaves_out_exists() -> None:
    assert ("beam_zerobus.writer.zerobus_writer.ZerobusWriter", "submit_read") in LEFT_OUT
    assert [path for path, name in LEFT_OUT if not hasattr(resolve_name(path), name)] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "REPOSITORY_URL": REPOSITORY}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=250)
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
    assert 'id="beam_zerobus.writer.zerobus_writer.ZerobusWriter.submit"' in html
    assert [(path, name) for path, name in LEFT_OUT if f'id="{path}.{name}"' in html] == []


@built
@pytest.mark.hostile
def test_each_link_and_anchor_leads_somewhere(site: Path) -> None:
    pages = {page: page.read_text("utf-8") for page in site.rglob("*.html") if page.name != "404.html"}
    ids = {page: set(re.findall(r'\sid="([^"]*)"', html)) for page, html in pages.items()}
    missing = []
    for page, html in pages.items():
        for link in re.findall(r'\s(?:href|src)="([^":]*)"', html):  # without a scheme
            path, _, anchor = unquote(unescape(link)).partition("#")
            target = Path(os.path.normpath(page.parent / path)) if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and target in ids and anchor not in ids[target] | {"__toc"}):
                missing.append((page.relative_to(site).as_posix(), link))
    assert missing == []


@built
@pytest.mark.hostile
def test_the_page_of_commands_has_the_help_of_each(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = unescape(re.sub(r"<[^>]*>", "", (site / "commands" / "index.html").read_text("utf-8")))
    monkeypatch.setenv("COLUMNS", "78")
    names = re.findall(r"^    ([a-z-]+)(?:  |$)", printed_by("--help"), re.MULTILINE)
    assert len(names) >= 9
    for name in names:
        assert f"beam-zerobus {name}" in page
        flags = set(re.findall(r"(?<!\S)--[\w-]+", printed_by(name, "--help")))
        assert "--help" in flags
        assert {flag for flag in flags if flag not in page} == set(), name


def printed_by(*arguments: str) -> str:
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main(list(arguments))
    return printed.getvalue()


# Loads each page into a frame as wide as a phone, and writes those that are wider into the title.
MEASURE = """<!doctype html><body><script>
(async () => {
  const frame = document.body.appendChild(document.createElement("iframe")), wide = [];
  frame.style = "width: 360px; height: 780px; border: 0";
  for (const page of PAGES) {
    await new Promise(done => { frame.onload = done; frame.src = page; });
    await new Promise(done => setTimeout(done, 100));
    const root = frame.contentDocument.documentElement;
    if (!frame.contentDocument.querySelector("article h1")) wide.push(`${page} is empty`);
    if (root.scrollWidth > root.clientWidth) wide.push(`${page} is ${root.scrollWidth} wide`);
  }
  document.title = `measured: ${wide}`;
})();
</script>"""


@built
@pytest.mark.hostile
@pytest.mark.timeout(300)
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium, such as Debian's, is not installed")
def test_no_page_is_wider_than_a_phone(site: Path) -> None:
    pages = [f"/{page.parent.relative_to(site).as_posix()}/".replace("/./", "/") for page in site.rglob("index.html")]
    (site / "measure.html").write_text(MEASURE.replace("PAGES", json.dumps(pages)), "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=os.fspath(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/measure.html"
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--no-proxy-server",
            "--virtual-time-budget=60000",
            "--dump-dom",
            address,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
        server.shutdown()
    assert "<title>measured: </title>" in done.stdout


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
