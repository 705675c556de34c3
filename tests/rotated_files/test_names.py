import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.rotated_files.names import Name, Rotation, file_base

SUFFIXES = (".arrow", ".rejects.jsonl")
WINDOWS_REJECTS = set('<>:"/\\|?*') | {chr(code) for code in range(32)}


@given(st.lists(st.floats(min_value=-1e9, max_value=2e10), min_size=2, max_size=50))
def test_rotations_grow_whatever_the_clock_says(clock: list[float]) -> None:
    rotations: list[Rotation] = []
    for now in clock:
        rotations.append(Rotation.following(rotations[-1] if rotations else None, now))
    texts = [str(rotation) for rotation in rotations]
    assert rotations == sorted(set(rotations))
    assert texts == sorted(set(texts))


def test_a_sequence_that_is_used_up_goes_on_in_the_next_second() -> None:
    full = Rotation("20261231T235959Z", 999_999)
    assert str(Rotation.following(full, 0.0)) == "20270101T000000Z-000001"


@given(st.text(min_size=1, max_size=300), st.none() | st.text(min_size=1, max_size=300))
def test_any_table_and_shard_make_a_name_for_every_system(table: str, shard: str | None) -> None:
    name = Name(file_base(table, shard), Rotation("20261231T235959Z", 1), ".arrow")
    assert not WINDOWS_REJECTS & set(str(name))
    assert len(str(name)) < 255
    assert Name.parse(str(name), SUFFIXES) == name
    current = Name(name.base, None, ".arrow")
    assert Name.parse(str(current), SUFFIXES) == current


def test_table_and_shard_are_in_the_name_as_they_are() -> None:
    assert file_base("main.iot.air_quality", None) == "main.iot.air_quality"
    assert file_base("main.iot.air_quality", "host.local-12-0") == "main.iot.air_quality-host.local-12-0"


@pytest.mark.parametrize("text", ["", ".arrow", "readme.txt", ".a.lock", "a.b.c.arrow.bak", "a.b.c.proto"])
def test_other_names_are_not_parsed(text: str) -> None:
    assert Name.parse(text, SUFFIXES) is None
