"""Wrong flags and arguments of every command: the reason is said in one line, with the remedy."""

from __future__ import annotations

import shlex

import pytest

from beam_zerobus.cli import main


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("emulator --table main.iot.air=id BIGINT", "--table"),
        ("check main.iot.air --schema id BIGINT", "--schema"),
        ("create-table main.iot.air --schema=id BIGINT NOT NULL", "--schema"),
        ("inspect . --where id = 1", "--where"),
        ("gateway --config my file.toml", "--config"),
        ("send --input a.csv --zerobus_table main.iot.air --zerobus_schema id BIGINT", "--zerobus_schema"),
        ("send --input a.csv --zerobus_table main.iot.air --zerobus_schema=id BIGINT", "--zerobus_schema"),
        ("replay --input a --dead_letters my files --zerobus_table main.iot.air", "--dead_letters"),
        ("schema id BIGINT", ""),
    ],
)
def test_a_value_that_the_shell_has_split(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: int | str | None = main(command.split())
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert status == 2
    assert (f"after {flag};" if flag else "too many arguments;") in said
    assert "if the shell has split a value at its spaces, put it into quotes" in said
    assert f'as in {flag} "..."' in said or not flag


@pytest.mark.parametrize("command", ["check main.iot.air -psecret", "send -psecret --input a --zerobus_table b"])
def test_a_short_flag_that_nobody_knows(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: int | str | None = main(command.split())
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert (status, "secret" in said) == (2, False)
    assert "There is no flag -p: see --help for the flags" in said


@pytest.mark.parametrize("count", ["x", "-1", "1.5"])
@pytest.mark.parametrize(
    "command",
    ["inspect . --head", "kafka --bootstrap_servers a:1 --topic b --zerobus_table main.iot.air --max_num_records"],
)
def test_a_count_is_a_whole_number(command: str, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    with pytest.raises(SystemExit) as ended:
        main([*words[:-1], f"{words[-1]}={count}"])
    assert ended.value.code == 2
    assert f"argument {words[-1]}: must be a whole number of at least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "--jsno", "debug"], "inspect: There is no flag --jsno: did you mean --json?"),
        (["schema", "--formt=ddl", "id INT"], "There is no flag --formt: did you mean --format?"),
        (["create-table", "a.b.c", "--shema", "id INT"], "There is no flag --shema: did you mean --schema?"),
        (["check", "a.b.c", "--wire-fromat=json"], "There is no flag --wire-fromat: did you mean --wire-format?"),
        (["emulator", "--stroage-dir", "x"], "There is no flag --stroage-dir: did you mean --storage-dir?"),
        (["gateway", "--prot", "3"], "There is no flag --prot: did you mean --port?"),
        (["gateway", "--xyzzy"], "There is no flag --xyzzy: see --help for the flags"),
        (["replay", "--inptu", "x", "--zerobus_table=a.b.c"], "There is no flag --inptu: did you mean --input?"),
        (["replay", "--input", "x"], "Name the table: --zerobus_table=catalog.schema.table"),
        (["kafka", "--topc", "x", "--zerobus_table=a.b.c"], "There is no flag --topc: did you mean --topic?"),
    ],
)
def test_an_unknown_flag_has_the_nearest_name(arguments, says, capsys):
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "beam-zerobus: name a command: inspect, schema, send,"),
        ("sned", "beam-zerobus: there is no command sned: did you mean send?"),
        ("xyzzy", "beam-zerobus: there is no command xyzzy: see --help"),
        ("inspect", "beam-zerobus inspect: the following arguments are required: PATH; see --help"),
        ("check a.b.c --wire-format xml", "beam-zerobus check: argument --wire-format: invalid choice: 'xml'"),
        ("create-table a.b.c", "beam-zerobus create-table: one of the arguments --schema --like --from-proto"),
        ("gateway --port", "beam-zerobus gateway: argument --port: expected one argument; see --help"),
        ("emulator --table", "beam-zerobus emulator: argument --table: expected one argument; see --help"),
        ("replay-calls", "beam-zerobus replay-calls: the following arguments are required: FILE; see --help"),
        ("replay --zerobus_table", "beam-zerobus replay: argument --zerobus_table: expected one argument; see --help"),
        ("replay", "beam-zerobus replay: the following arguments are required: --input; see --help"),
        ("send --input a --runner", "beam-zerobus send: argument --runner: expected one argument; see --help"),
        ("send --input a --zerobus_wire_format=x", "beam-zerobus send: argument --zerobus_wire_format: invalid choice"),
        ("send --input a --zerobus_max_retries=x", "beam-zerobus send: argument --zerobus_max_retries: invalid int"),
        ("send --input= --zerobus_table=a.b.c", "beam-zerobus send: --input is empty: name a file or a directory"),
        ("replay --input= --zerobus_table=a.b.c", "beam-zerobus replay: --input is empty: name a file or a directory"),
        ("send --input a --dead_letters= --zerobus_table=a.b.c", "beam-zerobus send: --dead_letters is empty:"),
        ("send --input a --runner=Nope --zerobus_table=a.b.c", "beam-zerobus send: --runner=Nope cannot be used: "),
        ("send --input a --runner=x.y.Z --zerobus_table=a.b.c", "beam-zerobus send: --runner=x.y.Z cannot be used: No"),
        ("send --input s3://a/b.csv --zerobus_table=a.b.c", "beam-zerobus send: s3://a/b.csv cannot be listed: "),
        ("replay --input no://a/b --zerobus_table=a.b.c", "beam-zerobus replay: no://a/b cannot be listed: "),
        ("schema air", "beam-zerobus: air: a schema is read from a .sql, .ddl, .json, .arrow or .parquet file"),
        ("schema --message-name=1 x\\ INT", "beam-zerobus: --message-name='1': use letters, digits and underscores"),
        ("check a.b.c --assume-timezone x", "beam-zerobus: --assume-timezone is not a time zone that is known here"),
        (
            "kafka --bootstrap_servers a:1 --topic b --zerobus_table=a.b.c --dead_letters /dev/null",
            "beam-zerobus kafka: /dev/null cannot hold dead letters",
        ),
        ("send --input a --direct_num_workers=x", "beam-zerobus send: argument --direct_num_workers: invalid int"),
    ],
)
def test_a_wrong_command_line_is_answered_with_the_reason_alone(command, reason, capsys):
    try:
        status = main(shlex.split(command))
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(reason)


def test_a_flag_may_be_shortened(capsys):
    assert main(["schema", "id INT", "--form", "ddl"]) == 0
    assert capsys.readouterr().out == "id INT\n"
