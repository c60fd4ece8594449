"""The clinic's notes: which one belongs to a session follows from times, whatever came first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from needletrail_gateway.core.notes import (
    NOTE_GOOD_MS,
    Noted,
    Notes,
    OverrideNote,
    StockNote,
    TreatmentNote,
    body_of,
)

CLIENT = "c-0a1b2c3d"


def noted(entry: int, at_utc_ms: int, **more: Any) -> Noted:
    fields = {"who": "desk", "practitioner": "est-01", "client": CLIENT} | more
    return Noted(entry, TreatmentNote(at_utc_ms=at_utc_ms, **fields))


def entry_of(notes: Notes, utc_ms: int | None, practitioner: str | None = "est-01") -> int | None:
    found = notes.find("pen-01-1-1", practitioner, utc_ms)
    return None if found is None else found.entry


def test_the_newest_note_before_the_session_counts() -> None:
    notes = Notes([noted(1, 1_000), noted(2, 5_000)])
    assert [entry_of(notes, utc_ms) for utc_ms in (999, 1_000, 4_999, 5_000)] == [None, 1, 1, 2]


def test_a_note_is_good_for_four_hours() -> None:
    notes = Notes([noted(1, 1_000)])
    assert entry_of(notes, 1_000 + NOTE_GOOD_MS) == 1
    assert entry_of(notes, 1_001 + NOTE_GOOD_MS) is None


def test_of_two_at_the_same_time_the_later_entry_counts() -> None:
    assert entry_of(Notes([noted(7, 1_000), noted(3, 1_000)]), 2_000) == 7


def test_another_practitioner_s_note_is_none() -> None:
    notes = Notes([noted(1, 1_000, practitioner="md-01")])
    assert entry_of(notes, 2_000) is None
    assert entry_of(notes, 2_000, "md-01") == 1
    assert entry_of(notes, 2_000, None) is None
    assert entry_of(notes, None, "md-01") is None


def test_a_note_that_names_its_session_counts_first_and_for_no_other() -> None:
    notes = Notes([noted(1, 1_000), noted(2, 9_000, session="pen-01-1-1")])
    assert entry_of(notes, 2_000) == 2
    assert entry_of(notes, None) == 2
    other = notes.find("pen-01-1-2", "est-01", 9_500)
    assert other is not None
    assert other.entry == 1
    notes.add(noted(5, 9_000, session="pen-01-1-1"))
    notes.add(noted(4, 9_000, session="pen-01-1-1"))
    assert entry_of(notes, 2_000) == 5


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=12), st.randoms())
def test_the_order_of_arrival_changes_nothing(rows: list[tuple[int, bool]], chance: Any) -> None:
    all_notes = [
        noted(entry, at, session="pen-01-1-1" if is_named else None)
        for entry, (at, is_named) in enumerate(rows, 1)
    ]
    shuffled = all_notes[:]
    chance.shuffle(shuffled)
    for utc_ms in range(52):
        assert entry_of(Notes(all_notes), utc_ms) == entry_of(Notes(shuffled), utc_ms)


@pytest.mark.parametrize(
    "client", ["Jane Doe", "c-jane", "C-0A1B2C3D", "c-0a1b2c3d ", "0a1b2c3d", "c-" + "a" * 33, "", 7]
)
def test_only_pseudonyms_name_clients(client: object) -> None:
    with pytest.raises(ValidationError, match="pseudonym"):
        noted(1, 0, client=client)


@pytest.mark.parametrize(
    "wrong",
    [{"screening": {"Rosacea!": True}}, {"used": {"cream": -1}}, {"mood": "good"}, {"area": "A b"}],
)
def test_a_note_with_something_else_in_it_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        noted(1, 0, **wrong)


def test_what_an_entry_says_is_read_back() -> None:
    notes = [
        noted(1, 5, screening={"rosacea": False}, prevented=("cold-sores",), used={"cream": 1}).note,
        OverrideNote(who="md-01", session="pen-01-1-1", code="DURATION_LONG", why="two areas"),
        StockNote(who="desk", why="dropped", consumable="cream", change=-1, cause="discarded"),
    ]
    for note in notes:
        assert type(note).model_validate(body_of(note)) == note
