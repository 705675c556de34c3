"""`Conformer`: converts RecordBatches to a table's columns, and rejects the rows that do not fit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.schema.plan import Planner, Step, empty_result
from beam_zerobus.schema.reasons import Faults, Place
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown

__all__ = ["Conformed", "Conformer", "does_not_fit", "listed"]

_KEPT_PLANS = 16
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Conformed:
    """A RecordBatch that fits the table.

    Attributes:
        batch: The rows that fit, with the table's columns only, in the table's order and their canonical Arrow types.
        rows: The index of each of them in the incoming batch (int64, ascending); None if all were kept.
        rejected: The other rows, each with its reason, in order.
    """

    batch: pa.RecordBatch
    rows: np.ndarray | None
    rejected: Sequence[RowError]


@dataclass(frozen=True, slots=True)
class _Plan:
    incoming: pa.Schema
    outgoing: pa.Schema
    steps: tuple[Step, ...]
    in_order: bool


class Conformer:
    """Converts RecordBatches to a table's columns; thread-safe.

    Names match without regard to case, as in Delta. The result has the table's columns in the table's order, whatever
    the order in the batch, in structs too. A nullable column that is missing from the batch is filled with nulls.
    Values are never changed: a value that the table's type cannot hold exactly is rejected with its row. A batch that
    fits already is returned as it is, without a copy.

    Invariant: `_plans` is a tuple that is replaced as a whole under `_lock`, so that readers need no lock.

    Args:
        schema: The table.
        ignore_unknown_fields: Leave out columns and struct fields that the table does not have, instead of rejecting
            the batch; with ``"nulls"`` only those of type null.
        times: How timestamps without a time zone or a unit are read.
        names_options: Messages name the options of sink and writer that would help.
        names_arrow_types: Messages about unknown columns name their Arrow types, which those of text files do not have.

    Example:
        >>> conformer = Conformer(TableSchema.from_ddl("id TINYINT NOT NULL, name STRING"))
        >>> conformed = conformer.conform(pa.RecordBatch.from_pydict({"ID": [1, None, 1000]}))
        >>> conformed.batch.to_pylist(), conformed.rows.tolist()
        ([{'id': 1, 'name': None}], [0])
        >>> [error.error_type for error in conformed.rejected]
        ['null_in_not_null_column', 'out_of_range']
    """

    def __init__(
        self,
        schema: TableSchema,
        *,
        ignore_unknown_fields: IgnoreUnknown = False,
        times: TimeRules = TimeRules(),  # noqa: B008 - frozen
        names_options: bool = True,
        names_arrow_types: bool = True,
    ) -> None:
        self.schema = schema
        self._times = times
        self._names_options = names_options
        self._names_arrow_types = names_arrow_types
        self.ignore_unknown_fields = ignore_unknown_fields
        self._plans: tuple[_Plan, ...] = ()
        self._lock = threading.Lock()

    def conform(self, batch: pa.RecordBatch) -> Conformed:
        """Check a batch and convert it to the table's columns and types.

        Raises:
            ConversionError: A column does not fit as a whole: it is not in the table, has a type that does not fit, or
                is NOT NULL and missing. The message names all such columns and the remedies.
        """
        plan = self._plan(batch.schema)
        faults = Faults()
        fitted = _run(plan, batch, Place(faults))
        if not faults:
            return Conformed(fitted, None, ())
        kept = faults.kept(batch.num_rows)
        return Conformed(fitted.take(pa.array(kept)), kept, faults.row_errors("schema"))

    def _plan(self, incoming: pa.Schema) -> _Plan:
        for plan in self._plans:
            if plan.incoming.equals(incoming):
                return plan
        plan = self._new_plan(incoming)
        with self._lock:
            self._plans = (plan, *self._plans[: _KEPT_PLANS - 1])
        return plan

    def _new_plan(self, incoming: pa.Schema) -> _Plan:
        planner = Planner(self.ignore_unknown_fields, self._times, self._names_options, self._names_arrow_types)
        steps = planner.steps(list(incoming), self.schema.columns, "")
        if planner.problems:
            problem = listed([problem.message for problem in planner.problems])
            raise does_not_fit(problem).of_type(planner.problems[0].error_type.value)
        types = [_result_type(step, None if step.source is None else incoming[step.source].type) for step in steps]
        outgoing = pa.schema(
            pa.field(step.field.name, arrow_type, nullable=step.field.nullable)
            for step, arrow_type in zip(steps, types, strict=True)
        )
        return _Plan(incoming, outgoing, steps, incoming.names == outgoing.names)


def _run(plan: _Plan, batch: pa.RecordBatch, place: Place) -> pa.RecordBatch:
    columns: dict[int, pa.Array] = {}
    for index, step in enumerate(plan.steps):
        if step.cast is not None and step.source is not None:
            column = batch.column(step.source)
            try:
                converted = step.cast(column, place)
            except pa.ArrowNotImplementedError as error:
                raise _not_implemented(step, column.type, error) from error
            if converted is not column:
                columns[index] = converted
    if plan.in_order and not columns:
        return batch
    arrays = []
    for index, step in enumerate(plan.steps):
        converted = columns.get(index)
        if converted is None:
            converted = step.nulls(batch.num_rows) if step.source is None else batch.column(step.source)
        arrays.append(converted)
    return pa.RecordBatch.from_arrays(arrays, schema=plan.outgoing)


def _result_type(step: Step, incoming: pa.DataType | None) -> pa.DataType:
    try:
        return empty_result(step, incoming)
    except pa.ArrowNotImplementedError as error:
        raise _not_implemented(step, incoming, error) from error


def does_not_fit(problem: str) -> ConversionError:
    """Return the error for a batch that does not fit as a whole."""
    return ConversionError(problem).introduced_by("the batch does not fit: ")


def listed(problems: list[str]) -> str:
    """Return problems as one text, which names the first of many.

    Example:
        >>> listed(["column 'a' is wrong", "column 'b' is wrong"])
        "column 'a' is wrong; column 'b' is wrong"
    """
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + more


def _not_implemented(step: Step, arrow_type: pa.DataType | None, error: pa.ArrowNotImplementedError) -> ConversionError:
    return ConversionError(
        f"column {step.field.name!r} has Arrow type {arrow_type}, which pyarrow {pa.__version__} cannot convert "
        f"({error}); cast the column to a plain type first"
    )
