"""What differs between two states of the registry, row by row; and a state with changes laid over it.

A change names a section and the row's key, and gives the row before and after. That is the form in
which the registry's history is recorded, so it is strict: a change whose `before` is not what is there
does not fit, and is refused. A pen's secret key is no part of a row, and so of no change.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from needletrail_gateway.core.registry.model import Registry

CLINIC = "clinic"
# Section: the fields that name one of its rows.
SECTIONS: dict[str, tuple[str, ...]] = {
    "practitioner": ("id",),
    "pen": ("id",),
    "cartridge_product": ("gtin",),
    "cartridge_lot": ("gtin", "lot"),
    "consumable": ("id",),
}

Row = dict[str, Any]
State = dict[str, dict[str, Row]]  # section: key: row


class ChangeError(ValueError):
    """A change that does not fit the state that it is to change."""


class Change(BaseModel):
    """One row: None before, it is new; None after, it is gone. The clinic's own key is ""."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: str
    key: str
    before: Row | None
    after: Row | None


def key_of(section: str, row: Mapping[str, Any]) -> str:
    """What names a row in its section: its id, or GTIN and lot with a space between."""
    return " ".join(str(row[field]) for field in SECTIONS[section])


def state_of(registry: Registry | None) -> State:
    """The rows of a registry in their order; none of them for no registry."""
    if registry is None:
        empty: State = {section: {} for section in (CLINIC, *SECTIONS)}
        return empty
    # What is left out in a document means the same as its default, and so do rows that say it.
    document = registry.model_dump(mode="json", exclude_defaults=True)
    state: State = {CLINIC: {"": document[CLINIC]}}
    for section in SECTIONS:
        state[section] = {key_of(section, row): row for row in document.get(section, [])}
    return state


def registry_of(state: State) -> Registry:
    """The registry that these rows make. pydantic.ValidationError if they make none."""
    document: dict[str, Any] = {section: list(state[section].values()) for section in SECTIONS}
    if state[CLINIC]:
        document[CLINIC] = state[CLINIC][""]
    return Registry.model_validate(document)


def differences(before: Registry | None, after: Registry) -> list[Change]:
    """What must change, in the order of the sections; rows in the order of their keys."""
    old, new = state_of(before), state_of(after)
    found = []
    for section, rows in new.items():
        was = old[section]
        for key in sorted(was.keys() | rows.keys()):
            if was.get(key) != rows.get(key):
                found.append(Change(section=section, key=key, before=was.get(key), after=rows.get(key)))
    return found


def lay_over(state: State, changes: Iterable[Change]) -> State:
    """A new state. ChangeError if a change does not fit."""
    made = {section: dict(rows) for section, rows in state.items()}
    for change in changes:
        rows = made.get(change.section)
        if rows is None:
            raise ChangeError(f"the registry has no section {change.section}")
        if rows.get(change.key) != change.before:
            raise ChangeError(
                f"{change.section} {change.key}: the row is not what it is said to have been"
            )
        if change.after is None:
            rows.pop(change.key, None)
        else:
            rows[change.key] = change.after
    return made
