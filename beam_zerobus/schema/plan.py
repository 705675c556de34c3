"""Plans how the columns of an incoming schema are converted to the types of a table, nested ones included.

A plan is made once for each incoming schema. It matches names without regard to case, as Delta does, and combines the
casts of `casts/` along structs, lists and maps. A column that needs no check and no conversion has no cast.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beam_zerobus.schema.arrow import canonical_type, is_list
from beam_zerobus.schema.casts import Cast, UnfitError, leaf_cast
from beam_zerobus.schema.casts.base import from_views
from beam_zerobus.schema.casts.text import uuid_text
from beam_zerobus.schema.lists import inside_lists, repeated_keys, shown_children
from beam_zerobus.schema.reasons import Faults, Place, Reason, RowErrorType
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.types import Array, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.unknown_fields import IgnoreUnknown, remedy_for_unknown

__all__ = ["Planner", "Step", "empty_result"]


@dataclass(frozen=True, slots=True)
class Step:
    """The source and conversion of one field of the table.

    Attributes:
        field: The table's field.
        source: The position of the incoming field; None if it is missing and filled with nulls.
        cast: Checks and converts it; None if it is used as it is.
    """

    field: Field
    source: int | None
    cast: Cast | None

    def nulls(self, length: int) -> pa.Array:
        """Return the values of a field that is missing from the batch."""
        return pa.nulls(length, canonical_type(self.field.type))


@dataclass(slots=True)
class Planner:
    """Plans columns and collects all problems, so that one error can name them all.

    Attributes:
        ignore_unknown_fields: Leave out fields that the table does not have, instead of reporting a problem; with
            ``"nulls"`` only those of type null.
        times: How timestamps without a time zone or a unit are read.
        names_options: Problems name the options of sink and writer that would help.
        names_arrow_types: Problems of unknown columns name their Arrow types.
        problems: What does not fit, one sentence each, with the `error_type` that a single row would have.
    """

    ignore_unknown_fields: IgnoreUnknown
    times: TimeRules
    names_options: bool = True
    names_arrow_types: bool = True
    problems: list[Reason] = field(default_factory=list)

    def steps(self, incoming: Sequence[pa.Field], wanted: tuple[Field, ...], parent: str) -> tuple[Step, ...]:
        """Match fields by name and plan each.

        Args:
            incoming: The fields of the batch, or of a struct in it.
            wanted: The table's fields.
            parent: The path of the struct; empty for columns.

        Returns:
            One step for each wanted field, in their order.
        """
        prefix = f"{parent}." if parent else ""
        sources = self._sources(incoming, wanted, prefix)
        steps = []
        for delta_field in wanted:
            path = prefix + delta_field.name
            source = sources.get(delta_field.name)
            if source is not None:
                cast = self.cast(incoming[source].type, delta_field.type, path, nullable=delta_field.nullable)
                steps.append(Step(delta_field, source, cast))
            else:
                steps.append(Step(delta_field, None, None))
                if not delta_field.nullable:
                    self._report(
                        f"column {path!r} ({delta_field.type}) is NOT NULL in the table and missing from the batch; "
                        "add it",
                        RowErrorType.NULL_IN_NOT_NULL_COLUMN,
                    )
        return tuple(steps)

    def _sources(self, incoming: Sequence[pa.Field], wanted: tuple[Field, ...], prefix: str) -> dict[str, int]:
        by_lower_name = {delta_field.name.lower(): delta_field.name for delta_field in wanted}
        sources: dict[str, int] = {}
        for index, arrow_field in enumerate(incoming):
            name = by_lower_name.get(arrow_field.name.lower())
            path = prefix + arrow_field.name
            if name is None:
                is_ignored = self.ignore_unknown_fields is True or pa.types.is_null(arrow_field.type)
                if not self.ignore_unknown_fields or not is_ignored:
                    self._report(self._unknown(path, arrow_field, by_lower_name), RowErrorType.UNKNOWN_FIELD)
            elif name in sources:
                self._report(
                    f"columns {prefix + incoming[sources[name]].name!r} and {path!r} both match the table's {name!r}, "
                    "since Delta ignores case; drop one of them",
                    RowErrorType.UNKNOWN_FIELD,  # as of a single row
                )
            else:
                sources[name] = index
        return sources

    def _report(self, problem: str, error_type: RowErrorType = RowErrorType.WRONG_TYPE) -> None:
        self.problems.append(Reason(error_type, problem))

    def _unknown(self, path: str, arrow_field: pa.Field, known: dict[str, str]) -> str:
        close = difflib.get_close_matches(arrow_field.name.lower(), known, n=1)
        hint = f" (did you mean {known[close[0]]!r}?)" if close else ""
        others = remedy_for_unknown(self.ignore_unknown_fields) if self.names_options else "or add it to the table"
        of_type = f"; it has Arrow type {arrow_field.type}" if self.names_arrow_types else ""
        return f"column {path!r} is not in the table{hint}{of_type}; leave it out, {others}"

    def cast(self, arrow_type: pa.DataType, delta_type: DeltaType, path: str, *, nullable: bool) -> Cast | None:
        """Plan one column; add to the problems if its type does not fit."""
        if nullable:
            return self._any(arrow_type, delta_type, path)
        reason = Reason(
            RowErrorType.NULL_IN_NOT_NULL_COLUMN,
            f"column {path!r} ({delta_type}) is NOT NULL and null in the row (Arrow type {arrow_type}); "
            "give it a value, or drop NOT NULL from the table's column",
        )
        inner = self._any(arrow_type, delta_type, path)

        def check(array: pa.Array, place: Place) -> pa.Array:
            converted = array if inner is None else inner(array, place)
            if converted.null_count:
                place.reject(_is_null(converted), reason)
            return converted

        return check

    def _any(self, arrow_type: pa.DataType, delta_type: DeltaType, path: str) -> Cast | None:
        """Unwrap dictionaries, run-end encoding and extension types, then plan the type itself."""
        if pa.types.is_null(arrow_type):
            return lambda array, _: pa.nulls(len(array), canonical_type(delta_type))
        if isinstance(arrow_type, pa.BaseExtensionType):
            return self._extension(arrow_type, delta_type, path)
        if pa.types.is_dictionary(arrow_type):
            inner = self._any(_roomy(arrow_type.value_type), delta_type, path)
            return lambda array, place: _through(inner, _decoded(array), place)
        if pa.types.is_run_end_encoded(arrow_type):
            inner = self._any(_roomy(arrow_type.value_type), delta_type, path)
            return lambda array, place: _through(inner, _repeated(array), place)
        return self._plain(arrow_type, delta_type, path)

    def _extension(self, arrow_type: pa.BaseExtensionType, delta_type: DeltaType, path: str) -> Cast | None:
        if arrow_type.extension_name == "arrow.bool8":
            inner = self._any(pa.bool_(), delta_type, path)
            return lambda array, place: _through(inner, array.storage.cast(pa.bool_()), place)
        if arrow_type.extension_name == "arrow.uuid" and delta_type is Primitive.STRING:
            return lambda array, _: uuid_text(array.storage)
        inner = self._any(arrow_type.storage_type, delta_type, path)
        return lambda array, place: _through(inner, array.storage, place)

    def _plain(self, arrow_type: pa.DataType, delta_type: DeltaType, path: str) -> Cast | None:
        try:
            if isinstance(delta_type, Struct):
                if not pa.types.is_struct(arrow_type):
                    raise UnfitError("only Arrow's struct fits; convert it to a struct, or change the table's column")
                return self._struct(arrow_type, delta_type, path)
            if isinstance(delta_type, Array):
                if not is_list(arrow_type):
                    raise UnfitError("only Arrow's lists fit; convert it to a list, or change the table's column")
                return self._list(arrow_type, delta_type, path)
            if isinstance(delta_type, Map):
                if not pa.types.is_map(arrow_type):
                    raise UnfitError("only Arrow's map fits; cast the column to a map, or change the table's column")
                return self._map(arrow_type, delta_type, path)
            return leaf_cast(arrow_type, delta_type, path, self.times)
        except UnfitError as unfit:
            self._report(
                f"column {path!r} is {delta_type} and does not accept Arrow type {arrow_type}: "
                f"{unfit.text(with_options=self.names_options)}"
            )
            return None

    def _struct(self, arrow_type: pa.StructType, delta_type: Struct, path: str) -> Cast | None:
        incoming = list(arrow_type)
        steps = self.steps(incoming, delta_type.fields, path)
        in_order = [arrow_field.name for arrow_field in incoming] == [step.field.name for step in steps]
        if in_order and not any(step.cast for step in steps):
            return None

        def cast(array: pa.Array, place: Place) -> pa.Array:
            inside = place.inside(lambda positions: positions[~_is_null(array)[positions]])
            changed, children = not in_order, []
            for step in steps:
                child = step.nulls(len(array)) if step.source is None else array.field(step.source)
                converted = _through(step.cast, child, inside)
                changed = changed or converted is not child
                children.append(converted)
            if not changed:
                return array
            fields = [pa.field(step.field.name, child.type) for step, child in zip(steps, children, strict=True)]
            return pa.StructArray.from_arrays(children, fields=fields, mask=_null_mask(array))

        return cast

    def _list(self, arrow_type: pa.DataType, delta_type: Array, path: str) -> Cast | None:
        types = pa.types
        is_canonical = types.is_list(arrow_type) or types.is_large_list(arrow_type)
        is_large = types.is_large_list(arrow_type) or types.is_large_list_view(arrow_type)
        of_element = self.cast(
            arrow_type.value_type, delta_type.element, f"{path}.element", nullable=delta_type.contains_null
        )
        if is_canonical and of_element is None:
            return None
        make, width = (pa.LargeListArray, np.int64) if is_large else (pa.ListArray, np.int32)

        def cast(array: pa.Array, place: Place) -> pa.Array:
            offsets, elements = _list_parts(array)
            converted = _through(of_element, elements, inside_lists(place, array, offsets))
            if is_canonical and converted is elements:
                return array
            return make.from_arrays(pa.array(offsets.astype(width)), converted, mask=_null_mask(array))

        return cast

    def _map(self, arrow_type: pa.MapType, delta_type: Map, path: str) -> Cast:
        of_key = self.cast(arrow_type.key_type, delta_type.key, f"{path}.key", nullable=False)
        of_value = self.cast(
            arrow_type.item_type, delta_type.value, f"{path}.value", nullable=delta_type.value_contains_null
        )
        repeated = Reason(
            RowErrorType.DUPLICATE_KEY,
            f"column {path!r} is {delta_type}: a map in the row has the same key twice; drop one of its entries",
        )

        def cast(array: pa.Array, place: Place) -> pa.Array:
            offsets, first, count = shown_children(array)
            keys, values = array.keys.slice(first, count), array.items.slice(first, count)
            inside = inside_lists(place, array, offsets)
            new_keys, new_values = _through(of_key, keys, inside), _through(of_value, values, inside)
            inside.reject_at(repeated_keys(new_keys, offsets), repeated)
            if new_keys is keys and new_values is values:
                return array
            if new_keys.null_count:
                # Arrow does not allow null keys: drop the entries, since their rows are rejected or hidden anyway.
                valid = new_keys.is_valid()
                new_keys, new_values = new_keys.filter(valid), new_values.filter(valid)
                offsets = np.concatenate(([0], np.cumsum(np.asarray(valid))))[offsets]
            return pa.MapArray.from_arrays(
                pa.array(offsets.astype(np.int32)), new_keys, new_values, mask=_null_mask(array)
            )

        return cast


def empty_result(step: Step, incoming: pa.DataType | None) -> pa.DataType:
    """Return the type of a step's result, by running it on an empty array."""
    if incoming is None:
        return canonical_type(step.field.type)
    return _through(step.cast, pa.nulls(0, incoming), Place(Faults())).type


def _through(cast: Cast | None, array: pa.Array, place: Place) -> pa.Array:
    return array if cast is None else cast(array, place)


def _is_null(array: pa.Array) -> np.ndarray:
    return np.asarray(array.is_null())


def _null_mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _roomy(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type of decoded text or bytes: above 2 GiB offsets of 32 bits overflow, which Arrow (25) ignores."""
    types = pa.types  # and views have no such kernels
    if types.is_string(arrow_type) or types.is_string_view(arrow_type):
        return pa.large_string()
    return pa.large_binary() if types.is_binary(arrow_type) or types.is_binary_view(arrow_type) else arrow_type


def _decoded(array: pa.DictionaryArray) -> pa.Array:
    roomy = _roomy(array.type.value_type)
    if roomy != array.type.value_type:
        array = pa.DictionaryArray.from_arrays(array.indices, from_views(array.dictionary).cast(roomy))
    return array.dictionary_decode()


def _repeated(array: pa.RunEndEncodedArray) -> pa.Array:
    """Decode run-end encoding of all types; Arrow's own kernel supports only some."""
    values = from_views(array.values).cast(_roomy(array.type.value_type))
    positions = np.arange(array.offset, array.offset + len(array))
    return values.take(pa.array(np.searchsorted(np.asarray(array.run_ends), positions, side="right")))


def _list_parts(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return the offsets, from 0, and the elements of any kind of list; null lists may hide elements."""
    types = pa.types
    if types.is_list(array.type) or types.is_large_list(array.type):
        offsets, first, count = shown_children(array)
        return offsets, array.values.slice(first, count)
    if types.is_fixed_size_list(array.type):
        size = array.type.list_size
        elements = array.values.slice(array.offset * size, len(array) * size)
        return np.arange(len(array) + 1) * size, elements
    # Views may overlap, in any order; pyarrow's own cast to list returns wrong values for slices of them.
    sizes = np.where(_is_null(array), 0, np.asarray(array.sizes))
    return np.concatenate(([0], np.cumsum(sizes))), array.flatten()
