"""The types of pandas' nulls, by name: pandas need not be installed."""

from __future__ import annotations

__all__ = ["MISSING_TYPES"]

MISSING_TYPES = frozenset({"NaTType", "NAType"})
"""Names of the types of ``pd.NaT`` and ``pd.NA``."""
