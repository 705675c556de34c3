"""The matrix of clients and cases, as markdown for docs/emulator.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.contract.cases import Case


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a client did in a case, or how the case failed."""

    ok: bool
    text: str


Results = Mapping[str, Mapping[str, Mapping[str, Outcome]]]
"""Outcomes by client, wire format and case."""


def markdown(results: Results, cases: Sequence[Case]) -> str:
    """Return a table with a row for each case and a column for each client."""
    rows = [["case", *results], ["---"] * (len(results) + 1)]
    rows.append(["wire formats", *(", ".join(formats) for formats in results.values())])
    rows += [[case.title, *(_cell(formats, case) for formats in results.values())] for case in cases]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(formats: Mapping[str, Mapping[str, Outcome]], case: Case) -> str:
    """Return what a client did; by wire format only where they differ."""
    texts = {
        wire_format: outcomes[case.name].text if outcomes[case.name].ok else "FAILS"
        for wire_format, outcomes in formats.items()
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{wire_format}: {text}" for wire_format, text in texts.items())
