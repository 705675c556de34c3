"""docs/first-tests.md, step by step, in an empty project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.steps import run, steps_of, user_environment


@pytest.mark.hostile
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
def test_the_tests_that_the_page_builds_pass(tmp_path: Path) -> None:
    printed = ""
    for step in steps_of("first-tests.md"):
        match step.language:
            case "python":
                step.save(tmp_path)
            case "console":
                printed = run(step.code, tmp_path, user_environment())
            case _:
                assert step.code.strip() in printed
    assert "4 passed" in printed
