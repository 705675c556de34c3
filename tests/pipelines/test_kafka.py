"""Messages of a real Kafka broker in the Delta table within seconds, by the commands of docs/pipelines.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TextIO

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.pages import commands
from tests.runners.support import ROOT, go_program, started, wait_until, zerobus_environment

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = "pipelines.md"
TABLE = "main.iot.air_quality"
SECONDS = 8.0
"""What "within seconds" means for most messages on a machine that is busy with other things; about two are usual."""


def shell(command: str, replaced: dict[str, str]) -> list[str]:
    for text, other in replaced.items():
        command = command.replace(text, other)
    return ["bash", "-c", f"exec {command}"]


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    try:
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def jars() -> None:
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    library, wanted = ROOT / ".cache" / "kafka" / "lib", ROOT / "tests" / "pipelines" / "kafka" / "pom.xml"
    if not library.is_dir() or library.stat().st_mtime < wanted.stat().st_mtime:
        shutil.rmtree(library, ignore_errors=True)
        subprocess.run(commands(PAGE, "A broker on this machine")[0], shell=True, cwd=ROOT, check=True)
        os.utime(library)


@pytest.fixture(scope="module")
def addresses(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker and an expansion service: what the page's addresses are here."""
    directory = tmp_path_factory.mktemp("kafka")
    broker, controller, expansion_service = free_addresses(3)
    _, form, serve, expand, _ = commands(PAGE, "A broker on this machine")
    properties = ROOT / "tests" / "pipelines" / "kafka" / "server.properties"
    here = {"localhost:9092": broker, "localhost:9093": controller, ".cache/kafka/data": str(directory / "data")}
    text = properties.read_text()
    for usual, actual in here.items():
        assert usual in text
        text = text.replace(usual, actual)
    (directory / "server.properties").write_text(text)
    replaced = {str(properties.relative_to(ROOT)): str(directory / "server.properties")}
    subprocess.run(shell(form, replaced), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    expand = shell(expand, {"8095": expansion_service.partition(":")[2]})
    with (
        started(shell(serve, replaced), environment=os.environ, log=directory / "broker.log"),
        started(expand, environment=os.environ, log=directory / "expansion.log"),
    ):
        for address in (broker, expansion_service):
            wait_until(lambda address=address: listens(address), f"{address} listens")
        yield {"localhost:9092": broker, "localhost:8095": expansion_service}


@contextmanager
def producer(addresses: dict[str, str], log: Path, topic: str = "readings") -> Iterator[TextIO]:
    """What is typed into the page's console producer."""
    command = shell(
        commands(PAGE, "A broker on this machine")[-1], {**addresses, "--topic readings": f"--topic {topic}"}
    )
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True) as process,
    ):
        try:
            assert process.stdin
            yield process.stdin
        finally:
            process.kill()


def send(keyboard: TextIO, message: dict | str, key: str = "key") -> None:
    keyboard.write(f"{key}\t{message if isinstance(message, str) else json.dumps(message)}\n")
    keyboard.flush()


def test_messages_are_in_the_table_within_seconds(addresses: dict[str, str], zerobus: Emulator, tmp_path: Path) -> None:
    table = zerobus.create_table(TABLE, "device STRING NOT NULL, co2 INT")
    letters = tmp_path / "letters"
    prism = go_program("go/cmd/prism", "prism")
    here = {"dead-letters/readings": str(letters), "$HOME/go/bin/prism": str(prism), **addresses}
    command = shell(commands(PAGE, "Kafka")[0], here)
    environment = zerobus_environment(zerobus)

    def devices() -> set[str]:
        return set(table.to_arrow()["device"].to_pylist())

    with producer(addresses, tmp_path / "producer.log") as keyboard:
        send(keyboard, {"device": "before", "co2": 1})
        with started(command, environment=environment, log=tmp_path / "pipeline.log") as pipeline:
            wait_until(lambda: devices() or pipeline.poll() is not None, "the first message is in the table")
            assert pipeline.poll() is None, (tmp_path / "pipeline.log").read_text()[-4000:]
            took = []
            for number in range(10):
                sent = time.monotonic()
                send(keyboard, "NULL", key="tombstone")
                send(keyboard, {"device": f"device {number}", "co2": number})
                wait_until(lambda number=number: f"device {number}" in devices(), "a message is in the table")
                took.append(time.monotonic() - sent)
            assert median(took) < SECONDS, took
            send(keyboard, {"co2": 417})
            send(keyboard, "no JSON")
            wait_until(lambda: len(kept(letters)) == 2, "rejected messages are kept")
            send(keyboard, {"device": "after", "co2": None})
            wait_until(lambda: "after" in devices(), "messages go on")
            pipeline.send_signal(signal.SIGINT)
            pipeline.wait(60)
    assert sorted(zip(*table.to_arrow().to_pydict().values(), strict=True)) == [
        ("after", None),
        ("before", 1),
        *((f"device {number}", number) for number in range(10)),
    ]
    assert {letter["element"]: letter["error_type"] for letter in kept(letters)} == {
        '{"co2": 417}': "null_in_not_null_column",
        "no JSON": "invalid_json",
    }
    log = (tmp_path / "pipeline.log").read_text()
    assert pipeline.returncode == 130, log
    counted = re.search(r"At least (\d+) rows stay in the table", log)
    assert counted is not None, log
    assert counted[1] in ("11", "12")  # the last row may be in the table before its acknowledgement is counted
    assert "Interrupted" in log
    assert "may still run" not in log
    assert "Traceback" not in log


def test_each_topic_goes_into_its_table(addresses: dict[str, str], zerobus: Emulator, tmp_path: Path) -> None:
    topics = {"air": "main.iot.air", "orders.v1": "main.iot.orders_v1"}
    tables = {topic: zerobus.create_table(table, "device STRING NOT NULL") for topic, table in topics.items()}
    letters = tmp_path / "letters"
    here = {
        "dead-letters/readings": str(letters),
        "$HOME/go/bin/prism": str(go_program("go/cmd/prism", "prism")),
        "--topic readings": f"--topic {' '.join(topics)}",
        TABLE: "'main.iot.{topic}'",
        **addresses,
    }
    with ExitStack() as running:
        for topic in topics:
            keyboard = running.enter_context(producer(addresses, tmp_path / f"{topic}.log", topic))
            send(keyboard, {"device": f"of {topic}"})
            send(keyboard, {"device": None})
        command = shell(commands(PAGE, "Kafka")[0], here)
        log = tmp_path / "pipeline.log"
        pipeline = running.enter_context(started(command, environment=zerobus_environment(zerobus), log=log))

        def complete() -> bool:
            written = all(table.count_rows() for table in tables.values())
            return written and all(kept(letters / table) for table in topics.values())

        wait_until(lambda: complete() or pipeline.poll() is not None, "each topic is in its table", timeout=240.0)
        assert pipeline.poll() is None, log.read_text()[-4000:]
        pipeline.send_signal(signal.SIGINT)
        pipeline.wait(60)
    for topic, table in tables.items():
        assert table.to_arrow()["device"].to_pylist() == [f"of {topic}"]
        assert [letter["table"] for letter in kept(letters / topics[topic])] == [topics[topic]]


def kept(directory: Path) -> list[dict]:
    return [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_without_an_expansion_service_the_reason_is_said(zerobus: Emulator, tmp_path: Path) -> None:
    zerobus.create_table(TABLE, "device STRING NOT NULL, co2 INT")
    [nobody] = free_addresses(1)
    command = shell(commands(PAGE, "Kafka")[0], {"localhost:8095": nobody, "dead-letters/readings": str(tmp_path)})
    environment = zerobus_environment(zerobus)
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert f"{nobody} does not answer" in ended.stderr
    assert "--expansion_service" in ended.stderr


def test_help_names_the_options_of_the_program_and_of_the_sink() -> None:
    shown = subprocess.check_output([sys.executable, "-m", "pipelines.kafka_to_zerobus", "--help"], cwd=ROOT, text=True)
    assert all(option in shown for option in ("--bootstrap_servers", "--dead_letters", "--zerobus_table", "--runner"))
