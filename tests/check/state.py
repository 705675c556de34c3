"""What is there before a check, and a person who follows a remedy."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pytest

from beam_zerobus.cli import main
from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse

TABLE = "main.iot.air"
COLUMNS = "device STRING NOT NULL, co2 INT"


@dataclass(frozen=True)
class State:
    """What is there before a check.

    Attributes:
        emulator: The workspace.
        table: A table in it that can be written.
        environment: The right variables.
        monkeypatch: Changes them.
    """

    emulator: Emulator
    table: Table
    environment: dict[str, str]
    monkeypatch: pytest.MonkeyPatch

    def follow(self, remedy: str) -> list[str] | None:
        """Execute each line of a remedy as it is, as somebody with all privileges.

        A person fills in what is ``...``, an example in angle brackets, or the name of a table.

        Returns:
            The arguments to check with; None for those of before, where no line checks.
        """
        checked: list[str] | None = None
        for line in remedy.splitlines():
            if line.startswith(("GRANT ", "ALTER TABLE ")):
                self.execute(line)
                continue
            command, *arguments = shlex.split(line, comments=True)
            if command == "export":
                for assignment in arguments:
                    name, _, value = assignment.partition("=")
                    filled_in = "..." in value or "<" in value
                    self.monkeypatch.setenv(name, self.environment[name] if filled_in else value)
            elif (command, *arguments) == ("sudo", "timedatectl", "set-ntp", "true"):
                self.emulator._tokens.advance(-self.emulator._tokens.ahead)
            elif command == "beam-zerobus" and arguments[0] == "create-table":
                self._create_table(arguments)
            elif command == "beam-zerobus" and arguments[0] == "check":
                checked = [TABLE if word == "catalog.schema.table" else word for word in arguments[1:]]
                checked = [COLUMNS if "..." in word else word for word in checked]
                if "# later" in line or "# after" in line:
                    self.emulator.faults = Faults()
            else:
                pytest.fail(f"this remedy cannot be executed: {line}")
        return checked

    def execute(self, statement: str) -> None:
        """Execute a statement as somebody with all privileges."""
        token = Secret(f"Bearer {self.emulator.issue_token(admin=True)}")
        SqlWarehouse(
            workspace_url=self.emulator.workspace_url,
            warehouse_id=self.emulator.warehouse_id,
            headers=lambda: {"authorization": token},
        ).execute(statement)

    def _create_table(self, arguments: list[str]) -> None:
        filled_in = [COLUMNS if "..." in word else word for word in arguments]
        with self.monkeypatch.context() as changed:
            changed.setenv("DATABRICKS_TOKEN", self.emulator.issue_token(admin=True))
            changed.setenv("DATABRICKS_WAREHOUSE_ID", self.emulator.warehouse_id)
            assert main(filled_in) == 0
