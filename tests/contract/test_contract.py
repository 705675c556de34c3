"""The contract finds a client that lies, a tool that is missing, and a page that is out of date."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from tests.contract import clients
from tests.contract.__main__ import PAGE, main
from tests.contract.cases import CASES
from tests.contract.matrix import Outcome, markdown
from tests.contract.runner import run
from tests.contract.trial import check_at_least_once

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
    outcomes = run(program(LIAR), "json", cases)
    assert not any(outcome.ok for outcome in outcomes.values()), outcomes


def test_a_client_that_ends_fails_and_says_how() -> None:
    outcomes = run(program(MUTE), "json", CASES)
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


@pytest.mark.parametrize(("language", "tool"), [("java", "java"), ("node", "node"), ("rust", "cargo")])
def test_a_missing_tool_is_a_failure(
    language: str, tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--client", language]) == 1
    assert f"{language}: NOT RUN: {tool} is not on the PATH" in capsys.readouterr().out


def test_a_client_is_left_out_only_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CONTRACT_WITHOUT", "rust,java")
    assert main(["--client", "rust"]) == 0
    assert "rust: left out by CONTRACT_WITHOUT" in capsys.readouterr().out


def test_the_matrix_names_wire_formats_only_where_they_differ() -> None:
    case = CASES[0]
    good, bad = {case.name: Outcome(ok=True, text="yes")}, {case.name: Outcome(ok=False, text="why")}
    table = markdown({"A 1": {"proto": good, "json": good}, "B 2": {"proto": good, "json": bad}}, [case])
    assert table.splitlines()[-1] == f"| {case.title} | yes | proto: yes; json: FAILS |"


def test_the_page_has_the_matrix_of_these_cases_and_clients() -> None:
    section = PAGE.read_text().partition("## Official clients")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    header, _, formats, *outcomes = [[cell.strip() for cell in row] for row in rows]
    assert [row[0] for row in outcomes] == [case.title for case in CASES]
    assert [name.split()[0].lower() for name in header[1:]] == list(clients.CLIENTS)
    for name in header[1:]:
        language, version = name.split()
        if language != "Python":
            assert version == clients.pinned(language.lower())
    assert formats[0] == "wire formats"
    assert not any("FAILS" in cell for row in outcomes for cell in row)
