"""Arrow's nested values as Python values, whatever Python's own types hold of what is inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["python_value"]


def python_value(
    scalar: pa.Scalar, leaf: Callable[[pa.Scalar], Any], from_pairs: Callable[[list[tuple[Any, Any]]], Any]
) -> Any:
    """Return a value of Arrow as a Python value.

    Args:
        scalar: The value.
        leaf: Converts a value that is not null and has no others inside.
        from_pairs: Makes a struct or map of its names or keys and their values, both converted.

    Example:
        >>> python_value(pa.scalar([{"a": 1, "b": None}]), lambda leaf: -leaf.as_py(), dict)
        [{'a': -1, 'b': None}]
    """

    def converted(scalar: pa.Scalar) -> Any:
        if not scalar.is_valid:
            return None
        if isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar | pa.RunEndEncodedScalar):
            return converted(scalar.value)
        if isinstance(scalar, pa.StructScalar):
            return from_pairs([(name, converted(scalar[index])) for index, name in enumerate(scalar.type.names)])
        if isinstance(scalar, pa.MapScalar):
            return from_pairs([(converted(pair[0]), converted(pair[1])) for pair in scalar.values])
        if isinstance(scalar, pa.ListScalar):  # and its subclasses
            return [converted(inner) for inner in scalar.values]
        return leaf(scalar)

    return converted(scalar)
