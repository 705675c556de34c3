"""The commands that a page of the documentation tells, for tests that run them."""

from __future__ import annotations

import re

from tests.runners.support import ROOT


def commands(page: str, heading: str) -> list[str]:
    """Return the commands of a page below a heading, as a shell takes them.

    Args:
        page: Path of the page below ``docs``.
        heading: The heading's text; commands below the next heading are not its own.
    """
    text = (ROOT / "docs" / page).read_text("utf-8")
    section = re.split(r"^#+ ", text, flags=re.MULTILINE)
    [below] = [part.partition("\n")[2] for part in section if part.startswith(f"{heading}\n")]
    blocks = re.findall(r"```console\n(.*?)```", below, re.DOTALL)
    return [line.replace("\\\n", " ") for block in blocks for line in re.findall(r"\$ ((?:.*\\\n)*.*)\n", block)]
