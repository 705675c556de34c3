"""The machine: versions of what rows pass through, and where the credentials are."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from beam_zerobus.check.report import Report

__all__ = ["check_credentials_present", "check_versions"]

_PACKAGES = ("beam-zerobus", "databricks-zerobus-ingest-sdk", "apache-beam", "pyarrow", "protobuf")
_MIN_GLIBC = (2, 34)  # of the SDK's wheel


def check_versions(report: Report) -> None:
    """Report the versions, and whether the SDK can be loaded on this machine."""
    found = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    report.add("versions", "pass", f"Python {platform.python_version()}, {found}")
    libc, number = platform.libc_ver()
    if libc == "glibc" and tuple(map(int, number.split(".")[:2])) < _MIN_GLIBC:
        report.add(
            "glibc", "fail", f"glibc {number} is too old for Zerobus' SDK", "use an image with glibc 2.34 or later"
        )
    if sys.platform.startswith("linux") and libc != "glibc":
        report.add("glibc", "fail", "this system has no glibc (Alpine?)", "use an image with glibc, such as Debian's")
    try:
        import_module("beam_zerobus.delivery.stream")  # which loads the SDK
    except ImportError as error:
        report.add("Zerobus SDK", "fail", f"cannot be loaded: {error}", "pip install databricks-zerobus-ingest-sdk")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def check_credentials_present(report: Report) -> None:
    """Report whether the environment has id and secret; neither is shown."""
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        if not os.environ.get(name, "").strip():
            token = ""
            if "DATABRICKS_TOKEN" in os.environ:
                token = "; DATABRICKS_TOKEN is set, but Zerobus accepts no personal access token"  # noqa: S105
            report.add(name, "fail", f"is not set{token}", f"export {name}=...   # of a service principal")
        else:
            report.add(name, "pass", "is set")
