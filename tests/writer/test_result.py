import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.encoding.take import take_rows


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.string_view(), pa.binary_view(), pa.dictionary(pa.int8(), pa.string())]
)
@pytest.mark.parametrize("as_table", [False, True])
def test_rows_of_every_type_can_be_taken(kind, as_table):
    @given(st.sets(st.integers(0, 19)))
    def taken_in_order(chosen):
        values = [f"v{n}".encode() if kind == pa.binary_view() else f"v{n}" for n in range(20)]
        batch = pa.record_batch({"a": pa.array(values, kind), "n": pa.array(range(20))})
        rows = pa.Table.from_batches([batch.slice(0, 7), batch.slice(7)]) if as_table else batch
        taken = take_rows(rows, sorted(chosen))
        assert type(taken) is type(rows)
        assert taken.schema == rows.schema
        assert taken.to_pydict() == {"a": [values[n] for n in sorted(chosen)], "n": sorted(chosen)}

    taken_in_order()
