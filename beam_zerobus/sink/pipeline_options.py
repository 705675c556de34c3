"""`ZerobusOptions`: the sink's settings as flags of a pipeline, from ``--zerobus_table`` on.

Every flag has the prefix, because Beam parses the flags of all option classes with one parser, those of runners and of
the pipeline itself among them. After the prefix a setting has the name that it has in Beam YAML.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, get_args

from apache_beam.options.pipeline_options import PipelineOptions

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import ArrowCompression, Batching, OnBadRows, Retry, WireFormat
from beam_zerobus.sink import WriteToZerobus
from beam_zerobus.sink.flat_options import flat_sink

__all__ = ["ZerobusOptions"]

_PREFIX = "zerobus_"


def _truth(text: str) -> bool:
    """Read true or false; templates give every flag a value."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _flag(help_text: str, **parsing: Any) -> dict[str, Any]:
    return {"help": help_text, **parsing}


def _switch(help_text: str) -> dict[str, Any]:
    return _flag(help_text, type=_truth, nargs="?", const=True, metavar="true|false")


_BATCHING, _RETRY = Batching(), Retry()
_FLAGS = {
    "table": _flag("The table, catalog.schema.table. It must exist."),
    "endpoint": _flag("URL of the Zerobus service; else ZEROBUS_ENDPOINT where the pipeline is launched."),
    "workspace_url": _flag("URL of the workspace; else DATABRICKS_HOST where the pipeline is launched."),
    "client_id_env": _flag("Variable of the worker's environment with the client id (DATABRICKS_CLIENT_ID)."),
    "client_secret_env": _flag("Variable of it with the client secret (DATABRICKS_CLIENT_SECRET)."),
    "client_id_gcp_secret": _flag("The client id in Secret Manager: projects/P/secrets/S/versions/V."),
    "client_secret_gcp_secret": _flag("The client secret in Secret Manager: projects/P/secrets/S/versions/V."),
    "schema": _flag("The table's schema as DDL (id BIGINT NOT NULL, name STRING), or unity_catalog to fetch it."),
    "wire_format": _flag("Format of the rows in a call (proto).", choices=get_args(WireFormat)),
    "arrow_compression": _flag("Compression for wire format arrow (none).", choices=get_args(ArrowCompression)),
    "on_bad_rows": _flag(
        "Whether a rejected row fails its bundle or becomes a dead letter.", choices=get_args(OnBadRows)
    ),
    "ignore_unknown_fields": _switch("Drop fields that the table does not have, in place of rejecting the row."),
    "streams_per_worker": _flag("Streams that each worker process opens (1).", type=int),
    "batch_max_rows": _flag(f"Rows of a batch at most ({_BATCHING.max_rows}).", type=int),
    "batch_max_bytes": _flag(f"Bytes of a batch at most, approximately ({_BATCHING.max_bytes}).", type=int),
    "batch_max_delay": _flag("Seconds that a row waits for its batch to fill at most (no limit).", type=float),
    "batch_across_bundles": _switch("Collect rows over bundles, for streams of tiny bundles; costs a shuffle."),
    "max_retries": _flag(f"Retries of a failing service before the bundle fails ({_RETRY.max_retries}).", type=int),
    "initial_backoff": _flag(
        f"Seconds of the first wait between retries, at most ({_RETRY.initial_backoff}).", type=float
    ),
    "max_backoff": _flag(f"Seconds of any wait between retries, at most ({_RETRY.max_backoff}).", type=float),
    "debug_dir": _flag("Directory of the worker, or of a Beam filesystem, for files of all that is sent."),
    "debug_write_every": _flag("Write every n-th batch to those files (1).", type=int),
    "telemetry_endpoint": _flag("URL of an OTLP receiver for metrics and traces."),
    "telemetry_protocol": _flag("The receiver's protocol (grpc).", choices=("grpc", "http/protobuf")),
    "telemetry_service_name": _flag("The service.name of metrics and traces (beam_zerobus)."),
    "dry_run": _switch("Convert and check rows, send nothing; needs a schema, but no credentials."),
}


class ZerobusOptions(PipelineOptions):
    """Flags that `sink` makes a `WriteToZerobus` from.

    No flag holds a secret, because runners show options to everybody: the worker reads the client's id and secret from
    its environment, or from Google Cloud Secret Manager where a flag names a version of a secret there.

    Example:
        >>> options = PipelineOptions(["--zerobus_table=main.iot.air", "--zerobus_schema=co2 INT", "--zerobus_dry_run"])
        >>> with beam.Pipeline(options=options) as pipeline:
        ...     result = pipeline | beam.Create([{"co2": 417}]) | options.view_as(ZerobusOptions).sink()
    """

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for name, parsing in _FLAGS.items():
            parser.add_argument(f"--{_PREFIX}{name}", **parsing)

    def sink(self, **defaults: Any) -> WriteToZerobus:
        """Make the sink that the flags describe.

        Args:
            defaults: Settings for which no flag is given, by the flags' names without the prefix.

        Raises:
            ConfigurationError: A flag is wrong, unknown or missing; the message names it and the remedy.

        Example:
            >>> options = PipelineOptions(["--zerobus_table=main.iot.air", "--zerobus_dry_run"])
            >>> sink = options.view_as(ZerobusOptions).sink(on_bad_rows="dead_letter")
        """
        self._reject_unknown_flags()
        given = {name: value for name in _FLAGS if (value := getattr(self, f"{_PREFIX}{name}")) is not None}
        settings = {**defaults, **given}
        if settings.get("table") is None:
            raise ConfigurationError("--zerobus_table is not set: name the table as catalog.schema.table")
        try:
            return flat_sink(**settings)
        except ConfigurationError as error:
            raise ConfigurationError(f"In the --{_PREFIX}* flags: {error}") from error

    def _reject_unknown_flags(self) -> None:
        """Reject what begins as one of these flags and is none; Beam only warns, and is silent on a wrong dash."""
        given = sys.argv[1:] if self._flags is None else self._flags
        for flag in (argument.partition("=")[0] for argument in given):
            known = [f"--{_PREFIX}{name}" for name in _FLAGS]
            if flag.replace("-", "_").startswith(f"__{_PREFIX}") and flag not in known:
                close = difflib.get_close_matches(flag, known, n=1)
                remedy = f"did you mean {close[0]}?" if close else "see --help for the flags"
                raise ConfigurationError(f"There is no flag {flag}: {remedy}")
