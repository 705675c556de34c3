"""Runs the clients: `python -m tests.sdks [--client LANGUAGE] [--format FORMAT] [--case NAME] [--write-matrix]`.

Every case runs with every client and wire format, in plain text and over TLS, and a server of its own. The end is the
matrix of docs/emulator.md; `--write-matrix` writes the columns of these clients there, if they ran every case.
Programs are built once, into `.cache/sdks` or `$SDKS_CACHE`. The exit code is 1 if a case fails, or if a
client cannot be built or run here; `$WITHOUT`, such as `rust,java`, leaves clients out. Rust's, whose first build takes
minutes, is left out too unless it is built or `$RUST` is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.sdks.cases import CASES, Case
from tests.sdks.clients import CLIENTS, ClientProgram, MissingToolError, NotBuiltError
from tests.sdks.matrix import Outcome, Way, markdown, updated
from tests.sdks.payloads import FORMATS
from tests.sdks.runner import run

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"
SIDE_BY_SIDE = 4
"""A case waits most of its time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdks", description="Clients against the emulator.")
    parser.add_argument("--client", action="append", choices=CLIENTS, help="only this one; repeatable")
    parser.add_argument("--format", action="append", choices=FORMATS, help="only this one; repeatable")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="likewise")
    parser.add_argument("--write-matrix", action="store_true", help=f"write the matrix into {PAGE.name}")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    started = time.monotonic()
    programs, problems = _built(options.client or list(CLIENTS))
    pairs = [
        (program, Way(wire_format=wire_format, tls=tls))
        for program in programs
        for wire_format in program.formats
        if not options.format or wire_format in options.format
        for tls in (False, True)
    ]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        outcomes = pool.map(lambda pair: _run(*pair, cases), pairs)
        results: dict[str, dict[Way, dict[str, Outcome]]] = {}
        for (program, way), found in zip(pairs, outcomes, strict=True):
            results.setdefault(program.name, {})[way] = found
    problems += [
        f"{name} {way}, {case}: {outcome.text}"
        for name, ways in results.items()
        for way, outcomes_of_way in ways.items()
        for case, outcome in outcomes_of_way.items()
        if not outcome.ok
    ]
    matrix = markdown(results, cases)
    print(f"\n{matrix}\n")
    complete = bool(results) and not (options.format or options.case or problems)
    page = PAGE.read_text("utf-8")
    if options.write_matrix and complete:
        PAGE.write_text(updated(page, matrix), "utf-8")
    elif options.write_matrix:
        problems.append(f"{PAGE.name} is left as it is, since the run is not complete")
    elif complete and updated(page, matrix) != page:
        print(f"{PAGE.name} has another matrix; --write-matrix changes it\n")
    print(f"{time.monotonic() - started:.0f} s", *problems, sep="\n")
    return 1 if problems else 0


def _built(languages: Sequence[str]) -> tuple[list[ClientProgram], list[str]]:
    """Return the clients' programs, and why some that should run cannot."""
    without = {name for name in os.environ.get("WITHOUT", "").split(",") if name}
    programs: list[ClientProgram] = []
    problems = []
    for language in languages:
        try:
            if language in without:
                raise NotBuiltError("WITHOUT names it")
            programs += CLIENTS[language]()
        except NotBuiltError as reason:
            print(f"{language}: left out: {reason}", flush=True)
        except (MissingToolError, OSError, subprocess.SubprocessError) as error:
            problems.append(f"{language}: NOT RUN: {error}")
            print(problems[-1], flush=True)
    return programs, problems


def _run(program: ClientProgram, way: Way, cases: Sequence[Case]) -> dict[str, Outcome]:
    started = time.monotonic()
    outcomes = run(program, way, cases)
    passed = sum(outcome.ok for outcome in outcomes.values())
    took = time.monotonic() - started
    print(f"{program.name} {way}: {passed} of {len(outcomes)} cases in {took:.0f} s", flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
