"""`Report`: what was checked, what was found, and what to do; `Findings` gathers it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from beam_zerobus.errors import counted

__all__ = ["Finding", "Findings", "Report", "Status"]

Status: TypeAlias = Literal["pass", "warn", "fail", "skip"]

_WIDTH = 80
_NAME_WIDTH = 25  # that of the longest name, and a space


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was checked, such as ``"grant MODIFY"``.
        status: ``"pass"``, ``"warn"`` (rows can be sent all the same), ``"fail"``, or ``"skip"`` where something that
            failed before, or the service, keeps it from being known.
        message: What was found; holds no secret.
        remedy: What to do: a command or a statement to paste, or a sentence.
    """

    name: str
    status: Status
    message: str
    remedy: str = ""


@dataclass(slots=True)
class Findings:
    """What the checks of a table have found so far.

    Attributes:
        table: ``catalog.schema.table``.

    Example:
        >>> findings = Findings("main.iot.air")
        >>> findings.add("endpoint", "fail", "ZEROBUS_ENDPOINT is not set", "export ZEROBUS_ENDPOINT=https://...")
        >>> findings.failed("endpoint"), findings.report().exit_code
        (True, 2)
    """

    table: str
    _found: list[Finding] = field(default_factory=list)

    def add(self, name: str, status: Status, message: str, remedy: str = "") -> None:
        """Add a finding."""
        self._found.append(Finding(name=name, status=status, message=message, remedy=remedy))

    def add_error(self, name: str, error: Exception, remedy: str) -> None:
        """Add a failure with an error's message, on one line."""
        self.add(name, "fail", " ".join(str(error).split()), remedy)

    def drop(self, name: str) -> None:
        """Drop the findings of a check, which another one replaces."""
        self._found = [finding for finding in self._found if finding.name != name]

    def failed(self, *names: str) -> bool:
        """Return whether one of these checks failed; without names, whether any did. A skipped one did not fail."""
        return any(finding.status == "fail" and (not names or finding.name in names) for finding in self._found)

    def report(self) -> Report:
        """Return all findings, in their order."""
        return Report(self.table, tuple(self._found))


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks of a table found, in their order.

    Attributes:
        table: ``catalog.schema.table``.
        findings: One for each check.

    Example:
        >>> finding = Finding(name="grant MODIFY", status="fail", message="is missing", remedy="GRANT MODIFY ...")
        >>> report = Report("main.iot.air", (finding,))
        >>> report.exit_code
        2
        >>> print(report.as_text())
        Checking main.iot.air
          fail  grant MODIFY             is missing
                -> GRANT MODIFY ...
        <BLANKLINE>
        1 of 1 check failed: follow the arrows, then check again.
    """

    table: str
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 if everything passed, 1 if something may go wrong, 2 if no row can be sent as things are."""
        statuses = {finding.status for finding in self.findings}
        return 2 if "fail" in statuses else 1 if "warn" in statuses else 0

    def as_json(self) -> str:
        """Return the report as one JSON object."""
        content = {
            "table": self.table,
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        """Return the report as lines of at most 80 columns, except for values and commands to copy."""
        return "\n".join([*self._lines(), "", self._summary()])

    def _lines(self) -> Iterator[str]:
        yield f"Checking {self.table}"
        for finding in self.findings:
            start = f"  {finding.status:<5} {finding.name:<{_NAME_WIDTH - 1}} "
            indent = " " * len(start) if len(start) < _WIDTH // 2 else " " * _NAME_WIDTH
            yield from textwrap.wrap(
                finding.message,
                _WIDTH,
                initial_indent=start,
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,
            ) or [start.rstrip()]
            for line in finding.remedy.splitlines():
                yield f"        -> {line}"

    def _summary(self) -> str:
        failed = sum(finding.status == "fail" for finding in self.findings)
        warned = sum(finding.status == "warn" for finding in self.findings)
        if failed:
            return f"{failed} of {counted(len(self.findings), 'check')} failed: follow the arrows, then check again."
        if warned:
            return f"Rows can be sent; {warned} of {counted(len(self.findings), 'check')} may deserve a look."
        return "Everything passed: rows can be sent."
