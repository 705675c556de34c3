"""Every option of the gateway: each of its three sources sets it, and the docs name it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.gateway.command import run
from beam_zerobus.gateway.loading import FLAGS, PREFIX, load_settings
from beam_zerobus.options import DebugFiles, Retry, Telemetry
from beam_zerobus.options.fields import options_of
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text("utf-8")
FILE = '[defaults]\ndry_run = true\n[tables."main.iot.air"]\nschema = "id BIGINT"\n[gateway]\n'


@pytest.fixture
def values(tmp_path, monkeypatch) -> dict[str, Any]:
    """A value for each option that is not its default."""
    for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST"):
        monkeypatch.setenv(name, "http://localhost:1")
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.setenv(name, "x")
    values: dict[str, Any] = {}
    for name, option in FLAGS.items():
        if name.startswith("tls_"):
            (tmp_path / name).touch()
            values[name] = str(tmp_path / name)
        elif option.kind is bool:
            values[name] = not option.default
        elif option.kind is str:
            values[name] = "localhost" if name == "host" else str(tmp_path)
        else:
            values[name] = option.kind((option.default or 1) + 1)
    return values


@pytest.mark.parametrize("source", ["file", "environment", "flags"])
def test_each_source_sets_each_option(values, source, tmp_path):
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    lines = [f"{name} = '{text}'" if FLAGS[name].kind is str else f"{name} = {text}" for name, text in texts.items()]
    file = tmp_path / "gateway.toml"
    file.write_text(FILE + ("\n".join(lines) if source == "file" else ""))
    environment = {PREFIX + name.upper(): str(text) for name, text in texts.items()} if source == "environment" else {}
    settings = load_settings(str(file), environment, values if source == "flags" else {})
    assert {name: getattr(settings, name) for name in FLAGS} == values


def test_the_command_has_a_flag_for_each_option_and_the_page_names_the_others(capsys):
    with pytest.raises(SystemExit, match="0"):
        run(["--help"])
    flags = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    of_options = {f"--{name.replace('_', '-')}" for name in FLAGS}
    switches = {f"--no-{name.replace('_', '-')}" for name, option in FLAGS.items() if option.kind is bool}
    assert of_options | switches <= flags
    assert flags - of_options - switches == {"--config", "--token-env", "--profile"}
    assert [flag for flag in flags - of_options - switches if flag not in PAGE] == []
    assert f"`{PREFIX}TOKEN`" in PAGE


def test_each_option_of_a_table_is_one_of_zerobus_writer_which_has_its_text():
    names = {option.name for option in options_of(WriterConfig)} - {"table", "key"}
    text = f"{ZerobusWriter.__doc__}"
    assert [name for name in sorted(names) if not re.search(rf"^ +{name}: ", text, re.MULTILINE)] == []
    for nested in (Retry, DebugFiles, Telemetry):
        names = {option.name for option in options_of(nested)}
        assert [name for name in sorted(names) if not re.search(rf"^ +{name}: ", f"{nested.__doc__}", re.M)] == []
