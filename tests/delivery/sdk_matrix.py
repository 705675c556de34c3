"""Runs the contract test with the oldest and the newest SDK that `pyproject.toml` allows.

Start it with `python -m tests.delivery.sdk_matrix`, or name versions yourself:
`python -m tests.delivery.sdk_matrix databricks-zerobus-ingest-sdk==1.10.0`.
Each SDK is installed once, alone, into a folder under `.cache/sdk/`, which shadows the environment's own; everything
else is the environment that runs this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "sdk"
SDK = "databricks-zerobus-ingest-sdk"
TESTS = ("sdk_contract", "sdk_contract_streams", "sdk_errors", "error_rows_sdk")
FILES = tuple(f"tests/delivery/test_{name}.py" for name in TESTS)


def allowed() -> tuple[str, str]:
    """Return the requirements of the oldest and of the newest SDK that is allowed."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    newest = next(dependency for dependency in dependencies if dependency.startswith(SDK))
    oldest = re.search(r">=\s*([\d.]+)", newest)
    if oldest is None:
        raise SystemExit(f"{newest}: pyproject.toml gives no lower bound")
    release = oldest[1] + ".0" * (2 - oldest[1].count("."))
    return f"{SDK}=={release}", newest


def install(requirement: str) -> Path:
    """Install an SDK without its dependencies, unless that was done before; return its folder."""
    target = CACHE / re.sub(r"[^\w.]+", "-", requirement)
    if not target.exists():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(partial))
        subprocess.run([sys.executable, "-m", "pip", "install", *options, requirement], check=True)
        partial.rename(target)
    return target


def version(folder: Path) -> str:
    """Return the version of the SDK in a folder."""
    metadata = next(folder.glob("databricks_zerobus_ingest_sdk-*.dist-info"))
    return metadata.name.removesuffix(".dist-info").rpartition("-")[2]


def main() -> int:
    """Run the tests once for each version; return the number of those that failed."""
    folders = {version(folder): folder for folder in map(install, sys.argv[1:] or allowed())}
    failed = 0
    for number, folder in folders.items():
        print(f"== {SDK} {number}", flush=True)
        environment = {**os.environ, "EXPECTED_SDK": number}
        environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", *FILES]
        failed += subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
