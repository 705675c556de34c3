"""The rooms of the package: sizes, arrows that point one way, and who may import what."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "beam_zerobus"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# Each room may use those named behind it, and what is FOR_ALL; docs/architecture.md shows the same arrows.
ROOMS = {
    "programs": {"sink", "batching", "writer", "workspace", "schema", "rotated_files"},
    "sink": {"batching", "check", "destinations", "writer", "workspace", "delivery", "encoding", "schema", "telemetry"},
    "gateway": {"writer", "workspace", "schema", "rotated_files"},
    "batching": {"destinations", "schema"},
    "destinations": {"schema"},
    "writer": {
        "batching",
        "check",
        "delivery",
        "encoding",
        "schema",
        "tables",
        "workspace",
        "telemetry",
        "debug_files",
    },
    "check": {"delivery", "encoding", "schema", "workspace"},
    "delivery": {"encoding", "schema", "workspace"},
    "encoding": {"schema", "variant"},
    "tables": {"schema", "workspace"},
    "workspace": {"schema"},
    "schema": {"variant"},
    "variant": set(),
    "telemetry": {"rotated_files"},
    "debug_files": {"rotated_files", "schema"},
    "rotated_files": set(),
    "emulator": {"schema", "variant"},
}
FOR_ALL = {"errors", "row_errors", "options", "logs", "version"}


@cache
def imports(path: Path) -> set[str]:
    """Return the modules that a module imports, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if module.count(".") else module


@pytest.mark.parametrize("directory", [PACKAGE, ROOT / "tests"], ids=["a module has one job", "a test has one subject"])
def test_a_file_is_short(directory):
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in directory.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 350} == {}


def test_no_circle_of_imports():
    arrows = {
        module: {target for target in imports(path) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    arrows["beam_zerobus"] = set()  # the package's names, which it loads when they are asked for
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for target in sorted(arrows[module]):
                visit(target, (*way, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


@pytest.mark.parametrize("name", ROOMS)
def test_arrows_between_rooms_point_one_way(name):
    used = defaultdict(set)
    for module, path in MODULES.items():
        if room(module) == name:
            for target in imports(path):
                if target in MODULES and room(target) not in ROOMS[name] | FOR_ALL | {name}:
                    used[module].add(target)
    assert not used


def test_arrows_between_folders_of_the_emulator_point_one_way():
    """Modules beside the folders, such as `host` and `wire`, may be used by each folder."""
    folders = {path.parent.name for path in (PACKAGE / "emulator").glob("*/__init__.py")}
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        if module.startswith("beam_zerobus.emulator.") and (source := module.split(".")[2]) in folders:
            used = {target.split(".")[2] for target in imports(path) if target.startswith("beam_zerobus.emulator.")}
            arrows[source] |= used & folders - {source}
    assert tuple(TopologicalSorter(arrows).static_order())  # a circle is a CycleError, which names the folders


def importers(library: str) -> set[str]:
    return {
        module
        for module, path in MODULES.items()
        if any(target == library or target.startswith(f"{library}.") for target in imports(path))
    }


def test_the_sdk_is_imported_in_one_room():
    assert importers("zerobus") == {"beam_zerobus.delivery.sdk_errors", "beam_zerobus.delivery.stream"}


def test_beam_is_imported_in_the_sink_the_programs_and_yaml_only():
    elsewhere = {module for module in importers("apache_beam") if room(module) not in ("programs", "sink", "yaml")}
    assert all("beam" in module.split(".")[-1] for module in elsewhere), elsewhere


def test_the_top_level_is_small():
    names = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names - {"__init__"} == set(ROOMS) | FOR_ALL | {"cli", "testing", "yaml"}
