"""The room knows nothing of its users, and who writes debug files imports no reader."""

import subprocess
import sys

import pytest


def imported_by(statement: str) -> set[str]:
    """The modules of the package that a new process has after a statement."""
    script = f"{statement}; import sys; print(*(name for name in sys.modules if name.startswith('beam_zerobus.')))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize(
    "module",
    [
        "destination",
        *(pytest.param(name, marks=pytest.mark.hostile) for name in ("beam_destination", "beam_filesystems")),
    ],
)
def test_rotated_files_import_no_other_room(module: str) -> None:
    # Importing any module runs the package's own __init__, which imports everything: it is left out here.
    package = "import importlib.util as u, sys, types; p = types.ModuleType('beam_zerobus'); "
    package += (
        "p.__path__ = list(u.find_spec('beam_zerobus').submodule_search_locations); sys.modules['beam_zerobus'] = p"
    )
    modules = imported_by(f"{package}; import beam_zerobus.rotated_files.{module}")
    assert {room(name) for name in modules} <= {
        "beam_zerobus.rotated_files",
        "beam_zerobus.errors",
        "beam_zerobus.logs",
    }


def test_a_writer_imports_no_reader() -> None:
    modules = imported_by("import beam_zerobus.writer.debug_record, beam_zerobus.telemetry.arrow_exporter")
    assert "beam_zerobus.debug_files.writer" in modules
    assert not {name for name in modules if name.startswith("beam_zerobus.debug_files.inspect")}


def test_readers_are_imported_from_the_room_of_debug_files() -> None:
    modules = imported_by("from beam_zerobus.debug_files import read_arrow, read_proto")
    assert "beam_zerobus.debug_files.inspect.reading" in modules
    with pytest.raises(ImportError):
        from beam_zerobus.debug_files import read_nothing  # noqa: F401
