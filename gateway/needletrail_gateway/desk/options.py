"""Options that several commands of the desk share, and the ledger that they name."""

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from needletrail_gateway.core.notes import names_client
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.settings import read_settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The gateway's settings, for its ledger."),
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="FILE", help="The ledger itself (or its URL), instead of --config."
    ),
]
WhoOption = Annotated[
    str | None,
    typer.Option(
        "--who",
        metavar="ID",
        envvar="NEEDLETRAIL_WHO",
        help="Who says so, for the record; left out: the account's name.",
    ),
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for the record.")]

_TEXT_MAX = 200


def now_utc_ms() -> int:
    """The time of what is recorded now."""
    return time.time_ns() // 1_000_000


def who_is_it(given: str | None) -> str:
    """Who answers for a change: as given, or the name of the account."""
    return checked("--who", given if given is not None else getpass.getuser())


def checked(option: str, text: str) -> str:
    """A text for the record; DocumentError if it is empty, too long or not one line."""
    if not text.strip() or len(text) > _TEXT_MAX or not text.isprintable():
        raise DocumentError(f"{option}: give one line of 1 to {_TEXT_MAX} characters.")
    return text


def for_dashboards(option: str, text: str) -> str:
    """The same for a text that dashboards show: it must not name a client, not even by pseudonym."""
    checked(option, text)
    if names_client(text):
        raise DocumentError(
            f"{option}: dashboards show this text. Leave the client's pseudonym out of it; the note on "
            "the treatment says who it was."
        )
    return text


def place_of(config: Path | None, ledger: str | None) -> tuple[str, Path | None]:
    """Where the ledger is that the options name, and the folder of packs if the settings name one."""
    if (config is None) == (ledger is None):
        raise DocumentError("give the ledger: either --config FILE or --ledger FILE")
    if ledger is not None:
        return ledger, None
    assert config is not None
    settings = read_settings(config)
    return settings.ledger.location, settings.policy.folder


@contextmanager
def opened_ledger(location: str, *, is_new: bool = False) -> Iterator[Ledger]:
    """The ledger at that place, for as long as the block runs. is_new: make it if it is not there."""
    opened = Ledger.open(location, must_exist=not is_new)
    try:
        yield opened
    finally:
        opened.close()


def registry_in_force(ledger: Ledger) -> Registry:
    """The registry; DocumentError if there is none yet."""
    found = ledger.registry()
    if found is None:
        raise DocumentError("the ledger holds no registry yet. Import one first.")
    return found[1]


def day_of(option: str, text: str) -> date:
    """A day; DocumentError if it is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise DocumentError(f"{option}: {text!r} is not a day, such as 2026-11-23.") from error
