"""The text of the whole package, its examples and its docs is plain English: see `PHRASES`."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

# Rooms whose text has not been rewritten yet: remove each when it is.
NOT_YET: tuple[str, ...] = ()

# What no string, docstring, comment or page says, and what to say instead (CONTRIBUTING.md, "How we write"): add to it.
# Case does not matter, and a space matches any white space.
PHRASES = {
    r"\bdo(es)? not come\b": "is missing from the batch",
    r"\bcomes? as\b": "is, has the type",
    r"\b(comes?|came|coming) (?!from\b)": "arrives, is read, is sent, follows",
    r"\bstands? twice\b": "appears twice",
    r"\b(stands?|stood)(?! for\b|alone\b|-alone\b)\b": "is",
    r"(?<!\bthere )\b(is|are|was|were|be) no (?!longer\b|more\b|better\b|faster\b|slower\b)": "is not a",
    r"\b(behind|before) the point\b": "after the decimal point, before the decimal point",
    r"\b(buy|buys|bought|buying)\b": "fetch",
    r"(?<!connection )(?<![\"'`])\brefus(e|es|ed|ing|als?)\b": "reject, fail",
    r"\b(told|tells?)\b": "receives, says, returns whether",
    r"\bfor ever\b": "without end, indefinitely",
    r"\bputs? (rows |them |it )?aside\b": "keeps as dead letters",
    r"\bsets? apart\b": "rejected",
    r"\bon (its|their|the) way\b": "in flight",
    r"\bhand(s|ed|ing)? (\w+ )?over\b": "pass, submit",
    r"\bhanded\b": "passed",
    r"\bwhoever\b": "name who acts",
    r"\bmostly (all|one|nothing|the|there)\b": "usually",
    r"\bto be had\b": "there is none left",
    r"\bin the service's words\b": "quotes the service",
    r"\bexit status\b": "exit code",
    r"\b(schema|columns) counts?\b": "applies",
}

LOCAL_ZEROBUS = re.compile(r"local[ _-]?zerobus(?: \(emulator\))?", re.IGNORECASE)

ROOT = Path(__file__).parents[1]


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room: a folder or module of the package, `pipelines`, a page or folder of the docs."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*ROOT.glob("beam_zerobus/**/*.py"), *ROOT.glob("pipelines/*.py"), *ROOT.glob("docs/**/*.md")]):
        parts = path.relative_to(ROOT).parts
        found.setdefault("pipelines" if parts[0] == "pipelines" else "/".join(parts[:2]), []).append(path)
    return found


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each paragraph of a page, of each string and comment of a module; what belongs together
    (strings side by side, comments line after line) is one text."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        line = 1
        for paragraph in source.split("\n\n"):
            yield line, paragraph
            line += paragraph.count("\n") + 2
        return
    start, kind, text = 0, None, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        name = "STRING" if name.startswith("FSTRING") else name
        if name in ("NL", "INDENT", "DEDENT") or (name == "NEWLINE" and kind == "COMMENT"):
            continue
        if name != kind:
            if text:
                yield start, text
            start, kind, text = token.start[0], name if name in ("STRING", "COMMENT") else None, ""
        if kind == "STRING":
            content = re.sub(r"""^\w*["']+|["']+$""", "", token.string)
            text += token.string if content.isidentifier() else content  # one word may be an option's value
        elif kind == "COMMENT":
            text += " " + token.string.lstrip("# ")


def findings(path: Path) -> list[str]:
    found = []
    for line, text in texts(path):
        flat, starts = "", []
        for word in re.finditer(r"\S+", text):
            starts.append((len(flat), line + text[: word.start()].count("\n")))
            flat += word.group() + " "
        seen: list[range] = []
        for phrase, instead in PHRASES.items():
            for match in re.finditer(phrase, flat, re.IGNORECASE):
                if not any(match.start() in span for span in seen):
                    at = [number for position, number in starts if position <= match.start()][-1]
                    found.append(f"{path.relative_to(ROOT)}:{at}: {match.group().strip()!r}: say {instead!r}")
                    seen.append(range(*match.span()))
    return found


@pytest.mark.parametrize("room", [room for room in rooms() if room not in NOT_YET])
def test_the_text_is_plain_english(room):
    found = [line for path in rooms()[room] for line in findings(path)]
    assert found == [], "\n".join(found)


def test_the_emulator_has_one_name():
    named = {path: LOCAL_ZEROBUS.findall(" ".join(path.read_text("utf-8").split())) for path in written_files()}
    wrong = {
        path.relative_to(ROOT).as_posix(): names
        for path, names in named.items()
        if names and (names != ["local Zerobus (emulator)"] or path.suffix != ".md")
    }
    assert wrong == {}, "say 'emulator'; a page may introduce it once as 'the local Zerobus (emulator)'"


def written_files() -> list[Path]:
    """Return each text of ours that people read: code, pages, tests; not the changelog, whose history never changes."""
    folders = ("beam_zerobus", "docs", "pipelines", "tests", ".github")
    suffixes = {".py", ".md", ".yaml", ".yml", ".html", ".java", ".js", ".xml"}
    found = [*ROOT.iterdir(), *(path for folder in folders for path in ROOT.glob(f"{folder}/**/*"))]
    skipped = {ROOT / "CHANGELOG.md", Path(__file__)}
    return [path for path in found if path.suffix in suffixes and path.is_file() and path not in skipped]


def test_rooms_that_are_not_rewritten_exist():
    assert set(NOT_YET) <= set(rooms())


def test_the_wording_test_reads_strings_comments_and_pages(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module, page = tmp_path / "module.py", tmp_path / "page.md"
    module.write_text(
        '''"""Fine.

    A token is bought.
    """
# A column that does not
# come.
refused = "column 'x' does not "  \\
    f"come {1} and"
ok = "connection refused", "refuse"
'''
    )
    page.write_text("# Fine\n\nRows stand\ntwice.\n")
    assert [line.rpartition(": say")[0] for line in findings(module)] == [
        "module.py:3: 'bought'",
        "module.py:5: 'does not come'",
        "module.py:7: 'does not come'",
    ]
    assert [line.rpartition(": say")[0] for line in findings(page)] == ["page.md:3: 'stand twice'"]
