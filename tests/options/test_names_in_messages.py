"""Messages name each option as the user gives it, and leave all else as it is."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_zerobus.check.command import run as check
from beam_zerobus.cli import _in_flags, main
from beam_zerobus.options.wording import for_command, for_toml
from beam_zerobus.sink.flat_options import FLAT_NAMES, in_flags, in_yaml
from beam_zerobus.tables.command import run as create_table

COMMAND = ("endpoint", "schema", "warehouse_id", "workspace_url")
in_command = for_command(COMMAND)
in_toml = for_toml({"Retry.max_retries": "max_retries", "Retry.max_backoff": "max_backoff"})
AUDIENCES = {
    "pipeline": (in_flags, FLAT_NAMES, "--zerobus_{}", "--zerobus_{}="),
    "yaml": (in_yaml, FLAT_NAMES, "{}", "{}: "),
    "command": (in_command, {name: name.replace("_", "-") for name in COMMAND}, "--{}", "--{}="),
    "toml": (in_toml, {"Retry.max_retries": "max_retries"}, "{}", "{}="),
}
CASES = [(audience, name) for audience, (_, names, _, _) in AUDIENCES.items() for name in names]

FOR_FLAGS = [
    ("Batching.max_rows=0: set a whole number", "--zerobus_batch_max_rows=0: set a whole number"),
    ("DebugFiles.output_dir (of type int): name a", "--zerobus_debug_dir (of type int): name a"),
    (
        "arrow_compression='lz4' needs wire_format=\"arrow\"",
        "--zerobus_arrow_compression='lz4' needs --zerobus_wire_format=\"arrow\"",
    ),
    ("endpoint and workspace_url are swapped", "endpoint and --zerobus_workspace_url are swapped"),
    ("or allow more with Retry(max_retries=..., max_backoff=...)", "--zerobus_max_retries and --zerobus_max_backoff"),
    ("no column types: give WriteToZerobus(schema=...)", "no column types: give --zerobus_schema"),
    ('give schema=..., or schema="unity_catalog"', 'give --zerobus_schema=..., or --zerobus_schema="unity_catalog"'),
    ("not fetched without workspace_url: give", "not fetched without --zerobus_workspace_url: give"),
    ("check the URL (workspace_url, or DATABRICKS_HOST)", "(--zerobus_workspace_url, or DATABRICKS_HOST)"),
]
AS_THEY_ARE = [
    "$ZEROBUS_ENDPOINT holds white space",
    "schema DDL, line 1, column 4: 'table' is not",
    "--zerobus_table is not set",
    "column 'endpoint' is INT: a value of Python type str does not fit",
    "column 'wire_format' (string) is not in the table; drop it",
    'the file "epoch_unit=s.csv" is empty',
    "the endpoint has .zerobus. in it, and the table is partitioned",
    "Unity Catalog's answer has no list of columns, and the table's schema is not fetched",
    "table main.iot.batch_max_rows does not exist; nor does main.dry_run.air",
    "/data/create_table.sql and rescue_column/part.parquet are not readable",
    "main.iot.{schema}_{warehouse_id} names many tables",
    "SomeRetry(max_times=...)",
]


@pytest.mark.parametrize(("audience", "name"), CASES)
def test_each_option_is_named_as_each_user_gives_it(audience: str, name: str) -> None:
    wording, names, plain, valued = AUDIENCES[audience]
    own, with_value = plain.format(names[name]), valued.format(names[name])
    assert wording(f"{name} is not set: pass {name}=... or set X") == f"{own} is not set: pass {with_value}... or set X"
    assert wording(f"defaults: {name}='{name}=1': correct it") == f"defaults: {with_value}'{name}=1': correct it"
    assert wording(f"{name} (of type int): name it") == f"{own} (of type int): name it"
    for other in (f"column '{name}' is INT", f'"{name}" is not known', f"${name}", f"main.iot.{name} is no table"):
        assert wording(other) == other


@pytest.mark.parametrize(("message", "expected"), FOR_FLAGS)
def test_parameters_become_flags(message: str, expected: str) -> None:
    assert expected in in_flags(message)


@pytest.mark.parametrize("message", AS_THEY_ARE)
@pytest.mark.parametrize("audience", AUDIENCES)
def test_what_is_no_option_stays_as_it_is(audience: str, message: str) -> None:
    assert AUDIENCES[audience][0](message) == message


PARTS = st.one_of(
    st.sampled_from([*FLAT_NAMES, "the", "and", ": ", "; ", "=", "'", '"', " ", "...", "is", "column"]),
    st.text(max_size=4),
)


@given(st.lists(PARTS, max_size=12).map("".join))
@example("schema is not set: pass schema='a' or schema=\"b\"")
def test_a_message_is_reworded_once(message: str) -> None:
    once = in_flags(message)
    assert in_flags(once) == once


@pytest.mark.parametrize("run", [check, create_table, lambda arguments: main(["schema", *arguments])])
def test_messages_of_commands_name_each_flag_that_is_an_option(run, capsys) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", capsys.readouterr().out)}
    for name in flags & {*FLAT_NAMES} | flags & {"message_name"}:
        assert _in_flags(f"{name}='x': correct it") == f"--{name.replace('_', '-')}='x': correct it"
