"""`needletrail`: what a person types. Reads arguments, calls the rooms, shows what came of it.

Exit codes: 0 done; 1 something of the machine failed (a program, the network, the disk); 2 something
that was given can not be used (a tape, a registry, a setting), with file, place, cause and remedy.
"""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.bench.house import HouseError
from needletrail_gateway.bench.pens import PenError
from needletrail_gateway.bench.programs import MissingProgramError
from needletrail_gateway.bench.recorder import ScriptError
from needletrail_gateway.bench.tapes import TapeError
from needletrail_gateway.desk.alert_commands import alert_app
from needletrail_gateway.desk.influx_commands import InfluxError, influx_app
from needletrail_gateway.desk.ledger_commands import ledger_app
from needletrail_gateway.desk.policy_commands import policy_app
from needletrail_gateway.desk.registry_commands import registry_app
from needletrail_gateway.desk.rejudge_commands import rejudge
from needletrail_gateway.desk.stock_commands import stock_app
from needletrail_gateway.desk.treatment_commands import explain, treatment_app
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError, read_policy, read_registry
from needletrail_gateway.workshop import commands as workshop

app = typer.Typer(
    name="needletrail",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Logs what microneedling pens really did, and whether it was permitted.",
    epilog="Begin with: needletrail demo",
)
app.add_typer(registry_app, name="registry")
app.add_typer(treatment_app, name="treatment")
app.add_typer(alert_app, name="alert")
app.add_typer(stock_app, name="stock")
app.command(
    "explain",
    short_help="Why a verdict is what it is.",
    help="Explain a session's verdict: every reason with its rule and citation, the limits and which "
    "one bound, what was done and for how long, and what could not be decided.",
    epilog="Example: needletrail explain pen-01-1-7 --config gateway.toml",
)(explain)
app.command(
    "rejudge",
    short_help="What verdicts would be under another policy.",
    help="Judge a period again under another policy pack or registry, and say what would change: "
    "verdicts, reasons, alerts, by practitioner and session by session, with the cause. Nothing is "
    "overwritten.",
    epilog="Example: needletrail rejudge --policy us-ca --from 2026-01-01 --config gateway.toml",
)(rejudge)
app.add_typer(policy_app, name="policy")
app.add_typer(ledger_app, name="ledger")
app.add_typer(influx_app, name="influx")
app.add_typer(workshop.pen_app, name="pen")

_EXIT_FAILED = 1
_EXIT_UNUSABLE = 2

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="Settings; see gateway/gateway.sample.toml.")
]


def main() -> None:
    """Run the command line; errors that a person can mend come without a traceback."""
    try:
        app()
    except (DocumentError, TapeError, ScriptError, LedgerError, *workshop.UNUSABLE) as error:
        _fail(error, _EXIT_UNUSABLE)
    except (
        HouseError,
        PenError,
        MissingProgramError,
        InfluxError,
        OSError,
        *workshop.FAILED,
    ) as error:
        _fail(error, _EXIT_FAILED)
    except SQLAlchemyError as error:
        _fail(getattr(error, "orig", None) or error, _EXIT_FAILED)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def _fail(error: object, code: int) -> None:
    print(f"needletrail: {error}", file=sys.stderr)
    sys.exit(code)


def _now_utc_ms() -> int:
    return time.time_ns() // 1_000_000


@app.command(
    short_help="A clinic's morning, live: three virtual pens.",
    help="Show a clinic's morning: three virtual pens, a broker, a gateway, live. "
    "The firmware, the broker and the gateway are the real ones.",
    epilog="Example: needletrail demo --speed 5 --keep morning",
)
def demo(
    speed: Annotated[
        float, typer.Option(min=0.1, help="Times real time. At 1 it takes about a minute.")
    ] = 1.0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep ledger, tapes and logs in this new or empty folder."),
    ] = None,
) -> None:
    """The clinic's morning."""
    from needletrail_gateway.bench.demo import run_demo

    run_demo(speed, keep, Console())


@app.command(
    short_help="Play tapes, get the verdicts.",
    help="Play tapes through the real firmware, a broker of its own and the gateway, in the order "
    "given and into one ledger, and get the verdicts. Exit code 2: something given can not be used.",
    epilog="Example: needletrail play tapes/bench/*.csv --registry tapes/bench/registry.toml --json",
)
def play(
    tapes: Annotated[list[Path], typer.Argument(metavar="TAPE…", help="Tapes, played in this order.")],
    registry: Annotated[Path, typer.Option(metavar="FILE", help="The clinic's registry, a TOML file.")],
    as_json: JsonOption = False,
    speed: Annotated[
        float, typer.Option(min=0, help="Times real time; 0: as fast as the firmware can.")
    ] = 0,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the record here; else it is thrown away.")
    ] = None,
    influx_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Also fill the InfluxDB there.")
    ] = None,
    influx_bucket: Annotated[str, typer.Option(metavar="NAME", help="Its bucket.")] = "needletrail",
    influx_org: Annotated[str, typer.Option(metavar="NAME", help="Its organisation.")] = "-",
    influx_token: Annotated[
        str, typer.Option(metavar="TOKEN", envvar="NEEDLETRAIL_INFLUX__TOKEN", help="Its token.")
    ] = "",
) -> None:
    """Tapes in, answers out."""
    from needletrail_gateway.bench import play as playing
    from needletrail_gateway.bench.play_view import Bar, show_answers

    clinic = read_registry(registry)
    read_policy(clinic.clinic.policy)
    checked = playing.read_tapes(tapes, clinic)
    influx = {}
    if influx_url is not None:
        influx = {
            "NEEDLETRAIL_INFLUX__URL": influx_url,
            "NEEDLETRAIL_INFLUX__BUCKET": influx_bucket,
            "NEEDLETRAIL_INFLUX__ORG": influx_org,
            "NEEDLETRAIL_INFLUX__TOKEN": influx_token,
        }
    with Bar(Console(stderr=True), checked) as bar:
        played = playing.play(checked, clinic, ledger, speed, influx, bar)
    if as_json:
        print(json.dumps(played.answers, ensure_ascii=False, indent=1))
    else:
        show_answers(Console(), played.answers)
    if played.influx_waiting:
        print(
            f"needletrail: InfluxDB at {influx_url} has not taken the last {played.influx_waiting} "
            "entries of the ledger. They wait in the outbox.",
            file=sys.stderr,
        )


@app.command(
    short_help="Serve the pens of one clinic.",
    help="Serve the pens of one clinic until SIGTERM or Ctrl-C: take in, judge, keep the record, feed "
    "InfluxDB. The ledger must hold a registry: needletrail registry import.",
    epilog="Example: needletrail gateway --config gateway.toml",
)
def gateway(config: ConfigOption) -> None:
    """The gateway, until SIGTERM or Ctrl-C."""
    from needletrail_gateway.record.checkpoints import Notary
    from needletrail_gateway.replay.amend import amend
    from needletrail_gateway.replay.knowledge import Knowledge
    from needletrail_gateway.series.follower import Follower
    from needletrail_gateway.shell.intake import Intake
    from needletrail_gateway.shell.log import configure_log
    from needletrail_gateway.shell.service import Service
    from needletrail_gateway.shell.settings import read_settings

    configure_log()
    settings = read_settings(config)
    ledger = Ledger.open(settings.ledger.location)
    intake = Intake(ledger, lambda name: read_policy(name, settings.policy.folder), _now_utc_ms)
    follower = None
    if settings.influx is not None:
        follower = Follower(ledger, settings.ledger.location, settings.influx, _now_utc_ms)
    notary = None
    if settings.checkpoint is not None:
        notary = Notary(ledger, settings.checkpoint, _now_utc_ms)
    knowledge = Knowledge(ledger, is_for_all=False)  # read on at each amendment, not all anew
    service = Service(
        intake,
        ledger,
        settings.mqtt,
        _now_utc_ms,
        follower,
        notary,
        lambda session_id, because: amend(ledger, session_id, because, _now_utc_ms(), knowledge),
    )
    if follower is not None:
        follower.watch(service.health)

    def stop(_number: int, _frame: Any) -> None:
        service.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        service.run()
    except OSError as error:
        mqtt = settings.mqtt
        raise OSError(
            f"the broker at {mqtt.host}:{mqtt.port} can not be reached: {error}. "
            f"Is it running? [mqtt] in {config} names it."
        ) from error
    finally:
        ledger.close()
