"""docs/first-rows.md, step by step, as a new user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.steps import run, running_emulator, steps_of, user_environment

FAILS = 2  # the exit code of the first check, as the page says: the table is missing


@pytest.mark.hostile
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
def test_each_step_prints_what_the_page_shows(tmp_path: Path) -> None:
    emulator, check, *steps = steps_of("first-rows.md")
    environment = user_environment()
    with running_emulator(emulator.code.strip(), tmp_path, environment) as exported:
        environment |= exported
        printed = run(check.code, tmp_path, environment, expect=FAILS).splitlines()
        for step in steps:
            match step.language:
                case "python":
                    step.save(tmp_path)
                case "console":
                    printed = run(step.code, tmp_path, environment).splitlines()
                case _:
                    shown = step.code.replace("<client-id>", exported["DATABRICKS_CLIENT_ID"])
                    assert {line for line in shown.splitlines() if line != "  ..."} <= set(printed), printed
