"""The numbers that are read from JSON text with all their digits."""

from __future__ import annotations

import decimal

__all__ = ["JsonNumber"]


class JsonNumber(decimal.Decimal):
    """A number with a fraction, read from JSON: exact for DECIMAL, and a plain float for FLOAT and DOUBLE."""
