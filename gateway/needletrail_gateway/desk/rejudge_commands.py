"""`needletrail rejudge`: what a period's verdicts would be under another pack or registry.

Reads arguments, asks the replay, shows what it said: as text for a person, with --json for a machine.
The ledger is opened so that nothing can be written. Changes are printed as they are found, so a year
needs no more room than a day.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    opened_ledger,
    place_of,
)
from needletrail_gateway.desk.registry_commands import moment_utc_ms
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import (
    PACK_SUFFIX,
    DocumentError,
    read_pack,
    read_pack_file,
    read_registry,
)

_SHOWN = 40  # changed sessions that a person is shown; --json has all
_OUTCOMES = ("violation", "review", "compliant")
_NOBODY = "nobody badged in"


def rejudge(
    policy: Annotated[
        str, typer.Option("--policy", metavar="PACK", help="A pack's name, or a .toml file.")
    ],
    registry: Annotated[
        Path | None,
        typer.Option("--registry", metavar="FILE", help="This registry for all sessions."),
    ] = None,
    registry_at: Annotated[
        str | None,
        typer.Option("--registry-at", metavar="TIME", help="The registry as it stood then, for all."),
    ] = None,
    from_time: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Sessions that began then or later (UTC)."),
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Sessions that began before (UTC).")
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Nothing is overwritten."""
    from needletrail_gateway.replay import rejudge as replay
    from needletrail_gateway.replay.knowledge import Knowledge
    from needletrail_gateway.replay.sessions import Period, count_sessions

    location, folder = place_of(config, ledger)
    pack = _read(policy, folder)
    period = Period(
        None if from_time is None else moment_utc_ms("--from", from_time),
        None if to_time is None else moment_utc_ms("--to", to_time),
    )
    if registry is not None and registry_at is not None:
        raise DocumentError("give either --registry FILE or --registry-at TIME")
    with opened_ledger(location) as opened:
        replay.forbid_writing(opened)
        knowledge = Knowledge(opened)
        rules_for = _rules_for(opened, knowledge, pack, registry, registry_at)
        summary = replay.Summary()
        heading = {
            "policy": {"pack": pack.name, "version": pack.version},
            "registry": str(registry) if registry else registry_at or "as it stood at each session",
            "from": from_time,
            "to": to_time,
        }
        printer = _Json(heading) if as_json else _Text(heading)
        with _bar(count_sessions(opened, period)) as advance:
            for one in replay.rejudge(opened, rules_for, knowledge, period):
                summary.add(one)
                if one.is_change:
                    printer.change(one.document())
                advance()
        printer.end(summary.document())


def _read(pack: str, folder: Path | None) -> Policy:
    if pack.endswith(PACK_SUFFIX):
        return read_pack_file(Path(pack)).policy
    return read_pack(pack, folder).policy


def _rules_for(
    ledger: Ledger, knowledge: Any, pack: Policy, registry: Path | None, registry_at: str | None
) -> Any:
    if registry is None and registry_at is None:
        return lambda row: knowledge.rules_by(pack, row)
    if registry is not None:
        entry, found = 0, read_registry(registry)
    else:
        assert registry_at is not None
        known = ledger.version_at(moment_utc_ms("--registry-at", registry_at))
        if known is None:
            raise DocumentError("the ledger holds no registry yet. Import one first.")
        entry, found = known, ledger.registry_at(known)
    rules = knowledge.rules_of(pack, found, entry)
    return lambda _row: rules


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    columns = (
        TextColumn("judging again"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sessions"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


class _Json:
    """One document; what changes comes first, as it is found."""

    def __init__(self, heading: dict[str, Any]) -> None:
        self._separator = "\n"
        print(json.dumps(heading, ensure_ascii=False)[:-1] + ', "changes": [', end="")

    def change(self, document: dict[str, Any]) -> None:
        print(self._separator + json.dumps(document, ensure_ascii=False), end="")
        self._separator = ",\n"

    def end(self, summary: dict[str, Any]) -> None:
        print("\n], " + json.dumps(summary, ensure_ascii=False)[1:])


class _Text:
    """Tables for a person."""

    def __init__(self, heading: dict[str, Any]) -> None:
        self._heading = heading
        self._changes: list[dict[str, Any]] = []

    def change(self, document: dict[str, Any]) -> None:
        if len(self._changes) < _SHOWN:
            self._changes.append(document)

    def end(self, summary: dict[str, Any]) -> None:
        console = Console()
        policy = self._heading["policy"]
        console.print(
            f"Under {policy['pack']} {policy['version']}, with the registry "
            f"{self._heading['registry']}: of {_counted(summary['sessions'], 'session')} "
            f"{summary['changed']} would be judged differently. Nothing was written.",
            markup=False,
            highlight=False,
        )
        for problem, count in summary["not_judged"].items():
            console.print(
                f"{_counted(count, 'session')} could not be judged again: {problem}.",
                markup=False,
                highlight=False,
            )
        for table in (
            _verdicts(summary),
            _reasons(summary),
            _people(summary),
            _sessions(self._changes),
        ):
            if table.row_count:
                console.print()
                console.print(table)
        left = summary["changed"] - len(self._changes)
        if left > 0:
            console.print(f"and {_counted(left, 'session')} more; --json lists all", highlight=False)


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _plain_table(*columns: str, numbers: int) -> Table:
    """A table whose last so many columns are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        is_number = index >= len(columns) - numbers
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table


def _verdicts(summary: dict[str, Any]) -> Table:
    table = _plain_table("", "before", "after", numbers=2)
    found = summary["verdicts"]
    for outcome in _OUTCOMES:
        table.add_row(outcome, *(f"{found[side].get(outcome, 0):,}" for side in ("before", "after")))
    alerts = summary["alerts"]
    table.add_row(
        "alerts for 100 sessions",
        *(f"{alerts[f'per_100_sessions_{side}']:,.1f}" for side in ("before", "after")),
    )
    return table


def _reasons(summary: dict[str, Any]) -> Table:
    table = _plain_table("reason", "before", "after", numbers=2)
    for code, found in summary["reasons"].items():
        table.add_row(code, f"{found['before']:,}", f"{found['after']:,}")
    return table


def _people(summary: dict[str, Any]) -> Table:
    table = _plain_table(
        "practitioner", "sessions", "violations", "after", "alerts for 100", "after", numbers=5
    )
    for one in summary["practitioners"]:
        table.add_row(
            one["practitioner"] or _NOBODY,
            f"{one['sessions']:,}",
            f"{one['before'].get('violation', 0):,}",
            f"{one['after'].get('violation', 0):,}",
            f"{one['alerts_per_100_sessions_before']:,.1f}",
            f"{one['alerts_per_100_sessions_after']:,.1f}",
        )
    return table


def _sessions(changes: list[dict[str, Any]]) -> Table:
    table = _plain_table("session", "before", "after", "because of", numbers=0)
    for one in changes:
        table.add_row(
            one["session_id"],
            *(_side(one[side]) for side in ("before", "after")),
            ", ".join(one["causes"]),
        )
    return table


def _side(side: dict[str, Any]) -> str:
    return ": ".join([side["verdict"], *([", ".join(side["reasons"])] if side["reasons"] else [])])
