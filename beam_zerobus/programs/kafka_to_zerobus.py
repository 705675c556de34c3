"""Send JSON messages of Kafka topics to a Delta table through Zerobus until it is stopped.

    beam-zerobus kafka --bootstrap_servers broker:9092 --topic readings \
        --zerobus_table main.iot.air_quality --dead_letters dead-letters

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.io.kafka import ReadFromKafka
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import PCollection
from rich.console import Console

from beam_zerobus.errors import ZerobusError
from beam_zerobus.options.flags import whole_number
from beam_zerobus.programs.command import (
    InputError,
    arguments_of,
    check_can_hold,
    complain,
    last_line,
    parser_of,
    quieten,
    sink_of,
)
from beam_zerobus.programs.progress import CountFailed, CountWritten, rows_that_stay, run_and_report
from beam_zerobus.programs.tables import letters_of, tables_of
from beam_zerobus.sink.dead_letters import KeepDeadLetters
from beam_zerobus.sink.pipeline_options import ZerobusOptions

__all__ = ["main"]

_MAX_DELAY = 1.0
_POLL_SECONDS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Send messages; return 0, 1 where rows or the pipeline failed, 2 for a wrong argument, 130 or 143 if stopped."""
    console = Console()
    quieten()
    try:
        kafka, options = arguments_of(_parser(), arguments, runner="PrismRunner")
        pipeline = _pipeline(kafka, options)
    except (InputError, ZerobusError) as error:
        complain("kafka", error)
        return 2
    zerobus = options.view_as(ZerobusOptions)
    console.print(
        f"Sending messages of {', '.join(kafka.topic)} to {zerobus.zerobus_table}; Ctrl-C stops it", highlight=False
    )
    return run_and_report(
        pipeline,
        console,
        dead_letters=kafka.dead_letters,
        dry_run=bool(zerobus.zerobus_dry_run),
        how_to_go_on=_from_the_checkpoint,
    )


def _from_the_checkpoint(written: int) -> str:
    return f"{rows_that_stay(written)}; the runner's checkpoint decides where the next run goes on."


def _pipeline(kafka: argparse.Namespace, options: PipelineOptions) -> beam.Pipeline:
    """Make the pipeline.

    Raises:
        InputError: Beam's Kafka source is not available, arguments contradict each other, or the directory for dead
            letters cannot be written to.
        ZerobusError: A setting of the sink is wrong.
    """
    if kafka.dead_letters:
        check_can_hold(kafka.dead_letters)
    topics = _topics_by_table(kafka, options.view_as(ZerobusOptions).zerobus_table)
    # A bundle may stay open for a long time; its rows must not wait for its end.
    sinks = {
        table: sink_of(
            options, dead_letters=kafka.dead_letters, profile=kafka.profile, table=table, batch_max_delay=_MAX_DELAY
        )
        for table in topics
    }
    options.view_as(StandardOptions).streaming = True
    pipeline = beam.Pipeline(options=options)
    for table, of_table in topics.items():
        name = "" if len(topics) == 1 else f" {table}"
        result = (
            _read(pipeline, kafka, of_table, name)
            | f"Values{name}" >> beam.Values()
            | f"Leave out tombstones{name}" >> beam.Filter(_is_message).with_output_types(bytes)
            | f"Write{name}" >> sinks[table]
        )
        result.acknowledged | f"CountWritten{name}" >> CountWritten()
        failed = result.failed_rows | f"CountFailed{name}" >> CountFailed()
        if kafka.dead_letters:
            letters = letters_of(kafka.dead_letters, table)
            failed | f"KeepDeadLetters{name}" >> KeepDeadLetters(letters)
    return pipeline


def _topics_by_table(kafka: argparse.Namespace, table: str | None) -> dict[str | None, list[str]]:
    """Return the topics of each table; None stands for the one of the flags."""
    if "{topic}" not in (table or ""):
        return {None: kafka.topic}
    return {name: [topic] for topic, name in tables_of(table or "", "topic", kafka.topic).items()}


def _read(
    pipeline: beam.Pipeline, kafka: argparse.Namespace, topics: list[str], name: str
) -> PCollection[tuple[bytes, bytes]]:
    if kafka.expansion_service is None and shutil.which("java") is None:
        raise InputError(
            "Beam's Kafka source is written in Java: put java on the PATH, "
            "or set --expansion_service to a running service"
        )
    source = ReadFromKafka(
        consumer_config={
            "bootstrap.servers": kafka.bootstrap_servers,
            "auto.offset.reset": kafka.start,
            **dict(kafka.consumer_property),
        },
        topics=topics,
        max_num_records=kafka.max_num_records,
        consumer_polling_timeout=_POLL_SECONDS,
        expansion_service=kafka.expansion_service,
    )
    try:
        return pipeline | f"Read Kafka{name}" >> source
    except (grpc.RpcError, RuntimeError) as error:
        reason = f"{kafka.expansion_service} does not answer" if isinstance(error, grpc.RpcError) else last_line(error)
        raise InputError(
            f"Beam's Kafka source is not available: {reason}. Start an expansion service as docs/pipelines.md "
            "describes, and set --expansion_service to its address"
        ) from error


def _is_message(value: Any) -> bool:
    return value is not None


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "kafka",
        "Send JSON messages of Kafka topics to a Delta table through Zerobus until it is stopped. "
        "With --zerobus_table 'main.iot.{topic}' each topic has a table of its own.",
    )
    parser.add_argument("--bootstrap_servers", required=True, metavar="HOST:PORT,...", help="bootstrap brokers")
    parser.add_argument("--topic", required=True, nargs="+", action="extend", help="topics whose messages are rows")
    parser.add_argument(
        "--start",
        default="earliest",
        choices=("earliest", "latest"),
        help="where to start reading without a checkpoint (%(default)s)",
    )
    parser.add_argument(
        "--consumer_property",
        nargs="+",
        action="extend",
        default=[],
        type=_property,
        metavar="NAME=VALUE",
        help="further settings of Kafka's consumer; they are visible in the job, so put no secret here",
    )
    parser.add_argument(
        "--max_num_records", type=whole_number(1), metavar="N", help="stop after N messages of each table (never)"
    )
    parser.add_argument(
        "--expansion_service",
        metavar="HOST:PORT",
        help="service that expands Beam's Kafka source (by default Beam downloads and starts its own, with Java)",
    )
    return parser


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE")
    return name, value
