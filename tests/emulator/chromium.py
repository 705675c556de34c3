"""Finds Chromium, or installs Debian's: ``python -m tests.emulator.chromium``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "Chromium is missing: install it (apt-get install chromium), or set CHROMIUM to its path"


def find() -> str | None:
    """Return Chromium's path: $CHROMIUM if that is one, else what is in the search path."""
    names = (os.environ.get("CHROMIUM", ""), *NAMES)
    return next((path for name in names if name and (path := shutil.which(name))), None)


def is_demanded() -> bool:
    """Return whether a missing Chromium is a failure: CHROMIUM is set."""
    return bool(os.environ.get("CHROMIUM"))


def install() -> None:
    """Install Debian's package, where this process may; a failure is seen by `find`."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update",), ("install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core")):
        subprocess.run([apt, "--quiet", "--quiet", *arguments], env=quiet, stdout=sys.stderr, check=False, timeout=300)


def main() -> int:
    if find() is None:
        print("Installing Debian's Chromium", flush=True)
        install()
    print(find() or f"{MISSING}. The tests of the page are skipped")
    return 1 if find() is None and is_demanded() else 0


if __name__ == "__main__":
    sys.exit(main())
