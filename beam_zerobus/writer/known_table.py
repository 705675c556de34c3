"""`KnownTable`: what is known about a table, kept while its writer is closed and opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from beam_zerobus.telemetry import Recorder, open_recorder
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.current_conversion import CurrentConversion

__all__ = ["KnownTable"]


@dataclass(frozen=True, slots=True, eq=False)
class KnownTable:
    """A table's telemetry, token and schema; the last two are fetched when they are first needed.

    Attributes:
        key: The key of the configuration that they were made for.
        recorder: Where metrics and spans go.
        tokens: What signs streams in.
        current_conversion: The conversion for the table's schema.
    """

    key: str
    recorder: Recorder
    tokens: TokenSource
    current_conversion: CurrentConversion

    @classmethod
    def of(cls, config: WriterConfig, *, name_in_metrics: str = "") -> Self:
        """Return a table of which neither token nor schema is known yet.

        Args:
            config: The configuration of the table's writers.
            name_in_metrics: What metrics call the table; empty for its name.
        """
        recorder = open_recorder(
            config.telemetry, table=config.table, wire_format=config.wire_format, name_in_metrics=name_in_metrics
        )
        tokens = TokenSource(
            config.credentials,
            table=config.table,
            endpoint=config.endpoint or "",
            workspace_url=config.workspace_url,
            on_refresh=recorder.token_refreshed,
        )
        return cls(config.key, recorder, tokens, CurrentConversion(config, tokens))
