"""The directories that a gateway writes, made and checked at its start."""

from __future__ import annotations

import os
from collections.abc import Iterator

from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.rotated_files.destination import check_directory
from beam_zerobus.rotated_files.paths import is_remote

__all__ = ["faults_of_directories"]


def faults_of_directories(settings: GatewaySettings) -> list[str]:
    """Make the local directories for dead letters, debug files and telemetry; return why one cannot be written.

    New directories are open to the user of this process alone, as all of them hold rows or names of tables. Those of a
    Beam filesystem are checked when they are first written.
    """
    faults = {}
    for name, directory in _directories(settings):
        if directory is not None and directory not in faults and not is_remote(directory):
            try:
                check_directory(directory)
            except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
                reason = getattr(error, "strerror", None) or error
                faults[directory] = (
                    f"{name}={os.fspath(directory)!r} cannot be written: {reason}; name a directory "
                    "that this user may write, or leave it out"
                )
    return list(faults.values())


def _directories(settings: GatewaySettings) -> Iterator[tuple[str, str | os.PathLike[str] | None]]:
    yield "dead_letters", settings.dead_letters
    for table, config in settings.all_configs().items():
        if config.debug_files is not None:
            yield f"{table}: debug_files.output_dir", config.debug_files.output_dir
        if config.telemetry is not None:
            yield f"{table}: telemetry.output_dir", config.telemetry.output_dir
