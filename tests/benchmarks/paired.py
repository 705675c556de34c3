"""Comparing things on a machine whose speed drifts: each run with the mean of its two neighbours, by the median."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

__all__ = ["between_neighbours", "median_interval", "paired_ratios"]

Measured = TypeVar("Measured")


def between_neighbours(
    base: Callable[[], Measured], others: Mapping[str, Callable[[], Measured]]
) -> Iterator[tuple[str, Measured, Measured, Measured]]:
    """Measure each of `others` once, in random order, each between two measurements of `base`.

    Yields:
        The name, and what was measured before, of it, and after it.
    """
    before = base()
    for name in random.sample(list(others), len(others)):
        own, after = others[name](), base()
        yield name, before, own, after
        before = after


def paired_ratios(
    base: Callable[[], object], others: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Time each of `others` once a round, between two runs of `base`, after a run that warms up.

    Returns:
        For each of `others` how much longer `base` took than it, one ratio a round; and the seconds of `base`.
    """
    for run in (base, *others.values()):
        run()
    ratios: dict[str, list[float]] = {name: [] for name in others}
    seconds: list[float] = []
    timed = {name: partial(_timed, run) for name, run in others.items()}
    for _ in range(rounds):
        for name, before, own, after in between_neighbours(partial(_timed, base), timed):
            ratios[name].append((before + after) / 2 / own)
            seconds.append(after)
    return ratios, seconds


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return the bounds between which the true median lies with a probability of 95%, whatever the distribution."""
    ordered, count = sorted(values), len(values)
    outside, tail = 0, 0.5**count
    while tail <= 0.025 and outside < count // 2:
        outside += 1
        tail += math.comb(count, outside) * 0.5**count
    first = max(outside - 1, 0)
    return ordered[first], ordered[-1 - first]
