"""What messages say about an extra that is missing."""

from __future__ import annotations

__all__ = ["install_extra", "needs_extra"]


def install_extra(extra: str) -> str:
    """Return the command that installs an extra, and where to run it.

    The project is on no package index: there, anybody could register its name.

    Example:
        >>> install_extra("cli")
        "run pip install '.[cli]' in a clone of beam_zerobus"
    """
    return f"run pip install '.[{extra}]' in a clone of beam_zerobus"


def needs_extra(command: str, extra: str, error: ModuleNotFoundError) -> str:
    """Return why a command cannot run: a package of an extra is missing.

    Example:
        >>> needs_extra("send", "cli", ModuleNotFoundError(name="rich.console"))
        "beam-zerobus send needs rich, which is missing: run pip install '.[cli]' in a clone of beam_zerobus"
    """
    package = str(error.name).partition(".")[0]
    return f"beam-zerobus {command} needs {package}, which is missing: {install_extra(extra)}"
