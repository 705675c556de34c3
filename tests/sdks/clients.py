"""The clients: how the program of each is built, once, and started."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.delivery import sdk_matrix

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent
CACHE = Path(os.environ.get("SDKS_CACHE") or ROOT / ".cache" / "sdks").resolve()
BUILD_SECONDS = 1_800


class MissingToolError(Exception):
    """A program that builds or runs a client is not on the PATH."""


class NotBuiltError(Exception):
    """A client's first build takes minutes, and nobody asked for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientProgram:
    """A client's program, ready to run.

    Attributes:
        name: Language and version, as in the matrix.
        formats: The wire formats that the client has.
        command: Starts it.
        variables: What it needs in its environment.
        proto_tool: The client's tool that writes a .proto file from Unity Catalog, if it has one.
        reads_columns: Whether the client makes a stream's schema from Unity Catalog's description of a table.
    """

    name: str
    formats: tuple[str, ...]
    command: list[str]
    variables: dict[str, str] = field(default_factory=dict)
    proto_tool: tuple[str, ...] = ()
    reads_columns: bool = False


def python() -> list[ClientProgram]:
    """Return the oldest and the newest SDK that `pyproject.toml` allows, which may be the same."""
    folders = {sdk_matrix.version(folder): folder for folder in map(sdk_matrix.install, sdk_matrix.allowed())}
    command = [sys.executable, str(SOURCES / "python" / "client.py")]
    return [
        ClientProgram(
            name=f"Python {version}",
            formats=("proto", "json", "arrow"),
            command=command,
            variables={"PYTHONPATH": str(folder)},
            proto_tool=(sys.executable, "-m", "zerobus.tools.generate_proto"),
        )
        for version, folder in folders.items()
    ]


def java() -> list[ClientProgram]:
    """Return Java's; this release has no Arrow streams."""
    folder = _build("java", "mvn", "--quiet", "--batch-mode", "package", needs=("java", "mvn"))
    jar = str(folder / "target" / "client.jar")
    program = ClientProgram(
        name=f"Java {pinned('java')}",
        formats=("proto", "json"),
        command=["java", "-jar", jar],
        proto_tool=("java", "-cp", jar, "com.databricks.zerobus.tools.GenerateProto"),
    )
    return [program]


def node() -> list[ClientProgram]:
    """Return Node's: the prebuilt part for Linux."""
    folder = _build("node", "npm", "install", "--no-package-lock", "--silent", needs=("node", "npm"))
    command = ["node", str(folder / "client.js")]
    return [ClientProgram(name=f"Node {pinned('node')}", formats=("proto", "json", "arrow"), command=command)]


def go() -> list[ClientProgram]:
    """Return Go's, which is not an official one: grpc-go and the published messages."""
    folder = _build("go", "go", "build", "-o", "client", ".", needs=("go",))
    name = f"Go, grpc-go {pinned('go')}"
    return [ClientProgram(name=name, formats=("proto", "json"), command=[str(folder / "client")])]


def rust() -> list[ClientProgram]:
    """Return Rust's; the first build takes minutes."""
    if not _is_built("rust") and os.environ.get("RUST") != "1":
        raise NotBuiltError("its first build takes minutes; RUST=1 builds it")
    folder = _build("rust", "cargo", "build", "--quiet", needs=("cargo",))
    program = ClientProgram(
        name=f"Rust {pinned('rust')}",
        formats=("proto", "json", "arrow"),
        command=[str(folder / "target" / "debug" / "zerobus-client")],
        reads_columns=True,
    )
    return [program]


CLIENTS: dict[str, Callable[[], list[ClientProgram]]] = {
    "python": python,
    "java": java,
    "node": node,
    "go": go,
    "rust": rust,
}
"""What builds the programs of each language, in the order of the matrix."""

_PINS = {
    "java": ("pom.xml", r"<zerobus.version>([\d.]+)<"),
    "node": ("package.json", r'zerobus-ingest-sdk[^"]*": "([\d.]+)"'),
    "go": ("go.mod", r"google\.golang\.org/grpc v([\d.]+)"),
    "rust": ("Cargo.toml", r'zerobus-ingest-sdk = \{ version = "=([\d.]+)"'),
}


def pinned(language: str) -> str:
    """Return the version of the client that the language's build file names."""
    file, pattern = _PINS[language]
    found = re.search(pattern, (SOURCES / language / file).read_text())
    assert found is not None, f"{file} names no version of the client"
    return found[1]


def _build(language: str, *command: str, needs: tuple[str, ...]) -> Path:
    """Build a program from a copy of its sources in the cache, unless it was built from the same before."""
    for tool in needs:
        if shutil.which(tool) is None:
            raise MissingToolError(f"{tool} is not on the PATH")
    folder = CACHE / language
    if not _is_built(language):
        print(f"{language}: building into {folder}", flush=True)
        stamp = folder / "built"
        stamp.unlink(missing_ok=True)
        shutil.copytree(SOURCES / language, folder, dirs_exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=BUILD_SECONDS)
        stamp.write_text(_digest(SOURCES / language))
    return folder


def _is_built(language: str) -> bool:
    stamp = CACHE / language / "built"
    return stamp.exists() and stamp.read_text() == _digest(SOURCES / language)


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(file.relative_to(source).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
