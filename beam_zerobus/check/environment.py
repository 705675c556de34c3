"""The machine: versions of what rows pass through, and where the credentials are."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from beam_zerobus.check.remedies import check_again
from beam_zerobus.check.report import Findings
from beam_zerobus.errors import ZerobusError
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials
from beam_zerobus.workspace.databricks_profile import DatabricksProfile

__all__ = ["check_credentials_present", "check_versions"]

_PACKAGES = ("beam-zerobus", "databricks-zerobus-ingest-sdk", "apache-beam", "pyarrow", "protobuf")
_MIN_GLIBC = (2, 34)  # of the SDK's wheel


def check_versions(findings: Findings) -> None:
    """Report the versions, and whether the SDK can be loaded on this machine."""
    found = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    findings.add("versions", "pass", f"Python {platform.python_version()}, {found}")
    libc, number = platform.libc_ver()
    if libc == "glibc" and tuple(map(int, number.split(".")[:2])) < _MIN_GLIBC:
        findings.add(
            "glibc", "fail", f"glibc {number} is too old for Zerobus' SDK", "use an image with glibc 2.34 or later"
        )
    if sys.platform.startswith("linux") and libc != "glibc":
        findings.add("glibc", "fail", "this system has no glibc (Alpine?)", "use an image with glibc, such as Debian's")
    try:
        import_module("beam_zerobus.delivery.stream")  # which loads the SDK
    except ImportError as error:
        findings.add("Zerobus SDK", "fail", f"cannot be loaded: {error}", "pip install databricks-zerobus-ingest-sdk")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def check_credentials_present(findings: Findings, credentials: Credentials) -> None:
    """Report whether id and secret are set, in the environment or in a profile; the secret is not shown."""
    if isinstance(credentials, DatabricksProfile):
        _check_profile(findings, credentials)
    if not isinstance(credentials, OAuthClientCredentials):
        return
    given = {"DATABRICKS_CLIENT_ID": credentials.client_id, "DATABRICKS_CLIENT_SECRET": credentials.client_secret}
    for name in (name for name, value in given.items() if value is None):
        if not os.environ.get(name, "").strip():
            token = ""
            if "DATABRICKS_TOKEN" in os.environ:
                token = "; DATABRICKS_TOKEN is set, but Zerobus accepts no personal access token"  # noqa: S105
            findings.add(name, "fail", f"is not set{token}", f"export {name}=...   # of a service principal")
        else:
            findings.add(name, "pass", "is set")


def _check_profile(findings: Findings, profile: DatabricksProfile) -> None:
    try:
        client_id = profile.principal()
    except ZerobusError as error:
        findings.add_error("profile", error, check_again(findings.table, "after you have done what it says"))
    else:
        findings.add("profile", "pass", f"has the client id {client_id}" if client_id else "has a token's source")
