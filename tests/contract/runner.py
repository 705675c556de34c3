"""Runs cases with one client and wire format, each with a server of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.contract.cases import Case
from tests.contract.matrix import Outcome
from tests.contract.program import Program
from tests.contract.trial import Trial, new_emulator

MAX_FAILURES = 3


def run(
    command: Sequence[str], variables: Mapping[str, str], wire_format: str, cases: Sequence[Case]
) -> dict[str, Outcome]:
    """Run the cases; a failed one takes its program along, the next gets a new one.

    After three failures the others are not run: a client that hangs must not do so for an hour.
    """
    environment = {**os.environ, "RUST_LOG": "off", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="contract-") as name, ExitStack() as stack:
        directory, program = Path(name), None
        for case in cases:
            if sum(not outcome.ok for outcome in outcomes.values()) >= MAX_FAILURES:
                outcomes[case.name] = Outcome(ok=False, text="not run after three failures")
                continue
            place = directory / case.name
            place.mkdir()
            try:
                program = program or stack.enter_context(Program(command, environment, directory / "client.log"))
                with new_emulator(place) as emulator:
                    text = case.run(Trial(emulator, program, wire_format, place))
            except AssertionError as error:
                stack.close()
                program = None
                text = f"{error}\n{_tail(directory / 'client.log')}".strip()
                outcomes[case.name] = Outcome(ok=False, text=text)
            else:
                outcomes[case.name] = Outcome(ok=True, text=text)
    return outcomes


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-500:] if log.exists() else ""
