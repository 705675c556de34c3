"""The driver finds a client that lies, a tool that is missing, and a page that is out of date."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sdks import clients
from tests.sdks.__main__ import PAGE, main
from tests.sdks.cases import CASES
from tests.sdks.matrix import Outcome, Way, markdown, updated
from tests.sdks.runner import run
from tests.sdks.trial import check_at_least_once

JSON = Way(wire_format="json")
LIAR = """
import sys
print("ok", flush=True)
for offset, line in enumerate(sys.stdin):
    print(f"ok {offset}", flush=True)
"""
MUTE = 'import sys; print("ok", flush=True); sys.stdin.readline(); sys.exit(3)'


def program(source: str) -> clients.ClientProgram:
    return clients.ClientProgram(name="Odd 1", formats=("json",), command=[sys.executable, "-c", source])


def test_a_client_that_only_says_that_it_sent_fails_every_case() -> None:
    cases = [case for case in CASES if case.name in ("rows", "close", "secret")]
    outcomes = run(program(LIAR), JSON, cases)
    assert not any(outcome.ok for outcome in outcomes.values()), outcomes


def test_a_client_that_ends_fails_and_says_how() -> None:
    outcomes = run(program(MUTE), JSON, CASES)
    texts = [outcome.text for outcome in outcomes.values()]
    assert texts[0] == "open: the program ended with 3"
    assert texts[-1] == "not run after three failures"


@pytest.mark.parametrize(
    ("acknowledged", "found", "reason"),
    [({1, 2}, [1], "not in the table: [2]"), ({1}, [1, 3], "not sent: [3]")],
)
def test_lost_and_foreign_rows_are_found(acknowledged: set[int], found: list[int], reason: str) -> None:
    check_at_least_once(acknowledged, [1, 2], Counter([1, 1, 2]))
    with pytest.raises(AssertionError, match="not") as caught:
        check_at_least_once(acknowledged, [1, 2], Counter(found))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("language", "tool"), [("java", "java"), ("node", "node"), ("go", "go"), ("rust", "cargo")])
def test_a_missing_tool_is_a_failure(
    language: str, tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("RUST", "1")
    assert main(["--client", language]) == 1
    assert f"{language}: NOT RUN: {tool} is not on the PATH" in capsys.readouterr().out


def test_a_client_is_left_out_only_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WITHOUT", "go,java")
    assert main(["--client", "java"]) == 0
    assert "java: left out: WITHOUT names it" in capsys.readouterr().out


def test_a_build_of_minutes_is_only_done_by_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "CACHE", tmp_path)
    monkeypatch.delenv("RUST", raising=False)
    assert main(["--client", "rust"]) == 0
    assert "rust: left out: its first build takes minutes; RUST=1 builds it" in capsys.readouterr().out


def test_an_incomplete_run_does_not_write_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WITHOUT", ",".join(clients.CLIENTS))
    assert main(["--write-matrix"]) == 1
    assert "emulator.md is left as it is, since the run is not complete" in capsys.readouterr().out


def test_the_matrix_names_wire_formats_and_connections_only_where_they_differ() -> None:
    case = CASES[0]
    good, bad = {case.name: Outcome(ok=True, text="yes")}, {case.name: Outcome(ok=False, text="why")}
    proto, secure = Way(wire_format="proto"), Way(wire_format="proto", tls=True)
    same, by_format, by_way = (
        {proto: good, JSON: good},
        {proto: good, secure: good, JSON: bad},
        {proto: good, secure: bad},
    )
    table = markdown({"A 1": same, "B 2": by_format, "C 3": by_way}, [case])
    assert table.splitlines()[2:] == [
        "| wire formats | proto, json | proto, json | proto |",
        "| connections | plain text | plain text, TLS | plain text, TLS |",
        f"| {case.title} | yes | proto: yes; json: FAILS | proto: yes; proto over TLS: FAILS |",
    ]


PAGE_WITH_MATRIX = """one

| case | A 1 | B, of C 1 |
| --- | --- | --- |
| rows | no | yes |

| other |
"""


def test_the_clients_of_a_run_are_updated_and_nothing_else() -> None:
    found = updated(PAGE_WITH_MATRIX, "| case | A 2 |\n| --- | --- |\n| rows | yes |")
    assert found == PAGE_WITH_MATRIX.replace("| A 1 |", "| A 2 |").replace("| no |", "| yes |")


def test_clients_that_did_not_run_a_new_case_are_removed() -> None:
    new = "| case | A 2 |\n| --- | --- |\n| rows | yes |\n| close | yes |"
    assert updated(PAGE_WITH_MATRIX, new) == f"one\n\n{new}\n\n| other |\n"


def test_the_page_has_the_matrix_of_these_cases_and_clients() -> None:
    section = PAGE.read_text().partition("## Clients in five languages")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    header, _, formats, connections, *outcomes = [[cell.strip() for cell in row] for row in rows]
    assert [row[0] for row in outcomes] == [case.title for case in CASES]
    languages = [name.replace(",", "").split()[0].lower() for name in header[1:]]
    assert languages == list(clients.CLIENTS)
    for language, name in zip(languages, header[1:], strict=True):
        if language != "python":
            assert name.split()[-1] == clients.pinned(language)
    assert formats[0] == "wire formats"
    assert set(connections[1:]) == {"plain text, TLS"}
    assert all(cell and "FAILS" not in cell for row in outcomes for cell in row)
