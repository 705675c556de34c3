"""A hook of mkdocs that writes the help of each command into the page `commands.md`: it is never out of date."""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any

from beam_zerobus.cli import main

PLACE = "<!-- the help of each command -->"
WIDTH = 78  # columns, so that a line fits a terminal and most screens


def help_of(*command: str) -> str:
    """Return what ``beam-zerobus COMMAND --help`` prints."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([*command, "--help"])
    return printed.getvalue().strip()


def commands() -> list[str]:
    """Return the name of each command, in the order of the help."""
    return re.findall(r"^    ([a-z-]+)(?:  |$)", help_of(), re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the place for the help, as mkdocs asks its hooks to."""
    if PLACE not in markdown:
        return markdown
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1")  # argparse reads them
    parts = [f"```text\n{help_of()}\n```"]
    parts += [f"### beam-zerobus {name}\n\n```text\n{help_of(name)}\n```" for name in commands()]
    return markdown.replace(PLACE, "\n\n".join(parts))
