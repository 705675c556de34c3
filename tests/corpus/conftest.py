"""An emulator that the environment names, and files sent to it by the program that users run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.emulator import Emulator
from beam_zerobus.programs import files_to_zerobus

TABLE = "main.corpus.rows"
Sender = Callable[..., "tuple[list[dict[str, Any]], list[dict[str, Any]]]"]


@pytest.fixture
def send(zerobus: Emulator, tmp_path: Path) -> Sender:
    """Send files into a new table; returns the table's rows, and the rejected ones as they are kept."""
    count = 0

    def to_table(ddl: str, *arguments: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        nonlocal count
        count += 1
        name, dead_letters = f"{TABLE}_{count}", tmp_path / f"dead-{count}"
        table = zerobus.create_table(name, ddl)
        flags = ["--zerobus_table", name, "--dead_letters", dead_letters, "--input", *arguments]
        assert files_to_zerobus.main(list(map(str, flags))) == 0
        letters = [json.loads(line) for file in dead_letters.glob("*") for line in file.read_text().splitlines()]
        return table.to_arrow().to_pylist(), letters

    return to_table
