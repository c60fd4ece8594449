"""`needletrail influx`: set InfluxDB up, fill it again from the ledger, hold it against the ledger.

Exit codes are those of cli.py, and 3 if InfluxDB was checked and differs from the ledger.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from needletrail_gateway.core.treatment import utc
from needletrail_gateway.desk.options import JsonOption, now_utc_ms, opened_ledger
from needletrail_gateway.desk.progress import progress_bar
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.log import configure_log
from needletrail_gateway.shell.settings import InfluxSettings, Settings, read_settings
from needletrail_gateway.shell.view import INFLUX

if TYPE_CHECKING:
    from needletrail_gateway.series.audit import Difference
    from needletrail_gateway.series.setup import Step

EXIT_DIFFERS = 3
DAY_LEAST, DAY_MOST = date(1970, 1, 2), date(2261, 12, 31)
_SHOWN = 20  # differences; --json has more


class InfluxError(Exception):
    """InfluxDB could not be set up, told or asked; the text says why and what to do."""


@contextmanager
def _trouble_in_words() -> Iterator[None]:
    from needletrail_gateway.series.setup import SetupError
    from needletrail_gateway.series.target import Kept, Refused

    try:
        yield
    except Kept as kept:
        raise InfluxError(f"{kept} {kept.remedy}".strip()) from kept
    except Refused as refused:
        raise InfluxError(f"InfluxDB refuses: {refused}") from refused
    except SetupError as error:
        raise InfluxError(str(error)) from error


influx_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The time series in InfluxDB: set it up, fill it again from the ledger, check it.",
)

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The gateway's settings.")]
FromOption = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="The first day (UTC)."),
]
ToOption = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="The last day (UTC)."),
]


@influx_app.command(
    "setup",
    short_help="Make buckets, their retention and InfluxQL names.",
    help="Make what the gateway and the dashboards need in InfluxDB 1 or 2: buckets, how long they "
    "keep, names for InfluxQL. What is there already stays. For InfluxDB 3 it says what to do by hand.",
    epilog="Example: needletrail influx setup --config gateway.toml --tokens",
)
def setup(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The gateway's settings.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="An InfluxDB, instead of --config.")
    ] = None,
    bucket: Annotated[
        str, typer.Option("--bucket", metavar="NAME", help="With --url: the bucket.")
    ] = "needletrail",
    org: Annotated[
        str, typer.Option("--org", metavar="NAME", help="With --url: the organisation.")
    ] = "-",
    admin_token: Annotated[
        str | None,
        typer.Option(
            "--admin-token",
            metavar="TOKEN",
            envvar="NEEDLETRAIL_INFLUX_ADMIN_TOKEN",
            help="A token that may make buckets; left out: the gateway's.",
        ),
    ] = None,
    with_tokens: Annotated[
        bool,
        typer.Option("--tokens", help="InfluxDB 2: also a token for the gateway and one for Grafana."),
    ] = False,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Buckets, retention, names, tokens."""
    from needletrail_gateway.series.setup import set_up
    from needletrail_gateway.series.target import Target

    settings = _influx_of(config, url, bucket, org)
    if admin_token is not None:
        with _options_in_words("--admin-"):
            settings = InfluxSettings.model_validate(settings.model_dump() | {"token": admin_token})
    with _trouble_in_words(), Target(settings) as target:
        steps = set_up(target, is_dry_run=is_dry_run, with_tokens=with_tokens)
    if as_json:
        print(
            json.dumps({"dry_run": is_dry_run, "steps": [_statement(one) for one in steps]}, indent=1)
        )
        return
    words = {"made": "would make", "changed": "would change"} if is_dry_run else {}
    for step in steps:
        print(f"{words.get(step.outcome, step.outcome):12} {step.text}")
        if step.secret is not None:
            print(f"{'':12} {step.secret}")
    if any(step.secret for step in steps):
        print("InfluxDB shows a token only now. Keep it where secrets are kept.")


@influx_app.command(
    "rebuild",
    short_help="Fill InfluxDB again from the ledger.",
    help="Tell InfluxDB everything that the ledger says, or some days of it. The gateway may run. What "
    "was stopped goes on where it was. InfluxDB is not emptied first.",
    epilog="Example: needletrail influx rebuild --config gateway.toml --from 2026-10-01",
)
def rebuild(
    config: ConfigOption,
    first: FromOption = None,
    last: ToOption = None,
    is_restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, also if an earlier one was stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The ledger, told again."""
    from needletrail_gateway.series import rebuild as rebuilding
    from needletrail_gateway.series.target import Target

    configure_log()
    period = rebuilding.Period(*_days(first, last))
    settings = read_settings(config)
    influx = _influx_section(settings, config)
    with (
        _trouble_in_words(),
        opened_ledger(settings.ledger.location) as opened,
        Target(influx) as target,
        progress_bar("Telling InfluxDB", as_json) as heard,
    ):
        done = rebuilding.rebuild(
            opened, target, now_utc_ms, period, is_restart=is_restart, heard=heard
        )
    if as_json:
        print(json.dumps(done.__dict__, indent=1))
        return
    print(f"{done.points:,} points written, entries {done.from_entry + 1:,} to {done.to_entry:,}.")
    if done.rejected:
        print(f"InfluxDB refused {done.rejected:,} points; the quarantine has them.")


@influx_app.command(
    "check",
    short_help="Hold InfluxDB against the ledger.",
    help="Compare InfluxDB with the ledger, measurement by measurement and day by day, and name what "
    "differs. Exit code 3: something differs.",
    epilog="Example: needletrail influx check --config gateway.toml --from 2026-10-01 --repair",
)
def check(
    config: ConfigOption,
    first: FromOption = None,
    last: ToOption = None,
    is_repair: Annotated[
        bool, typer.Option("--repair", help="Write the points of days that differ again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Counts and sums of each day."""
    from needletrail_gateway.series.audit import Audit
    from needletrail_gateway.series.target import Target, raw_from

    configure_log()
    from_day, to_day = _days(first, last)
    settings = read_settings(config)
    influx = _influx_section(settings, config)
    with (
        _trouble_in_words(),
        opened_ledger(settings.ledger.location) as opened,
        Target(influx) as target,
    ):
        _refuse_if_waiting(opened)
        from_day = from_day or _first_day(opened)
        to_day = to_day or utc(now_utc_ms()).date()
        audit = Audit(opened, target, now_utc_ms, raw_from(influx, now_utc_ms))
        with progress_bar("Checking sessions", as_json) as heard:
            found = audit.compare(from_day, to_day, heard)
            for difference in found:
                audit.examine(difference, is_repair=is_repair)
            left = audit.compare(from_day, to_day) if is_repair and found else found
    if as_json:
        said = {
            "from": from_day.isoformat(),
            "to": to_day.isoformat(),
            "differences": [one.statement() for one in found],
            "left": len(left),
        }
        print(json.dumps(said, ensure_ascii=False, indent=1))
    else:
        _show(found, len(left))
    if left:
        raise SystemExit(EXIT_DIFFERS)


def _influx_of(config: Path | None, url: str | None, bucket: str, org: str) -> InfluxSettings:
    if (config is None) == (url is None):
        raise DocumentError("name the InfluxDB: either --config FILE or --url URL")
    if config is not None:
        return _influx_section(read_settings(config), config)
    with _options_in_words("--"):
        return InfluxSettings(url=url or "", bucket=bucket, org=org)


@contextmanager
def _options_in_words(prefix: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        complaints = [f"{prefix}{one['loc'][0]}: {one['msg']}." for one in error.errors()]
        raise DocumentError("\n".join(complaints)) from error


def _days(first: datetime | None, last: datetime | None) -> tuple[date | None, date | None]:
    """The days that --from and --to name; DocumentError if there are none between them."""
    from_day = first.date() if first else None
    to_day = last.date() if last else None
    for option, day in (("--from", from_day), ("--to", to_day)):
        if day is not None and not DAY_LEAST <= day <= DAY_MOST:
            raise DocumentError(f"{option}: InfluxDB knows days from {DAY_LEAST} to {DAY_MOST}.")
    if from_day is not None and from_day > (to_day or utc(now_utc_ms()).date()):
        raise DocumentError(f"--from: {from_day} is after {to_day or 'today'}; no day is between them.")
    return from_day, to_day


def _influx_section(settings: Settings, config: Path) -> InfluxSettings:
    if settings.influx is None:
        raise DocumentError(f"{config}: there is no section [influx]. Its url names the InfluxDB.")
    return settings.influx


def _refuse_if_waiting(ledger: Ledger) -> None:
    waiting = ledger.last_entry_id() - ledger.delivered(INFLUX)
    if waiting > 0:
        raise InfluxError(
            f"InfluxDB has not been told the last {waiting} entries yet, so it must differ. "
            "Let the gateway run until they are told, or run: needletrail influx rebuild"
        )


def _first_day(ledger: Ledger) -> date:
    """The day of the first registry, or of a session that was before it."""
    known = [version.utc_ms for version in ledger.versions()[:1]]
    known += [row["started_utc_ms"] for row in ledger.sessions() if row["started_utc_ms"] is not None]
    return utc(min(known, default=now_utc_ms())).date()


def _statement(step: "Step") -> dict[str, Any]:
    return {"outcome": step.outcome, "text": step.text, "token": step.secret}


def _show(found: "list[Difference]", left: int) -> None:
    if not found:
        print("InfluxDB holds what the ledger makes.")
        return
    table = Table("day", "measurement", "ledger", "InfluxDB", "missing", "foreign", "old")
    for one in found[:_SHOWN]:
        table.add_row(
            one.day.isoformat(),
            one.measurement,
            f"{one.made:,}",
            f"{one.held:,}",
            f"{one.missing:,}",
            f"{one.foreign:,}",
            " ".join(_old(one)),
        )
    Console().print(table)
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN} more; --json has all.")
    for one in found[:_SHOWN]:
        for example in one.examples:
            print(f"not the ledger's: {example}")
    if any(one.is_repaired for one in found):
        print(f"Written again. {left} of {len(found)} still differ.")
    elif any(one.missing or _old(one) for one in found):
        print("To write what is missing or old: --repair")
    if any(one.foreign for one in found):
        print("What is not the ledger's stays. To be rid of it: empty the buckets, then rebuild.")


def _old(one: "Difference") -> tuple[str, ...]:
    """Fields that were not written again. Beside points too many or too few, sums must differ."""
    return () if one.missing or one.foreign else one.stale
