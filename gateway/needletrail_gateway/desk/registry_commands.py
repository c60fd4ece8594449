"""`needletrail registry`: who works here, with which pens and cartridges, and how that came to be.

Everything goes through one door: a whole registry is made, checked as a whole, and what differs from
the one in force is recorded as one change, with who and why. So a file with an error changes nothing.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from needletrail_gateway.core.registry.changes import (
    CLINIC,
    SECTIONS,
    Change,
    differences,
    registry_of,
    state_of,
)
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import iso
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    WhoOption,
    checked,
    now_utc_ms,
    opened_ledger,
    place_of,
    who_is_it,
)
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError, keys_of, read_policy, read_registry
from needletrail_gateway.shell.tables import read_table, write_table

registry_app = typer.Typer(
    no_args_is_help=True,
    help="Who works here, with which pens, cartridges and consumables. Every change is kept, "
    "with who, when and why.",
)

Section = StrEnum("Section", {name: name for name in SECTIONS})  # type: ignore[misc]

SectionOption = Annotated[
    Section | None,
    typer.Option(
        "--section", metavar="NAME", help=f"The section of a CSV file: {', '.join(SECTIONS)}."
    ),
]


@registry_app.command(
    "import",
    short_help="Check a registry file and put it into the ledger.",
    help="Check a registry file and record what it changes. TOML: the whole registry; a row that is "
    "no longer there is gone. CSV: rows of one section, added or changed; with --replace those that "
    "are not in the file are gone. A file with an error changes nothing. A running gateway takes the "
    "new registry up within a second, and sends the pens new grants.",
    epilog="Example: needletrail registry import clinic.toml --config gateway.toml --why 'new nurse'",
)
def import_registry(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A registry in TOML, or rows in CSV.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    section: SectionOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="With CSV: the file is all that the section has.")
    ] = False,
    who: WhoOption = None,
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="TEXT", help="Why; left out: that this file was imported."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, say what would change, and record nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check first, then write: a file with an error changes nothing."""
    is_table = file.suffix.lower() == ".csv"
    if is_table != (section is not None):
        raise DocumentError(f"{file}: --section goes with a CSV file, and a CSV file needs it.")
    if replace and not is_table:
        raise DocumentError("--replace goes with a CSV file; a TOML file is the whole registry anyway.")
    who = who_is_it(who)
    why = checked("--why", why if why is not None else f"import of {file.name}")
    document = None if is_table else read_registry(file)
    location, folder = place_of(config, ledger)
    if document is not None:
        read_policy(document.clinic.policy, folder)
    with opened_ledger(location, is_new=True) as opened:
        found = opened.registry()
        known = None if found is None else found[1]
        if document is None:
            assert section is not None
            document = _with_rows(file, section.value, known, is_all=replace)
        changes = differences(known, document)
        entry_id = None if found is None else found[0]
        if not dry_run:
            entry_id = opened.import_registry(document, keys_of(document), now_utc_ms(), who, why)
    counts = {
        "clinic": document.clinic.id,
        "entry": entry_id,
        "practitioners": len(document.practitioner),
        "pens": len(document.pen),
        "cartridge_products": len(document.cartridge_product),
        "cartridge_lots": len(document.cartridge_lot),
        "consumables": len(document.consumable),
        "changes": [_change_json(change) for change in changes],
        "dry_run": dry_run,
    }
    if as_json:
        print(json.dumps(counts))
        return
    for change in changes if known is not None else []:
        print(f"  {_in_words(change)}")
    print(
        f"Registry of {document.clinic.name} "
        + ("would be" if dry_run else f"is in the ledger (entry {entry_id})")
        + f": {counts['practitioners']} practitioners, {counts['pens']} pens, "
        f"{counts['cartridge_products']} cartridge products, {counts['cartridge_lots']} lots, "
        f"{counts['consumables']} consumables; {len(changes)} changes."
    )


@registry_app.command(
    "export",
    short_help="Write the registry to a file, as it is or as it was.",
    help="Write the registry as TOML, or one section of it as CSV, to standard output or a file that "
    "is not there yet. With --at: as it stood then. Pens' keys are not in it; importing the file "
    "again leaves them as they are.",
    epilog="Example: needletrail registry export --ledger clinic.sqlite --section practitioner",
)
def export_registry(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    section: SectionOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="A day or a time in UTC (RFC 3339).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file instead of the screen.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The registry in words that can be imported again."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        registry = _registry_at(opened, None if at is None else moment_utc_ms("--at", at))
    if as_json:
        text = json.dumps(registry.model_dump(mode="json"), ensure_ascii=False) + "\n"
    elif section is None:
        text = _toml_of(registry)
    else:
        rows = registry.model_dump(mode="json")[section.value]
        text = write_table(section.value, rows)
    if out is None:
        print(text, end="")
        return
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        raise DocumentError(f"{out}: is there already. Give another name.") from error


@registry_app.command(
    "history",
    short_help="What was changed, when, by whom and why.",
    help="Every change of the registry, oldest first; with an id (of a practitioner, pen or "
    "consumable, a GTIN, or GTIN and lot) those of that row.",
    epilog="Example: needletrail registry history rn-01 --ledger clinic.sqlite",
)
def history(
    row: Annotated[str | None, typer.Argument(metavar="[ID]", help="One row's changes only.")] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who, when, why, and what."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        versions = opened.versions()
    found = [
        (version, change)
        for version in versions
        for change in version.changes
        if row is None or change.key == row
    ]
    if row is not None and not found:
        raise DocumentError(f"the registry never had a row {row!r}")
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "entry": version.entry,
                        "utc": iso(version.utc_ms),
                        "who": version.who,
                        "why": version.why,
                    }
                    | _change_json(change)
                    for version, change in found
                ],
                ensure_ascii=False,
            )
        )
        return
    table = Table(box=None, header_style="bold")
    for name in ("entry", "when (UTC)", "who", "why", "what"):
        table.add_column(name, overflow="fold")
    for version, change in found:
        when = (iso(version.utc_ms) or "")[:19].replace("T", " ")
        table.add_row(
            str(version.entry), when, version.who or "-", version.why or "-", _in_words(change)
        )
    Console().print(table)


def moment_utc_ms(option: str, text: str) -> int:
    """A day or time in UTC, in milliseconds since 1970; DocumentError if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise DocumentError(
            f"{option}: {text!r} is neither a day (2026-11-23) nor a time (2026-11-23T09:30:00Z)."
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1000)


def _registry_at(ledger: Ledger, utc_ms: int | None) -> Registry:
    entry = ledger.newest_version() if utc_ms is None else ledger.version_at(utc_ms)
    if entry is None:
        raise DocumentError("the ledger holds no registry yet. Import one first.")
    return ledger.registry_at(entry)


def _with_rows(file: Path, section: str, known: Registry | None, *, is_all: bool) -> Registry:
    """The registry in force with the rows of a table."""
    if known is None:
        raise DocumentError("the ledger holds no registry yet. Import a whole one, in TOML, first.")
    rows = read_table(file, section)
    state = state_of(known)
    state[section] = rows if is_all else state[section] | rows
    try:
        return registry_of(state)
    except ValidationError as error:
        complaints = [_complaint(file, state, found) for found in error.errors()]
        raise DocumentError("\n".join(complaints)) from error


def _complaint(file: Path, state: Mapping[str, Mapping[str, Any]], found: Any) -> str:
    """What is wrong only with the whole: a row of the table, or one that it leaves without company."""
    place = (*found["loc"], *found.get("ctx", {}).get("place", ()))
    message = str(found["msg"])
    if len(place) > 1 and place[0] in SECTIONS and isinstance(place[1], int):
        key = list(state[place[0]])[place[1]]
        return f"{file}: {place[0]} {key}: {'.'.join(map(str, place[2:]))}: {message}."
    return f"{file}: {'.'.join(map(str, place))}: {message}."


def _toml_of(registry: Registry) -> str:
    document = tomlkit.document()
    rows = state_of(registry)
    document.add(CLINIC, tomlkit.item(_native(rows[CLINIC][""])))
    for section in SECTIONS:
        if rows[section]:
            tables = tomlkit.aot()
            for row in rows[section].values():
                tables.append(tomlkit.item(_native(row)))
            document.add(section, tables)
    return tomlkit.dumps(document)


_DATES = ("license_from", "license_expires", "suspended_from", "suspended_until", "expires", "recalled")


def _native(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with dates as TOML writes them."""
    return {
        name: datetime.fromisoformat(value).date() if name in _DATES else value
        for name, value in row.items()
        if value is not None
    }


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "section": change.section,
        "key": change.key,
        "before": change.before,
        "after": change.after,
    }


def _in_words(change: Change) -> str:
    name = f"{change.section} {change.key}".strip()
    if change.before is None:
        return f"{name}: new"
    if change.after is None:
        return f"{name}: gone"
    before, after = change.before, change.after
    parts = [
        f"{field} {_shown(before.get(field))} → {_shown(after.get(field))}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]
    return f"{name}: {', '.join(parts)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
