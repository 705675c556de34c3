"""Runs cases with one client in one way, each with a server of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.sdks.cases import Case
from tests.sdks.clients import ClientProgram
from tests.sdks.matrix import Outcome, Way
from tests.sdks.program import Program
from tests.sdks.server import make_authority
from tests.sdks.trial import Trial, new_emulator

MAX_FAILURES = 3


def run(client: ClientProgram, way: Way, cases: Sequence[Case]) -> dict[str, Outcome]:
    """Run the cases; a failed one takes its program along, the next gets a new one.

    After three failures the others are not run: a client that hangs must not do so for an hour.
    """
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="sdks-") as name, ExitStack() as stack:
        directory, program = Path(name), None
        authority = make_authority(directory / "authority") if way.tls else None
        trust = {} if authority is None else {"SSL_CERT_FILE": str(authority / "ca.pem")}
        for case in cases:
            if way.tls and not case.over_tls:
                continue
            if sum(not outcome.ok for outcome in outcomes.values()) >= MAX_FAILURES:
                outcomes[case.name] = Outcome(ok=False, text="not run after three failures")
                continue
            place = directory / case.name
            place.mkdir()
            try:
                program = program or stack.enter_context(
                    Program(client.command, {**client.variables, **trust}, directory / "client.log")
                )
                with new_emulator(place, authority) as emulator:
                    text = case.run(Trial(emulator, client, program, way.wire_format, place, authority))
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
