"""`needletrail pen …`: from parts to a pen in the registry. Reads arguments, calls the tools, tells.

Exit codes are those of cli.py, and 3 if `calibrate --check` finds that the dial has moved. No command
ever shows a key or a password.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_policy, read_registry
from needletrail_gateway.shell.settings import read_settings
from needletrail_gateway.workshop import build as building
from needletrail_gateway.workshop import bundle, enrolment, flash, pen_file, traces
from needletrail_gateway.workshop import calibration as calibrating
from needletrail_gateway.workshop.calibration import CalibrationError, Fit, Mark, mm
from needletrail_gateway.workshop.dial import parse_marks, read_file, read_from_pen
from needletrail_gateway.workshop.errors import ToolError, WorkshopError
from needletrail_gateway.workshop.port import Port
from needletrail_gateway.workshop.registry_file import RegistryFile

UNUSABLE = (WorkshopError, CalibrationError, bundle.BundleError)
FAILED = (ToolError,)
EXIT_DRIFTED = 3
WIFI_PASSWORD = "NEEDLETRAIL_WIFI_PASSWORD"

pen_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a pen: identity, firmware, calibration, new keys. In this order: enroll, build, flash, "
    "calibrate, then needletrail registry import.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
RegistryOption = Annotated[
    Path, typer.Option("--registry", metavar="FILE", help="The clinic's registry, a TOML file.")
]
FolderOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The pen's folder here, for its pen.json.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The gateway's settings.")
]
BoardOption = Annotated[
    str, typer.Option(metavar="BOARD", help="The pen's board; a wrong one lists those there are.")
]
PortOption = Annotated[
    str, typer.Option(metavar="PORT", help="The pen's serial port; auto: the first board on USB.")
]


@pen_app.command(
    "enroll",
    short_help="Give a pen its identity, and its key.",
    help="Give a pen its identity: a key of its own in the registry, an account at the broker, and "
    "DIR/pen.json with all that it must know. Comments and order of the registry stay. The key is not "
    "shown; pen.json can be read by you alone. With --rotate a pen that has all this gets its next "
    "key: what it recorded under the old one still arrives, so nothing is lost.",
    epilog="Example: needletrail pen enroll pen-04 --registry clinic.toml --out pens/pen-04 "
    "--like pen-01 --board esp32_s3 --broker-host gateway.lan --ca ca.pem --wifi-ssid clinic",
)
def enroll(
    pen: Annotated[str, typer.Argument(metavar="PEN", help="Its id: 1 to 32 of a-z, 0-9 and '-'.")],
    registry: RegistryOption,
    out: FolderOption,
    board: BoardOption = "esp32_s3",
    broker_host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="The broker's name or address, as the pen sees it."),
    ] = None,
    broker_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Its port; left out: 8883 with --ca, else 1883."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificate of the broker's authority: the pen uses TLS."),
    ] = None,
    wifi_ssid: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help=f"The pen's Wi-Fi; its password is asked for, or in {WIFI_PASSWORD}."
        ),
    ] = None,
    time_server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST", help="Sets the pen's clock (NTP). TLS on a Pico needs one: it checks dates."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="PEN", help="For a new pen: one of the registry that is of the same kind."
        ),
    ] = None,
    motor_interlock: Annotated[
        bool, typer.Option("--motor-interlock", help="The pen can stop its motor at a hard limit.")
    ] = False,
    config: ConfigOption = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Give it its next key, and keep the old.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make a new pen.json for a pen that has one, or has lost it."),
    ] = False,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Identity, key, account, pen.json."""
    if rotate:
        done = enrolment.rotate(pen, registry, out, is_dry=dry_run)
    else:
        known = building.boards(building.device_folder())
        if board not in known:
            raise WorkshopError(f"there is no board {board!r}. Known boards: {', '.join(known)}.")
        if broker_host is None:
            raise WorkshopError("--broker-host is needed: the broker's name, as the pen sees it.")
        wifi = None
        if wifi_ssid is not None:
            wifi = {"ssid": wifi_ssid, "password": _wifi_password(wifi_ssid)}
            if time_server is not None:
                wifi["time_server"] = time_server
        elif board != enrolment.VIRTUAL:
            raise WorkshopError(f"--wifi-ssid is needed: a pen with {board} connects by Wi-Fi.")
        packs = None if config is None else read_settings(config).policy.folder
        policy = read_policy(read_registry(registry).clinic.policy, packs)
        place = enrolment.Place(
            board, broker_host, broker_port, ca, wifi, policy.grant.without_grant, motor_interlock
        )
        done = enrolment.enroll(pen, registry, out, place, like, is_forced=force, is_dry=dry_run)
    if as_json:
        print(json.dumps(done.json() | {"dry_run": dry_run}))
        return
    print(f"{'Would write' if dry_run else 'Written'}: {', '.join(map(str, done.written))}")
    if rotate:
        _tell_rotated(done, registry, out)
    else:
        _tell_enrolled(done, registry, out)


@pen_app.command(
    "retire",
    short_help="Take a pen's old keys away, once it has changed over.",
    help="Take a pen's old keys out of the registry and its pen.json. It is refused until the ledger "
    "holds a record under the newest key: a pen changes over only when its old records have arrived. "
    "Import the registry afterwards; from then on nothing is taken in under the old keys.",
    epilog="Example: needletrail pen retire pen-04 --registry clinic.toml --out pens/pen-04 "
    "--config gateway.toml",
)
def retire(
    pen: Annotated[str, typer.Argument(metavar="PEN", help="The pen's id.")],
    registry: RegistryOption,
    out: FolderOption,
    config: ConfigOption = None,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The ledger itself, instead of --config.")
    ] = None,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Only if nothing is missing."""
    if (config is None) == (ledger is None):
        raise WorkshopError("give the ledger: either --config FILE or --ledger FILE.")
    location: str | Path | None = ledger
    if config is not None:
        location = read_settings(config).ledger.location
    assert location is not None
    if isinstance(location, Path) and not location.is_file():
        raise WorkshopError(f"{location}: there is no such ledger.")
    opened = Ledger.open(location)
    try:
        recorded = [
            lane["epoch"] for lane in opened.lanes() if lane["pen"] == pen and lane["next_seq"] > 1
        ]
    finally:
        opened.close()
    done = enrolment.retire(pen, registry, out, recorded, is_dry=dry_run)
    if as_json:
        print(json.dumps(done.json() | {"dry_run": dry_run}))
        return
    epochs = ", ".join(map(str, done.old_epochs))
    print(f"{'Would retire' if dry_run else 'Retired'}: the keys of {pen} of epoch {epochs}.")
    print(f"Next: needletrail registry import {registry} --config gateway.toml")


@pen_app.command(
    "key",
    short_help="Make the key that signs firmware.",
    help="Make the private key with which `needletrail pen build` signs firmware. Pens that were "
    "flashed with a firmware signed by it take updates that it has signed, and no others. Keep it "
    "safe, and a copy elsewhere: without it pens can be updated by cable only.",
    epilog="Example: needletrail pen key firmware.pem",
)
def key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write it; kept if it is there.")
    ],
    as_json: JsonOption = False,
) -> None:
    """RSA, 3072 bits."""
    bundle.make_key(file)
    name = bundle.key_name(bundle.public_modulus(file))
    if as_json:
        print(json.dumps({"file": str(file), "name": name}))
    else:
        print(f"Written: {file}, key {name}. Only you can read it.")


@pen_app.command(
    "build",
    short_help="Make the firmware for a board.",
    help="Make the firmware for a board: only the modules that it needs, shrunk and compiled by "
    "mpy-cross. DIR is filled as the pen's flash will be. With --key there is also a signed bundle, "
    "which pens take as an update. Prints the size of each module.",
    epilog="Example: needletrail pen build --board esp32_s3 --out build/esp32_s3 --key firmware.pem "
    "--version 2 --text 0.2.0",
)
def build(
    board: BoardOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="What an earlier build left in it goes.")],
    signing_key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="A key made by needletrail pen key.")
    ] = None,
    version: Annotated[
        int, typer.Option(min=1, help="The number that must rise: pens take no update below their own.")
    ] = 1,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What people call this version.")] = "0.1.0",
    as_json: JsonOption = False,
) -> None:
    """Bytecode, sizes, bundle."""
    with _Bar("compiling") as progress:
        built = building.build(board, out, version, text, signing_key, progress=progress)
    if as_json:
        found: dict[str, Any] = {"board": board, "version": version, "text": text}
        found |= {"bytes": built.total_bytes, "modules": built.sizes, "bundle": built.bundle}
        print(json.dumps(found))
        return
    table = Table("module", "bytes", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for module, size in built.sizes.items():
        table.add_row(module, str(size))
    table.add_row("total", str(built.total_bytes), style="bold")
    Console().print(table)
    print(f"Firmware {text} for {board} is in {out}.")
    if built.bundle is None:
        print("It has no update key: pens with it can be updated by cable only. --key gives it one.")
    else:
        print(f"Signed bundle: {out / built.bundle}")


@pen_app.command(
    "traceback",
    short_help="Say a traceback of a pen in the words of the sources.",
    help="Say a traceback of a pen in the words of the sources: a built firmware calls everything "
    "otherwise, and has no line numbers. DIR must be of the very build that the pen runs. Where a word "
    "stands for several functions, all are given, the likeliest first. All other text stays as it is.",
    epilog="Example: needletrail pen traceback crash.txt --from build/esp32_s3",
)
def traceback(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What the pen said; -: standard input.")],
    folder: Annotated[
        Path, typer.Option("--from", metavar="DIR", help="What needletrail pen build has filled.")
    ],
) -> None:
    """A text in, a text out."""
    names = traces.read(folder)
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise WorkshopError(f"{file}: {error.strerror}.") from error
    sys.stdout.write(traces.translate(data.decode("utf-8", "replace"), names))


@pen_app.command(
    "flash",
    short_help="Put firmware and pen.json onto a pen by cable.",
    help="Put firmware and pen.json onto a pen by cable, and read every file back. The board must run "
    "MicroPython 1.25 or newer. The pen's records stay, unless --erase is given and confirmed. "
    "--dry-run prints the commands for an empty pen and needs none.",
    epilog="Example: needletrail pen flash --port /dev/ttyACM0 --from build/esp32_s3 "
    "--pen-json pens/pen-04/pen.json",
)
def flash_pen(
    folder: Annotated[
        Path,
        typer.Option("--from", metavar="DIR", help="A folder that needletrail pen build has filled."),
    ],
    port: PortOption = "auto",
    pen_json: Annotated[
        Path | None,
        typer.Option(
            "--pen-json", metavar="FILE", help="The pen's own; left out: the pen keeps what it has."
        ),
    ] = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Throw away the records on the pen. Asks before it does.")
    ] = False,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look, check, write, verify, restart."""
    load = flash.read_load(folder, pen_json)
    pen = Port(port)
    if dry_run:
        found = flash.Found()
        commands = flash.plan(found, load, is_erasing=False)
        lines = [pen.shown(one) for one in commands] + [pen.shown(["reset"])]
        print(json.dumps({"dry_run": True, "commands": lines}) if as_json else "\n".join(lines))
        return
    found = flash.look(pen)
    warnings = flash.check(found, load, datetime.now(UTC), is_erasing=erase)
    for warning in warnings:
        print(f"Mind: {warning}", file=sys.stderr)
    if erase and found.epochs:
        what = (
            f"Throw away the records of {found.pen.get('pen', 'this pen')} ({', '.join(found.epochs)})?"
        )
        typer.confirm(what, abort=True, err=True)
    with _Bar("writing") as progress:
        flash.write(pen, flash.plan(found, load, is_erasing=erase), load, progress)
    flash.restart(pen)
    if as_json:
        said = {"port": port, "machine": found.machine, "micropython": found.version}
        print(json.dumps(said | {"files": list(load.files), "warnings": warnings}))
    else:
        print(
            f"{len(load.files)} files are on the pen and were read back. It starts with firmware "
            f"{load.built.text}."
        )


@pen_app.command(
    "calibrate",
    short_help="Measure the dial's marks, and make the pen's table.",
    help="Measure the dial: for each mark you set the ring, the pen is read, and a table is fitted. It "
    "goes into pen.json with date and residual (a mark's greatest distance from a straight line), onto "
    "the pen, and into the registry. Begin and end with the ring's two stops. Readings that are not "
    "steady, or that can be no dial's, are refused. With --check nothing is changed: exit code 3 if "
    "the table no longer fits.",
    epilog="Example: needletrail pen calibrate --pen-json pens/pen-04/pen.json --port /dev/ttyACM0 "
    "--registry clinic.toml --marks 0,0.5,1,1.5,2,2.5",
)
def calibrate(
    pen_json: Annotated[Path, typer.Option("--pen-json", metavar="FILE", help="The pen's own.")],
    port: PortOption = "auto",
    registry: Annotated[
        Path | None,
        typer.Option(
            "--registry", metavar="FILE", help="The clinic's registry: it gets the table, too."
        ),
    ] = None,
    marks: Annotated[
        str | None,
        typer.Option(
            metavar="MM,…", help="The marks in millimetres; left out: those of the table so far."
        ),
    ] = None,
    both_sides: Annotated[
        bool,
        typer.Option("--both-sides", help="Go up through the marks and down again: shows backlash."),
    ] = False,
    readings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Readings from a file instead: CSV with mark_mm,counts."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare with the table; exit code 3 if it has moved.")
    ] = False,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Marks in, table out."""
    pen = pen_file.read_pen(pen_json)
    table = [(int(counts), int(depth)) for counts, depth in pen["calibration"]]
    tolerance_um = int(pen["reading_tolerance_um"])
    file = None if registry is None else RegistryFile(registry)
    if file is not None and file.registry.find_pen(pen["pen"]) is None:
        raise WorkshopError(f"{registry}: there is no pen {pen['pen']}.")
    if readings is not None:
        measured = [calibrating.settle(depth, counts) for depth, counts in read_file(readings)]
    else:
        depths = calibrating.default_marks_um(table) if marks is None else parse_marks(marks)
        on_pen = flash.look(Port(port)).pen
        if on_pen and (on_pen["clinic"], on_pen["pen"]) != (pen["clinic"], pen["pen"]):
            raise WorkshopError(f"the pen at {port} is {on_pen['pen']}, {pen_json} is of {pen['pen']}.")
        order = [*depths, *reversed(depths)] if both_sides else depths
        measured = list(_measure(Port(port), pen["board"], order))
    if check:
        _tell_drift(table, measured, tolerance_um, as_json=as_json)
        return
    fit = calibrating.fit(measured, tolerance_um)
    today = datetime.now(UTC).replace(microsecond=0)
    now = today.isoformat().replace("+00:00", "Z")
    found = {
        "calibration": [list(point) for point in fit.points],
        "calibrated_utc": now,
        "calibration_residual_um": fit.largest_residual_um,
        "calibration_rms_um": round(fit.rms_um),
        "calibration_backlash_um": fit.backlash_um,
    }
    if not dry_run:
        if file is not None:
            remark = f"{now[:10]}, residual {mm(fit.largest_residual_um)}"
            file.set_calibration(pen["pen"], fit.points, today.date(), remark)
            file.save()
        pen_file.write_pen(pen_json, pen | found)
        if readings is None:
            _put(Port(port), pen_json)
    if as_json:
        print(json.dumps({"pen": pen["pen"], "dry_run": dry_run} | found))
    else:
        _tell_fit(fit, measured, pen, registry, dry_run=dry_run, is_on_pen=readings is None)


# ---- what it says ----


def _tell_enrolled(done: enrolment.Enrolled, registry: Path, out: Path) -> None:
    print(
        f"{done.pen} of {done.clinic}: key epoch {done.epoch}, broker account {done.username}.\n"
        f"Broker: append {out / enrolment.PASSWORD_FILE} to its password_file (in place of the pen's "
        f"old line) and {out / enrolment.ACCESS_FILE} to its acl_file, then reload it.\n"
        f"Gateway: needletrail registry import {registry} --config gateway.toml"
    )
    if done.calibration_of is not None:
        print(
            f"The table is that of {done.calibration_of} for now. Depths are not to be trusted before: "
            "needletrail pen calibrate"
        )


def _tell_rotated(done: enrolment.Enrolled, registry: Path, out: Path) -> None:
    print(
        f"{done.pen} of {done.clinic}: key epoch {done.epoch}; of epoch "
        f"{', '.join(map(str, done.old_epochs))} the key stays for what has not arrived yet.\n"
        f"1. needletrail registry import {registry} --config gateway.toml\n"
        f"2. needletrail pen flash --from DIR --pen-json {out / pen_file.FILE}\n"
        f"3. Use the pen near the gateway. It delivers its old records first, then changes over.\n"
        f"4. needletrail pen retire {done.pen} --registry {registry} --out {out} "
        "--config gateway.toml\n"
        "   It says when the old key may go: as soon as a record under the new one is in the ledger."
    )


def _tell_fit(
    fit: Fit,
    measured: Iterable[Mark],
    pen: dict[str, Any],
    registry: Path | None,
    *,
    dry_run: bool,
    is_on_pen: bool,
) -> None:
    spread = {mark.um: mark.spread_counts for mark in measured}
    table = Table("mark", "counts", "spread", "off the line", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for (counts, depth), residual in zip(fit.points, fit.residual_um, strict=True):
        table.add_row(mm(depth), str(counts), str(spread[depth]), f"{residual / 1000:+.3f} mm")
    Console().print(table)
    backlash = "" if fit.backlash_um is None else f", backlash {mm(fit.backlash_um)}"
    print(
        f"{pen['pen']}: residual at most {mm(fit.largest_residual_um)}, rms {mm(fit.rms_um)}"
        f"{backlash}. {'Nothing was stored.' if dry_run else 'Stored in pen.json.'}"
    )
    if dry_run:
        return
    if registry is None:
        rows = ", ".join(f"[{counts}, {depth / 1000}]" for counts, depth in fit.points)
        print(f"The registry must say the same:\ncalibration = [{rows}]")
    else:
        print(f"Next: needletrail registry import {registry} --config gateway.toml")
    if not is_on_pen:
        print("The pen must get it, too: needletrail pen flash.")


def _tell_drift(
    table: list[tuple[int, int]], measured: list[Mark], tolerance_um: int, *, as_json: bool
) -> None:
    if not measured:
        raise WorkshopError("there are no readings to compare.")
    drift = [(mark.um, calibrating.drift_um(table, mark)) for mark in measured]
    has_moved = any(abs(moved) > tolerance_um for _, moved in drift)
    if as_json:
        rows = [{"mark_um": depth, "drift_um": moved} for depth, moved in drift]
        found = {"tolerance_um": tolerance_um, "marks": rows, "has_drifted": has_moved}
        print(json.dumps(found))
    else:
        for depth, moved in drift:
            mark = "  beyond the tolerance" if abs(moved) > tolerance_um else ""
            print(f"{mm(depth)}  {moved / 1000:+.3f} mm{mark}")
    if has_moved:
        print(
            f"needletrail: the dial has moved by more than {mm(tolerance_um)}: depths are wrong. "
            "Look for a loose magnet, then calibrate the pen anew.",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_DRIFTED)
    if not as_json:
        print(f"The table still fits, within {mm(tolerance_um)}.")


# ---- what it does by hand ----


def _measure(port: Port, board: str, depths: Iterable[int]) -> Iterable[Mark]:
    """Ask for each mark, until it was steady."""
    for depth in depths:
        while True:
            _ask(f"Set the ring to {mm(depth)}, let go of it, press Enter: ")
            try:
                mark = calibrating.settle(depth, read_from_pen(port, board))
            except CalibrationError as error:
                print(f"Once more: {error}", file=sys.stderr)
                continue
            print(f"  {mark.counts} counts, spread {mark.spread_counts}", file=sys.stderr)
            yield mark
            break


def _ask(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
    if not sys.stdin.readline():
        _stop("there is nobody to set the ring. --readings takes readings from a file.")


def _stop(text: str) -> NoReturn:
    raise WorkshopError(text)


def _put(port: Port, path: Path) -> None:
    """The changed pen.json onto the pen, read back."""
    port.run(["fs", "cp", "-f", str(path.resolve()), f":{pen_file.FILE}"], timeout_s=60)
    if flash.verify(port, {pen_file.FILE: path.read_bytes()}):
        raise ToolError("the pen did not take its new pen.json. Try needletrail pen flash.")
    flash.restart(port)


def _wifi_password(ssid: str) -> str:
    password = os.environ.get(WIFI_PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            _stop(f"the password of {ssid} is needed: set {WIFI_PASSWORD} (empty: an open network).")
        password = str(typer.prompt(f"Password of {ssid}", default="", hide_input=True, err=True))
    if password and not 8 <= len(password.encode()) <= 63:
        _stop("a Wi-Fi password has 8 to 63 characters; an open network has none.")
    return password


class _Bar:
    """A progress bar on stderr, while there is something to wait for."""

    def __init__(self, what: str) -> None:
        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._progress.start()
        return lambda done, of: self._progress.update(self._task, completed=done, total=of)

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
