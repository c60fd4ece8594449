"""The registry's history: any two states differ by changes, and each state is found again."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from needletrail_gateway.core.registry.changes import (
    Change,
    ChangeError,
    differences,
    lay_over,
    registry_of,
    state_of,
)
from needletrail_gateway.core.registry.history import History, Version
from needletrail_gateway.core.registry.model import Registry

PEN = {
    "model": "Trail 2",
    "cleared_class_ii": True,
    "label_max_mm": 2.5,
    "accuracy_mm": 0.15,
    "reading_tolerance_mm": 0.01,
    "calibration": [[0, 0.0], [4095, 2.5]],
}


def person(number: int, years: int) -> dict[str, Any]:
    return {
        "id": f"est-{number}",
        "name": f"Esthetician {number}",
        "credential": "esthetician",
        "license": f"E-{number}",
        "license_expires": f"{2026 + years}-01-31",
        "tier": "cosmetic",
    }


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """A small clinic."""
    people = draw(st.dictionaries(st.integers(1, 4), st.integers(0, 3)))
    pens = draw(st.dictionaries(st.integers(1, 3), st.sampled_from([1.5, 2.0, 2.5])))
    lots = draw(st.dictionaries(st.sampled_from(["A", "B C", "D"]), st.integers(0, 50)))
    return Registry.model_validate(
        {
            "clinic": {"id": "harbor", "name": draw(st.sampled_from(["A", "B"])), "policy": "default"},
            "practitioner": [person(number, years) for number, years in people.items()],
            "pen": [
                PEN | {"id": f"pen-{number}", "label_max_mm": most} for number, most in pens.items()
            ],
            "cartridge_product": [
                {
                    "gtin": "09506000134352",
                    "name": "12 needles",
                    "needle_max_mm": 2.5,
                    "sterile_single_use": True,
                }
            ],
            "cartridge_lot": [
                {"gtin": "09506000134352", "lot": lot, "received": count} for lot, count in lots.items()
            ],
        }
    )


def sorted_rows(registry: Registry) -> Any:
    return {section: dict(sorted(rows.items())) for section, rows in state_of(registry).items()}


@given(registries(), registries())
def test_a_state_and_the_differences_make_the_other_state(one: Registry, other: Registry) -> None:
    made = registry_of(lay_over(state_of(one), differences(one, other)))
    assert sorted_rows(made) == sorted_rows(other)


@given(registries(), registries())
def test_what_does_not_differ_is_no_change(one: Registry, other: Registry) -> None:
    assert differences(one, one) == []
    for change in differences(one, other):
        assert change.before != change.after


@settings(max_examples=30)
@given(st.lists(registries(), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_each_version_is_found_again_by_entry_and_by_time(states: list[Registry], chance: Any) -> None:
    history = History()
    entry, utc_ms = 0, 1_000
    known: list[tuple[int, int, Registry]] = []
    before = None
    for number in range(150):  # more than one stride
        state = states[number % len(states)]
        entry += chance.randint(1, 5)
        utc_ms += chance.randint(0, 50)
        version = Version(entry, utc_ms, "md-01", "test", tuple(differences(before, state)))
        history.add(version)
        known.append((entry, utc_ms, state))
        before = state
    for entry, _, state in chance.sample(known, 20):
        assert sorted_rows(history.registry(entry)) == sorted_rows(state)
    for moment in (chance.randint(0, utc_ms + 100) for _ in range(50)):
        then = [one for one in known if one[1] <= moment] or known[:1]
        assert history.entry_at(moment) == then[-1][0]


def test_between_two_versions_the_earlier_one_holds() -> None:
    history = History()
    first, second = (registry_with(name) for name in ("A", "B"))
    assert history.newest() is None
    assert history.entry_at(5) is None
    with pytest.raises(KeyError):
        history.registry(5)
    history.add(Version(3, 100, "md-01", "", tuple(differences(None, first))))
    history.add(Version(7, 200, "md-01", "", tuple(differences(first, second))))
    assert [history.registry(entry).clinic.name for entry in (3, 6, 7, 99)] == ["A", "A", "B", "B"]
    with pytest.raises(KeyError):
        history.registry(2)
    assert [history.entry_at(utc_ms) for utc_ms in (0, 100, 199, 200)] == [3, 3, 3, 7]
    assert history.newest() == 7


def test_a_clock_that_was_set_back_hides_no_version() -> None:
    history = History()
    first, second = (registry_with(name) for name in ("A", "B"))
    history.add(Version(3, 1_000, "md-01", "", tuple(differences(None, first))))
    history.add(Version(4, 500, "md-01", "", tuple(differences(first, second))))
    assert history.entry_at(700) == 3
    assert history.entry_at(1_000) == 4


def test_versions_come_in_order() -> None:
    history = History()
    changes = tuple(differences(None, registry_with("A")))
    history.add(Version(3, 1_000, "md-01", "", changes))
    with pytest.raises(ValueError, match="not the next"):
        history.add(Version(3, 2_000, "md-01", "", ()))


def test_a_change_that_does_not_fit_is_refused() -> None:
    state = state_of(registry_with("A"))
    wrong = Change(section="practitioner", key="est-1", before=person(1, 0), after=None)
    with pytest.raises(ChangeError, match="practitioner est-1"):
        lay_over(state, [wrong])
    with pytest.raises(ChangeError, match="no section rooms"):
        lay_over(state, [Change(section="rooms", key="1", before=None, after={})])
    assert state == state_of(registry_with("A"))


def test_a_registry_without_a_clinic_is_none() -> None:
    with pytest.raises(ValidationError, match="clinic"):
        registry_of(state_of(None))


def test_a_pen_s_key_is_no_part_of_its_history() -> None:
    registry = Registry.model_validate(
        {
            "clinic": {"id": "harbor", "name": "A", "policy": "default"},
            "pen": [PEN | {"id": "pen-1", "key": "ab" * 32}],
        }
    )
    assert "ab" * 32 not in str(differences(None, registry))


def test_what_was_recorded_of_one_row() -> None:
    history = History()
    first = registry_with("A")
    second = first.model_copy(update={"practitioner": [_person(1)]})
    history.add(Version(1, 10, "md-01", "opening", tuple(differences(None, first))))
    history.add(Version(2, 20, "md-02", "hired", tuple(differences(first, second))))
    found = history.changes_of("est-1")
    assert [(version.who, version.why, change.before) for version, change in found] == [
        ("md-02", "hired", None)
    ]


def _person(number: int) -> Any:
    clinic = {"id": "harbor", "name": "A", "policy": "default"}
    return Registry.model_validate(
        {"clinic": clinic, "practitioner": [person(number, 0)]}
    ).practitioner[0]


def registry_with(name: str) -> Registry:
    """A clinic of that name and nothing in it."""
    return Registry.model_validate({"clinic": {"id": "harbor", "name": name, "policy": "default"}})
