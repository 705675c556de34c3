"""What the DoFns of the sink are told."""

from __future__ import annotations

from dataclasses import dataclass

from beam_zerobus.options import Batching
from beam_zerobus.writer.config import WriterConfig

__all__ = ["SinkSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Settings of one sink in a pipeline; they travel to the workers.

    Attributes:
        config: The writer's settings.
        batching: How elements become batches.
        dead_letters: Rejected rows go to `failed_rows`; otherwise they fail the bundle.
        namespace: The namespace of the metrics.
    """

    config: WriterConfig
    batching: Batching
    dead_letters: bool
    namespace: str
