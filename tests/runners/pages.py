"""The commands on a page of the documentation, for tests that run them."""

from __future__ import annotations

import re

from tests.runners.support import ROOT


def commands(page: str, heading: str) -> list[str]:
    """Return the commands of a page below a heading, as input for a shell.

    Args:
        page: Path of the page below ``docs``.
        heading: The heading's text; commands below the next heading are not included.
    """
    text = (ROOT / "docs" / page).read_text("utf-8")
    section = re.split(r"^#+ ", text, flags=re.MULTILINE)
    [below] = [part.partition("\n")[2] for part in section if part.startswith(f"{heading}\n")]
    blocks = re.findall(r"```console\n(.*?)```", below, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
