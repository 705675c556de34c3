"""Private names of libraries that the sink uses, because no public one exists. Each has a test of its behaviour.

A test that fails here after an upgrade says which module to look at.
"""

from __future__ import annotations

import argparse
import ast
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.row_type import RowTypeConstraint

import beam_zerobus

PACKAGE = Path(beam_zerobus.__file__).parent

PRIVATE_NAMES = {
    ("programs/command.py", "_add_argparse_args"): "ZerobusOptions', which overrides that of Beam's PipelineOptions",
    ("sink/row_types.py", "_fields"): "RowTypeConstraint._fields of apache_beam.typehints.row_type, Beam 2.77",
}
"""Where a private name is read, the name, and what it is, with the version in which it was read."""

NAMED_TUPLES = {
    ("batching/records.py", "_fields"),
    ("sink/dead_letters/letters.py", "_asdict"),
    ("sink/dead_letters/values.py", "_fields"),
    ("sink/row_types.py", "_fields"),
}
"""Reads of `_fields` and `_asdict` of a NamedTuple, which are public in spite of the underscore."""


def private_reads(module: Path) -> set[str]:
    """Return the private attributes that a module reads of anything but its own objects."""
    tree = ast.parse(module.read_text("utf-8"))
    defined = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [node.attr]
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            else []
        )
    }
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr not in defined
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def test_every_private_name_is_listed() -> None:
    modules = [
        *(PACKAGE / "sink").rglob("*.py"),
        *(PACKAGE / "batching").rglob("*.py"),
        *(PACKAGE / "programs").rglob("*.py"),
        PACKAGE / "yaml.py",
    ]
    found = {(str(module.relative_to(PACKAGE)), name) for module in modules for name in private_reads(module)}
    assert found == set(PRIVATE_NAMES) | NAMED_TUPLES


def test_the_fields_of_a_row_type_are_pairs_of_name_and_python_type() -> None:
    """Used by sink/row_types.py."""
    pairs = [("id", int), ("at", dt.datetime), ("anything", Any)]
    assert list(RowTypeConstraint.from_fields(pairs)._fields) == pairs


def test_beam_asks_a_class_of_options_for_its_flags() -> None:
    """Overridden by sink/pipeline_options.py, as Beam's documentation says, in spite of its name."""
    asked: list[argparse.ArgumentParser] = []

    class Mine(ZerobusFree):
        @classmethod
        def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
            asked.append(parser)
            parser.add_argument("--of_this_test")

    assert Mine(["--of_this_test=5"]).of_this_test == "5"
    assert asked


class ZerobusFree(PipelineOptions):
    """Between Beam's class and that of the test, because Beam keeps every direct subclass for later parsers."""


def test_a_view_is_made_with_the_flags_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relied on by `ZerobusOptions`, which looks for unknown flags among the argument of its constructor."""
    seen: list[Any] = []

    class Mine(ZerobusFree):
        def __init__(self, flags: Any = None, **overrides: Any) -> None:
            seen.append(flags)
            super().__init__(flags, **overrides)

    monkeypatch.setattr("sys.argv", ["program", "--from_the_process"])
    PipelineOptions(["--anything"]).view_as(Mine)
    PipelineOptions().view_as(Mine)
    assert seen == [["--anything"], None]
