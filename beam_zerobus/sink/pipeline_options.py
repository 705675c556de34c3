"""`ZerobusOptions`: the sink's options as flags of a pipeline, from ``--zerobus_table`` on.

Every flag has the prefix, because Beam parses the flags of all option classes with one parser, those of runners and of
the pipeline itself among them. After the prefix an option has the name that it has in Beam YAML.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.fields import Option
from beam_zerobus.options.wording import reworded
from beam_zerobus.sink.flat_options import FLAT_OPTIONS, flat_sink, in_flags
from beam_zerobus.sink.transform import WriteToZerobus, worded
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.workspace.remedies import credentials_with

__all__ = ["WHERE_SECRETS_ARE", "ZerobusOptions"]

_PREFIX = "zerobus_"
_FLAGS = {name: flat.option for name, flat in FLAT_OPTIONS.items() if flat.option.kind not in (Mapping, Sequence)}


def _parsing(option: Option) -> dict[str, Any]:
    """Return how argparse reads the flag of an option; its default is the sink's, so that the flag has none."""
    text = re.sub(r'[`"]', "", option.text).replace("%", "%%")
    if option.default is not None and option.default is not MISSING:
        text += f" Default: {str(option.default).lower() if option.kind is bool else option.default}."
    if option.kind is bool:
        return {"help": text, "type": _truth, "nargs": "?", "const": True, "metavar": "true|false"}
    if option.choices:
        return {"help": text, "choices": option.choices}
    return {"help": text, "type": option.kind}


def _truth(text: str) -> bool:
    """Read true or false; templates give every flag a value."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _resembles_prefix(flag: str) -> bool:
    """Return whether a flag begins with a misspelling of the prefix, such as ``--zerbus_``."""
    return bool(difflib.get_close_matches(re.split(r"[-_]", flag[2:])[0], [_PREFIX.rstrip("_")], cutoff=0.8))


WHERE_SECRETS_ARE = (
    "in the worker's environment, or name other variables with --zerobus_client_id_env and --zerobus_client_secret_env"
)
"""Where credentials can be, for users of these flags."""
_credentials = credentials_with(WHERE_SECRETS_ARE)


class ZerobusOptions(PipelineOptions):
    """Flags that `sink` makes a `WriteToZerobus` from.

    No flag holds a secret, because runners show options to everyone: the worker reads the client's id and secret from
    its environment, or from Google Cloud Secret Manager where a flag names a version of a secret there.

    Example:
        >>> import apache_beam as beam
        >>> options = PipelineOptions(["--zerobus_table=main.iot.air", "--zerobus_schema=co2 INT", "--zerobus_dry_run"])
        >>> with beam.Pipeline(options=options) as pipeline:
        ...     result = pipeline | beam.Create([{"co2": 417}]) | options.view_as(ZerobusOptions).sink()
    """

    def __init__(self, flags: Sequence[str] | None = None, **overrides: Any) -> None:
        given = None if flags is None or isinstance(flags, str) else list(flags)
        super().__init__(flags if given is None else given, **overrides)
        # Beam's class accepts no attributes but the values of flags.
        object.__setattr__(self, "_given", sys.argv[1:] if given is None else given)

    # Beam documents that subclasses override this method, in spite of its name.
    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for name, option in _FLAGS.items():
            parser.add_argument(f"--{_PREFIX}{name}", **_parsing(option))

    def sink(
        self,
        *,
        instead_of_table: str | None = None,
        credentials: Credentials | Callable[..., Credentials] = _credentials,
        **defaults: Any,
    ) -> WriteToZerobus:
        """Make the sink that the flags describe.

        Args:
            instead_of_table: The table, where ``--zerobus_table`` is a template for the program's tables.
            credentials: How to sign in, where no flag says it; or what makes them of what the flags say.
            defaults: Options for which no flag is given, by the flags' names without the prefix.

        Raises:
            ConfigurationError: A flag is wrong, unknown or missing; the message names it and the remedy.

        Example:
            >>> options = PipelineOptions(["--zerobus_table=main.iot.air", "--zerobus_dry_run"])
            >>> sink = options.view_as(ZerobusOptions).sink(on_bad_rows="dead_letter")
        """
        self._reject_unknown_flags()
        given = {name: value for name in _FLAGS if (value := getattr(self, f"{_PREFIX}{name}")) is not None}
        settings = {**defaults, **given}
        if instead_of_table is not None:
            settings["table"] = instead_of_table
        if settings.get("table") is None:
            raise ConfigurationError("--zerobus_table is not set: name the table as catalog.schema.table")
        with reworded(in_flags):
            return worded(flat_sink(credentials, **settings), in_flags)

    def _reject_unknown_flags(self) -> None:
        """Reject a misspelled flag of the sink; Beam only warns, and ignores dashes for underscores."""
        known = [f"--{_PREFIX}{name}" for name in _FLAGS]
        for argument in self._given:
            found = re.match(r"--[-\w]+", argument)  # the name only: a value may hold a secret
            flag = found[0] if found else ""
            is_meant = flag.replace("-", "_").startswith(f"__{_PREFIX}") or _resembles_prefix(flag)
            if is_meant and flag not in known:
                close = difflib.get_close_matches(flag, known, n=1)
                remedy = f"did you mean {close[0]}?" if close else "see --help for the flags"
                raise ConfigurationError(f"There is no flag {flag}: {remedy}")
