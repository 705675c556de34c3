"""The flag ``--profile`` of every command that signs in."""

from __future__ import annotations

import argparse

from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.workspace.databricks_profile import DatabricksProfile
from beam_zerobus.workspace.remedies import credentials_with

__all__ = ["add_profile_flag", "credentials_of", "profile_of"]


_of_the_environment = credentials_with("in the environment, or name a profile with --profile")


def add_profile_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag to a command's parser."""
    parser.add_argument("--profile", metavar="NAME", help="profile of .databrickscfg to sign in with")


def profile_of(name: str | None) -> DatabricksProfile | None:
    """Return the credentials that the flag names; None where it is not given.

    >>> profile_of("ingest")
    DatabricksProfile(profile='ingest', config_file=None)
    """
    return None if name is None else DatabricksProfile(profile=name)


def credentials_of(name: str | None) -> Credentials:
    """Return the credentials that the flag names, or those of the environment.

    >>> credentials_of("ingest")
    DatabricksProfile(profile='ingest', config_file=None)
    """
    return profile_of(name) or _of_the_environment()
