"""`needletrail demo`: a clinic's morning with three virtual pens, live in the terminal.

The scripts in tapes/clinic/morning become tapes; each pen plays its own, one after another, all pens at
the same time, through the real firmware, broker and gateway. What is shown is read from the ledger
like any other view; the live depth is counted from the committed readings.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.pens import PenError, VirtualPen
from needletrail_gateway.bench.play_view import COLOURS, MARKS, verdict_text
from needletrail_gateway.bench.recorder import read_script, record
from needletrail_gateway.core.registry.model import Registry, um
from needletrail_gateway.core.treatment import Rules, utc
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.shell.documents import (
    DocumentError,
    data_folder,
    read_policy,
    read_registry,
)
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Meter
from needletrail_protocol.readings import Readings, decode_record

_REFRESH_S = 0.2
_SPARKS = " ▁▂▃▄▅▆▇█"
_TRACE_WIDTH = 48
_OTHER_COLUMNS_WIDTH = 88
_NARROW_WIDTH = _OTHER_COLUMNS_WIDTH + 10  # on a narrower terminal verdicts come before the trace
_TRACE_STEP = 25  # readings a column of the trace stands for


def run_demo(speed: float, keep: Path | None, console: Console) -> None:
    """Play the morning and show it. Files stay in `keep`, if given."""
    clinic = data_folder("clinic", Path(__file__).parents[3] / "tapes" / "clinic")
    registry = read_registry(clinic / "registry.toml")
    rules = Rules(read_policy(registry.clinic.policy), registry)
    with _folder(keep) as folder:
        tapes = _record_tapes(clinic, registry, folder)
        with House(folder, registry, folder / "ledger.sqlite") as house:
            morning = _Morning(house, tapes, speed)
            view = View(house.ledger, rules, sum(map(len, tapes.values())))
            morning.start()
            try:
                with Live(view.picture(console.width), console=console, refresh_per_second=8) as live:
                    while morning.is_running():
                        house.check()
                        time.sleep(_REFRESH_S)
                        view.update()
                        live.update(view.picture(console.width))
                    view.update()
                    live.update(view.picture(console.width))
            finally:
                morning.stop()
            morning.check()
            _summarize(console, house.ledger, keep, folder)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="needletrail-") as name:
            yield Path(name)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise DocumentError(f"{keep}: is there already and is not an empty folder. Name another.")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


def _record_tapes(clinic: Path, registry: Registry, folder: Path) -> dict[str, list[Path]]:
    """A tape for each script, by pen, in the order of their starts."""
    (folder / "tapes").mkdir()
    tapes: dict[str, list[Path]] = {}
    scripts = [read_script(path) for path in (clinic / "morning").glob("*.toml")]
    for script in sorted(scripts, key=lambda script: script.start):
        pen = registry.find_pen(script.pen)
        if pen is None:
            raise DocumentError(f"{clinic}: script {script.tape} names the unknown pen {script.pen}")
        calibration = [(counts, um(mm)) for counts, mm in pen.calibration]
        text, _ = record(script, calibration, Random(script.seed))
        path = folder / "tapes" / f"{script.tape}.csv"
        path.write_text(text)
        tapes.setdefault(script.pen, []).append(path)
    return dict(sorted(tapes.items()))


class _Morning:
    """The pens at work, a thread each."""

    def __init__(self, house: House, tapes: dict[str, list[Path]], speed: float) -> None:
        self.pens = {pen_id: house.pen(pen_id) for pen_id in tapes}
        self._tapes = tapes
        self._speed = speed
        self._is_stopped = False
        self._failures: list[PenError] = []
        self._threads = [
            threading.Thread(target=self._work, args=(pen, tapes[pen_id]), name=pen_id)
            for pen_id, pen in self.pens.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _work(self, pen: VirtualPen, tapes: list[Path]) -> None:
        try:
            for tape in tapes:
                if not self._is_stopped:
                    pen.play(tape, self._speed, self._watch)
        except PenError as error:
            if not self._is_stopped:
                self._failures.append(error)

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None and not self._is_stopped:
            time.sleep(_REFRESH_S)

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._is_stopped = True
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        if self._failures:
            raise self._failures[0]


class View:
    """The picture of the morning, brought up to date from the ledger."""

    def __init__(self, ledger: Ledger, rules: Rules, tapes: int) -> None:
        self._ledger = ledger
        self._registry = rules.registry
        self._meters: dict[str, Meter] = {}
        self._seen = 0
        self._tapes = tapes
        self._traces: dict[str, list[float]] = {}
        self._peaks: dict[str, float] = {}

    def update(self) -> None:
        while entries := self._ledger.entries(self._seen):
            for entry in entries:
                self._seen = entry.id
                depths_mm = self._depths_mm(entry)
                for start in range(0, len(depths_mm), _TRACE_STEP):
                    deepest = max(depths_mm[start : start + _TRACE_STEP])
                    session_id = entry.session_id or ""
                    self._traces.setdefault(session_id, []).append(deepest)
                    self._peaks[session_id] = max(deepest, self._peaks.get(session_id, 0.0))

    def _depths_mm(self, entry: Entry) -> list[float]:
        """The depth setting at each of the entry's readings, 0 where the needles do not work."""
        pen = self._registry.find_pen(entry.pen or "")
        if entry.kind != "record" or entry.session_id is None or pen is None:
            return []
        record = decode_record(open_envelope(entry.body)[1])
        if record.kind == messages.OPEN:
            self._meters[entry.session_id] = Meter(record.lead, record.strokes, DIAL_MAX_COUNTS, False)
        if record.kind != messages.SAMPLES:
            return []
        meter, readings = self._meters[entry.session_id], Readings(record)
        calibration = pen.counts_to_depth()
        depths_mm = []
        for reading in zip(
            readings.t_ms, readings.dial, readings.strokes, readings.contact, strict=True
        ):
            meter.step(*reading)
            depths_mm.append(calibration.depth_um(meter.counts) / 1000 if meter.is_working else 0.0)
        return depths_mm

    def picture(self, width: int) -> Group:
        """The morning as it stands, for a terminal so many characters wide."""
        trace_width = 0 if width < _NARROW_WIDTH else min(width - _OTHER_COLUMNS_WIDTH, _TRACE_WIDTH)
        sessions = sorted(self._ledger.sessions(), key=lambda row: row["started_utc_ms"] or 0)
        alerts: dict[str, list[str]] = {}
        for alert in self._ledger.alerts():
            mark = "⚑" if alert["reached_pen"] else "…"
            alerts.setdefault(alert["session_id"], []).append(f"{mark} {alert['code']}")
        table = Table(box=None, header_style="bold", expand=True, pad_edge=False)
        names = ["pen", "who", "peak / limit", "alert (⚑ felt at pen)", "verdict"]
        if trace_width:
            names = ["start", *names[:2], "depth while working", *names[2:]]
        for name in names:
            table.add_column(name, no_wrap=True, justify="right" if "peak" in name else "left")
        for row in sessions:
            cells = self._session_cells(row, alerts.get(row["session_id"], []), trace_width)
            table.add_row(*(cells[name] for name in names))
        judged = sum(row["verdict"] is not None for row in sessions)
        title = f"{self._registry.clinic.name} · {judged} of {self._tapes} treatments judged"
        return Group(Panel(table, title=title, border_style="cyan"), self._cartridges(sessions))

    def _session_cells(
        self, row: dict[str, Any], alerts: list[str], trace_width: int
    ) -> dict[str, str | Text]:
        session_id = row["session_id"]
        limit_mm = row["limit_um"] / 1000
        peak_mm = self._peaks.get(session_id, 0.0)
        started = row["started_utc_ms"]
        is_beyond = peak_mm > limit_mm + 0.03
        return {
            "start": "" if started is None else f"{utc(started):%H:%M:%S}",
            "pen": row["pen"],
            "who": row["practitioner"] or "nobody",
            "depth while working": _trace(self._traces.get(session_id, []), limit_mm, trace_width),
            "peak / limit": Text(f"{peak_mm:.2f} / {limit_mm:.2f} mm", "bold red" if is_beyond else ""),
            "alert (⚑ felt at pen)": Text("\n".join(alerts), "red"),
            "verdict": self._verdict(row),
        }

    def _verdict(self, row: dict[str, Any]) -> Text:
        statement = self._ledger.statement(row)
        if statement is None:
            return Text("at work", "cyan")
        verdict = statement["verdict"]
        said = Text(f"{MARKS[verdict]} {verdict}", COLOURS[verdict])
        if verdict == "review":  # no alert says why
            said.append("".join(f"\n{reason}" for reason in statement["reasons"]))
        return said

    def _cartridges(self, sessions: list[dict[str, Any]]) -> Text:
        counts: dict[tuple[str, str], int] = {}
        for row in sessions:
            if row["worked"] and row["gtin"] is not None and not row["reused"]:
                key = (row["gtin"], row["lot"] or "?")
                counts[key] = counts.get(key, 0) + 1
        said = Text("Cartridges used: ")
        for (gtin, lot), used in sorted(counts.items()):
            product = self._registry.find_product(gtin)
            known = self._registry.find_lot(gtin, lot)
            of = "" if known is None else f" of {known.received}"
            recalled = " (recalled)" if known is not None and known.recalled is not None else ""
            name = gtin if product is None else product.name
            said.append(f" {name}, {lot}: {used}{of}{recalled} ", "red" if recalled else "")
        return said


def _trace(depths: list[float], limit_mm: float, width: int) -> Text:
    """The deepest setting in each stretch, scaled to a third above the limit; red beyond it."""
    trace = Text()
    top_mm = max(limit_mm * 4 / 3, 0.1)
    for depth_mm in depths[-width:]:
        level = min(round(depth_mm / top_mm * (len(_SPARKS) - 1)), len(_SPARKS) - 1)
        spark = _SPARKS[max(level, 1)] if depth_mm > 0 else " "
        trace.append(spark, "bold red" if depth_mm > limit_mm + 0.03 else "cyan")
    return trace


def _summarize(console: Console, ledger: Ledger, keep: Path | None, folder: Path) -> None:
    statements = [
        statement for row in ledger.sessions() if (statement := ledger.statement(row)) is not None
    ]
    console.print()
    for statement in statements:
        verdict = verdict_text(statement["verdict"], statement["reasons"])
        console.print(f"{statement['session_id']:<12} {verdict}")
        for rule in statement["rules"]:
            console.print(f"{'':<12} {rule['text']}", style="dim", highlight=False)
            console.print(f"{'':<12} {rule['citation'][0]}", style="dim", highlight=False)
    samples = sum(statement["samples"] for statement in statements)
    console.print(
        f"\n{len(statements)} treatments, {samples} samples, {ledger.last_entry_id()} ledger entries."
    )
    console.print("\nWhat to try next:")
    if keep is None:
        console.print("  needletrail demo --keep morning      keeps the ledger, the tapes and the logs")
    else:
        console.print(f"  {folder} holds ledger.sqlite, tapes/, gateway.log and the pens' flash/")
    console.print("  needletrail demo --speed 5           the same, five times as fast")
    console.print(
        "  needletrail play tapes/bench/02-cosmetic-exceeded.csv --registry tapes/bench/registry.toml",
        soft_wrap=True,
    )
    console.print("  needletrail --help")
