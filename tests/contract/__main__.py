"""Runs the contract: `python -m tests.contract [--client LANGUAGE] [--format FORMAT] [--case NAME]`.

Every case runs with every client and wire format, and a server of its own. The end is the matrix of docs/emulator.md.
Programs are built once, into `.cache/contract` or `$CONTRACT_CACHE`. The exit code is 1 if a case fails, or if a
client cannot be built or run here; `$CONTRACT_WITHOUT`, such as `rust,java`, leaves clients out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.contract.cases import CASES, Case
from tests.contract.clients import CLIENTS, ClientProgram, MissingToolError
from tests.contract.matrix import Outcome, markdown
from tests.contract.payloads import FORMATS
from tests.contract.runner import run

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the contract; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description="The official clients' contract.")
    parser.add_argument("--client", action="append", choices=CLIENTS, help="only this one; repeatable")
    parser.add_argument("--format", action="append", choices=FORMATS, help="only this one; repeatable")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="likewise")
    options = parser.parse_args(arguments)
    without = {name for name in os.environ.get("CONTRACT_WITHOUT", "").split(",") if name}
    cases = [case for case in CASES if not options.case or case.name in options.case]
    started = time.monotonic()
    results: dict[str, dict[str, dict[str, Outcome]]] = {}
    problems = []
    for language in options.client or CLIENTS:
        if language in without:
            print(f"{language}: left out by CONTRACT_WITHOUT", flush=True)
            continue
        try:
            programs = CLIENTS[language]()
        except (MissingToolError, OSError, subprocess.SubprocessError) as error:
            problems.append(f"{language}: NOT RUN: {error}")
            print(problems[-1], flush=True)
            continue
        for program in programs:
            formats = [name for name in program.formats if not options.format or name in options.format]
            # Side by side, as a case waits most of its time.
            with ThreadPoolExecutor() as pool:
                outcomes = pool.map(partial(_run, program, cases=cases), formats)
                results[program.name] = dict(zip(formats, outcomes, strict=True))
    problems += [
        f"{name} {wire_format}, {case}: {outcome.text}"
        for name, formats in results.items()
        for wire_format, outcomes in formats.items()
        for case, outcome in outcomes.items()
        if not outcome.ok
    ]
    matrix = markdown(results, cases)
    print(f"\n{matrix}\n")
    if cases == list(CASES) and matrix not in PAGE.read_text():
        print(f"{PAGE.name} has another matrix; replace it by this one if it is complete\n")
    print(f"{time.monotonic() - started:.0f} s", *problems, sep="\n")
    return 1 if problems else 0


def _run(program: ClientProgram, wire_format: str, cases: Sequence[Case]) -> dict[str, Outcome]:
    started = time.monotonic()
    outcomes = run(program, wire_format, cases)
    passed = sum(outcome.ok for outcome in outcomes.values())
    took = time.monotonic() - started
    print(f"{program.name} {wire_format}: {passed} of {len(cases)} cases in {took:.0f} s", flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
