"""`needletrail alert`: what the judge warned of, and who has seen to it."""

import json
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from needletrail_gateway.core.notes import Acknowledgement
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.treatment import iso
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    WhoOption,
    for_dashboards,
    now_utc_ms,
    opened_ledger,
    place_of,
    who_is_it,
)
from needletrail_gateway.record.alerts import Raised, acknowledge, alerts
from needletrail_gateway.shell.documents import DocumentError

alert_app = typer.Typer(
    no_args_is_help=True, help="Alerts: what was told at once, and who has seen to it."
)


@alert_app.command(
    "list",
    short_help="Alerts, oldest first.",
    help="List the alerts that were raised, oldest first, and who acknowledged them.",
    epilog="Example: needletrail alert list --open --config gateway.toml",
)
def list_alerts(
    is_open: Annotated[
        bool, typer.Option("--open", help="Only those that nobody has acknowledged yet.")
    ] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was told, and who has seen it."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        found = alerts(opened, is_open=is_open)
    if as_json:
        print(json.dumps([_document(one) for one in found], ensure_ascii=False))
        return
    if not found:
        print("No alert is open." if is_open else "No alert was raised.")
        return
    table = Table(box=None, header_style="bold")
    for name in ("session", "code", "raised (UTC)", "practitioner", "on the pen", "acknowledged"):
        table.add_column(name, overflow="fold", no_wrap=name in ("session", "code"))
    for one in found:
        word = one.acknowledged
        seen = "open" if word is None else word.who + (f": {word.why}" if word.why else "")
        table.add_row(
            one.session_id,
            one.code,
            (one.said["raised"] or "unknown")[:16].replace("T", " "),
            one.practitioner or "nobody",
            "shown" if one.reached_pen else "not known",
            seen,
        )
    Console().print(table)
    left = sum(one.acknowledged is None for one in found)
    print(f"{len(found)} alerts, {left} of them open.")


def _document(one: Raised) -> dict[str, Any]:
    word = one.acknowledged
    seen = None
    if word is not None:
        seen = {
            "who": word.who,
            "why": word.why,
            "utc": iso(one.acknowledged_utc_ms),
            "entry": one.acknowledged_entry,
        }
    return {
        "session_id": one.session_id,
        "code": one.code,
        "entry": one.entry,
        "raised": one.said["raised"],
        "heard": iso(one.committed_utc_ms),
        "pen": one.pen,
        "practitioner": one.practitioner,
        "limit_mm": one.said["limit_mm"],
        "depth_mm": one.said["depth_mm"],
        "reached_pen": one.reached_pen,
        "acknowledged": seen,
    }


@alert_app.command(
    "acknowledge",
    short_help="Somebody has seen an alert and deals with it.",
    help="Record that somebody has seen an alert and deals with it: it is open no more. The verdict "
    "stays what it is; a soft rule that does not hold is another matter (treatment override). Who, and "
    "the reason if one is given, appear on dashboards: name no client there.",
    epilog="Example: needletrail alert acknowledge pen-01-1-7 DEPTH_EXCEEDED --who md-01 "
    "--why 'spoke with her' --config gateway.toml",
)
def acknowledge_alert(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="PEN-EPOCH-NUMBER.")],
    code: Annotated[str, typer.Argument(metavar="CODE", help="The alert's code.")],
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="TEXT", help="What came of it; dashboards show it: no client."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seen."""
    who = for_dashboards("--who", who_is_it(who))
    if why is not None:
        why = for_dashboards("--why", why)
    if code not in get_args(Code):
        raise DocumentError(f"there is no code {code!r}. See: needletrail alert list")
    word = Acknowledgement.model_validate({"who": who, "session": session, "code": code, "why": why})
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        entry = acknowledge(opened, word, now_utc_ms())
    if as_json:
        print(json.dumps({"entry": entry}))
    else:
        print(f"Recorded (entry {entry}): {who} has acknowledged {code} of {session}.")
