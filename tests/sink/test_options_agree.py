"""Each option is declared once; the signatures and texts that must repeat it for their readers agree with that."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_zerobus import WriteToZerobus, ZerobusOptions, ZerobusWriter
from beam_zerobus import yaml as beam_yaml
from beam_zerobus.options import Batching, DebugFiles, Retry, Telemetry
from beam_zerobus.options.fields import Option, options_of, texts_in
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.flat_options import FLAT_OPTIONS
from beam_zerobus.sink.settings import SinkOptions
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.writers_config import WritersOptions

PAGE = Path(__file__).parents[2] / "docs" / "runners" / "yaml.md"

OF_WRITER = {option.name: option for option in options_of(WriterConfig) if option.name != "key"}
OF_WRITERS = {option.name: option for option in options_of(WritersOptions)}
OF_SINK = {**OF_WRITER, **{option.name: option for option in options_of(SinkOptions)}, **OF_WRITERS}

TAKES_MORE = {
    "credentials": {Credentials, type(None)},
    "schema": {pa.Schema, TableSchema, str, type(None)},
}
OF_MANY = {"schema": TAKES_MORE["schema"] | {Mapping[str, Any], Callable[[str], Any]}}
"""What users may give, with None as default, where the configuration holds what was made of it."""

YAML_ONLY = {"error_handling"}
NO_FLAG = {"telemetry_attributes", "keep", "drop"}  # flags hold one value


def plain(text: str) -> str:
    """Return a text without quotes and marks of code, which depend on where it is read."""
    return re.sub(r"[`\"]", "", text).rstrip(".")


def hints(function: Any) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(function).items() if name != "return"}


def members(hint: Any) -> set[Any]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return set(typing.get_args(hint)) if is_union else {hint}


@pytest.mark.parametrize(("made", "declared"), [(ZerobusWriter, OF_WRITER), (WriteToZerobus, OF_SINK)])
def test_public_signatures_repeat_names_types_defaults_and_texts(made: type, declared: dict[str, Option]) -> None:
    parameters = {name: p for name, p in inspect.signature(made).parameters.items() if name != "self"}
    assert set(parameters) == set(declared)
    texts = texts_in(made)
    types_of_it = hints(made.__init__)
    for name, option in declared.items():
        wanted = {*option.types, *([type(None)] if option.may_be_none else [])}
        default = inspect.Parameter.empty if option.default is MISSING else option.default
        if name in TAKES_MORE:
            wanted, default = TAKES_MORE[name], None
        if made is WriteToZerobus:
            wanted = {"table": {str, Callable[[Any], str]}, **OF_MANY}.get(name, wanted)
        assert members(types_of_it[name]) == wanted, name
        assert parameters[name].default == default, name
        assert plain(texts[name]).startswith(plain(option.text)), name
        assert parameters[name].kind is (
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name == "table" else inspect.Parameter.KEYWORD_ONLY
        )
    assert OF_WRITER["credentials"].default == OAuthClientCredentials()


def test_yaml_repeats_names_types_and_texts_and_has_no_defaults_of_its_own() -> None:
    parameters = inspect.signature(beam_yaml.WriteToZerobus).parameters
    assert set(parameters) == {*FLAT_OPTIONS, *YAML_ONLY}
    texts = texts_in(beam_yaml.WriteToZerobus)
    types_of_it = hints(beam_yaml.WriteToZerobus.__init__)
    for name, flat in FLAT_OPTIONS.items():
        kinds = {Mapping: Mapping[str, str], Sequence: Sequence[str]}
        kind = kinds.get(flat.option.kind, flat.option.kind)
        assert types_of_it[name] == (str if name == "table" else kind | None), name
        assert parameters[name].default is (inspect.Parameter.empty if name == "table" else None), name
        assert plain(texts[name]).startswith(plain(flat.option.text)), name


def test_flags_repeat_names_choices_and_texts(capsys: pytest.CaptureFixture[str]) -> None:
    of_flags = {name.removeprefix("zerobus_") for name in ZerobusOptions([]).get_all_options(current_only=True)}
    assert of_flags == set(FLAT_OPTIONS) - NO_FLAG
    with pytest.raises(SystemExit):
        ZerobusOptions(["--help"])
    printed = re.sub(r"\s+|(?<=-)\n\s*", "", capsys.readouterr().out)
    assert "objectat0x" not in printed
    assert "Default:10000." in printed
    for name in of_flags:
        option = FLAT_OPTIONS[name].option
        assert re.sub(r"\s+", "", re.sub(r"[`\"]", "", option.text)) in printed, name
        if option.choices:
            assert f"--zerobus_{name}{{{','.join(option.choices)}}}" in printed


@pytest.mark.parametrize(
    "declared_by", [WriterConfig, SinkOptions, WritersOptions, Batching, Retry, DebugFiles, Telemetry]
)
def test_every_option_has_a_text(declared_by: type) -> None:
    assert [option.name for option in options_of(declared_by) if not option.text.endswith(".")] == []
    assert set(texts_in(declared_by)) == {option.name for option in options_of(declared_by)}


def test_flat_names_are_unique() -> None:
    declared = [
        option.flat_name
        for declared_by in {flat.declared_by for flat in FLAT_OPTIONS.values()}
        for option in options_of(declared_by)
        if option.flat_name is not None
    ]
    assert sorted(declared) == sorted(FLAT_OPTIONS)


KINDS = {
    str: "text",
    float: "seconds",
    int: "number",
    bool: "true or false",
    Mapping: "mapping",
    Sequence: "list of names",
}


def table_of_options() -> str:
    """Return the table of options in docs/runners/yaml.md."""

    def row(name: str, option: Option) -> str:
        kind = KINDS[option.kind]
        has_default = option.default not in (None, MISSING, {})
        default = f"`{str(option.default).lower() if option.kind is bool else option.default}`" if has_default else ""
        text = option.text.replace("``", "`").replace('"', "").replace("|", "\\|")
        return f"| `{name}` | {kind} | {default} | {text} |"

    rows = [row(name, flat.option) for name, flat in FLAT_OPTIONS.items()]
    return "\n".join(["| option | type | default | what it does |", "| --- | --- | --- | --- |", *rows])


def test_the_page_lists_every_option() -> None:
    assert table_of_options() in PAGE.read_text("utf-8"), (
        f"docs/runners/yaml.md needs this table:\n{table_of_options()}"
    )
