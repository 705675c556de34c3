"""The options that only the sink has, and what its DoFns receive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from beam_zerobus.destinations import Destination, KeptFields
from beam_zerobus.options import Batching, OnBadRows
from beam_zerobus.options.fields import limits
from beam_zerobus.options.wording import Wording
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.writers_config import WritersConfig

__all__ = ["SinkOptions", "SinkSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """Options of `WriteToZerobus` beyond those of a writer; each field is the one declaration of its option.

    Attributes:
        batching: How many rows go out together, and how long they may wait for each other.
        on_bad_rows: ``"raise"`` fails the bundle with the count of rejected rows and the first reasons;
            ``"dead_letter"`` writes all other rows and sends the rejected ones to the output `failed_rows`.
        keep: Fields of an element that are written; None for all. The case of a name does not matter.
        drop: Fields of an element that are not written, such as those that only choose its table.
    """

    batching: Batching = Batching()  # noqa: RUF009 - frozen
    on_bad_rows: OnBadRows = field(default="raise", metadata=limits(flat="on_bad_rows"))
    keep: Sequence[str] | None = field(default=None, metadata=limits(flat="keep"))
    drop: Sequence[str] | None = field(default=None, metadata=limits(flat="drop"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Settings of one sink in a pipeline; they are sent to the workers.

    Attributes:
        config: The writer's options; of many tables, what they have in common.
        tables: The options of many tables; None for one.
        destination: What chooses the table of each row; None for one table.
        kept: The fields that are written; None for all.
        batching: How elements become batches.
        dead_letters: Rejected rows go to `failed_rows`; otherwise they fail the bundle.
        failures_together: An element of `failed_rows` is all that failed of a batch.
        namespace: The namespace of the metrics.
        note_written: Called with the `Origin.numbers_in_source` of the written rows of a batch as soon as it has its
            outcome, in the thread that delivers; None if nobody asks. It needs timestamps, and so `dead_letters`.
        wording: How errors name options; None for the names in Python.
    """

    config: WriterConfig
    tables: WritersConfig | None = None
    destination: Destination | None = None
    kept: KeptFields | None = None
    batching: Batching
    dead_letters: bool
    failures_together: bool = False
    namespace: str
    note_written: Callable[[np.ndarray], None] | None = None
    wording: Wording | None = None

    @property
    def max_tables_in_metrics(self) -> int | None:
        """How many tables of a process have metrics of their own; None for one table."""
        return None if self.tables is None else self.tables.options.max_tables_in_metrics
