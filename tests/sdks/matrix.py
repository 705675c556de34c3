"""The matrix of clients and cases, as markdown for docs/emulator.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.sdks.cases import Case


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a client writes: its wire format, over TLS or in plain text."""

    wire_format: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.wire_format} over TLS" if self.tls else self.wire_format


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a client did in a case, or how the case failed."""

    ok: bool
    text: str


Results = Mapping[str, Mapping[Way, Mapping[str, Outcome]]]
"""Outcomes by client, way and case."""


def markdown(results: Results, cases: Sequence[Case]) -> str:
    """Return a table with a row for each case and a column for each client."""
    rows = [["case", *results], ["---"] * (len(results) + 1)]
    rows.append(["wire formats", *(_listed(ways, lambda way: way.wire_format) for ways in results.values())])
    rows.append(["connections", *(_listed(ways, _connection) for ways in results.values())])
    rows += [[case.title, *(_cell(ways, case) for ways in results.values())] for case in cases]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def updated(page: str, matrix: str) -> str:
    """Return the page with the columns of a matrix; those of other clients stay, if they have the same cases."""
    found = re.search(r"^\| case \|.*\n(?:\|.*\n)+", page, re.MULTILINE)
    assert found is not None, "the page has no matrix"
    old, new = _columns(found[0]), _columns(matrix)
    columns = {**(old if old["case"] == new["case"] else {}), **new}
    rows = zip(*columns.values(), strict=True)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return page.replace(found[0], f"{table}\n")


def _columns(table: str) -> dict[str, list[str]]:
    """Return the columns by the first word of their header, which is the language."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    return {column[0].replace(",", "").split()[0]: list(column) for column in zip(*rows, strict=True)}


def _listed(ways: Iterable[Way], describe: Callable[[Way], str]) -> str:
    return ", ".join(dict.fromkeys(map(describe, ways)))


def _connection(way: Way) -> str:
    return "TLS" if way.tls else "plain text"


def _cell(ways: Mapping[Way, Mapping[str, Outcome]], case: Case) -> str:
    """Return what a client did; by wire format, or by wire format and connection, only where they differ."""
    texts = {
        way: outcomes[case.name].text if outcomes[case.name].ok else "FAILS"
        for way, outcomes in ways.items()
        if case.name in outcomes
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    by_format = {(way.wire_format, text) for way, text in texts.items()}
    formats_suffice = len(by_format) == len({way.wire_format for way in texts})
    named = {way.wire_format if formats_suffice else str(way): text for way, text in texts.items()}
    return "; ".join(f"{name}: {text}" for name, text in named.items())
