"""`needletrail play`: tapes through the real firmware, broker and gateway into one ledger.

Every tape is checked on the host before anything starts. Then each is one power-on of its pen, in the
order given; the answer for a tape is read from the ledger when the pen says that all of it has been
acknowledged.
"""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.pens import VirtualPen
from needletrail_gateway.bench.tapes import Tape, TapeError, read_tape
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import iso
from needletrail_gateway.record.ledger import Ledger

INFLUX_DRAIN_TIMEOUT_S = 60.0
_POLL_S = 0.05

# The keys of an answer, in their order; the ledger's statement has more.
_KEYS = (
    "session_id",
    "pen",
    "practitioner",
    "cartridge",
    "started",
    "session_samples",
    "session_ms",
    "strokes",
    "passes",
    "peak_mm",
    "scope_mm",
    "scope_inclusive",
    "limited_by",
    "breach_ms",
    "verdict",
    "reasons",
    "policy",
)


class Progress(Protocol):
    """Who shows how far it is."""

    def started(self, tape: Tape) -> None:
        """A tape begins."""

    def played(self, tape: Tape, readings: int) -> None:
        """So many of its readings are in the ledger."""

    def ended(self, tape: Tape, answer: Mapping[str, Any]) -> None:
        """The answer for it is known."""


@dataclass(frozen=True)
class Played:
    """All answers, in the order of the tapes, and how many ledger entries InfluxDB has not taken."""

    answers: list[dict[str, Any]]
    influx_waiting: int


def read_tapes(paths: Sequence[Path], registry: Registry) -> list[tuple[Path, Tape]]:
    """All tapes, checked. TapeError for the first that can not be played."""
    tapes = []
    for path in paths:
        tape = read_tape(path)
        if registry.find_pen(tape.pen) is None:
            raise TapeError(
                path,
                2,
                f"the pen {tape.pen} is not in the registry",
                "Add it there, or play the tape with the registry of its clinic.",
            )
        tapes.append((path, tape))
    return tapes


def play(
    tapes: Sequence[tuple[Path, Tape]],
    registry: Registry,
    ledger_path: Path | None,
    speed: float,
    influx: Mapping[str, str],
    progress: Progress,
) -> Played:
    """Play the tapes in order. `speed` is times real time, 0 as fast as the firmware can."""
    with tempfile.TemporaryDirectory(prefix="needletrail-") as name:
        folder = Path(name)
        location = folder / "ledger.sqlite" if ledger_path is None else ledger_path
        with House(folder, registry, location, influx) as house:
            pens: dict[str, VirtualPen] = {}
            answers = []
            for path, tape in tapes:
                if tape.pen not in pens:
                    pens[tape.pen] = house.pen(tape.pen)
                answers.append(_play_one(house, pens[tape.pen], path, tape, speed, progress))
            waiting = house.await_influx(INFLUX_DRAIN_TIMEOUT_S) if influx else 0
        return Played(answers, waiting)


def _play_one(
    house: House, pen: VirtualPen, path: Path, tape: Tape, speed: float, progress: Progress
) -> dict[str, Any]:
    progress.started(tape)
    before = house.ledger.last_entry_id()

    def watch(process: "subprocess.Popen[bytes]") -> None:
        read = 0
        seen = before
        while process.poll() is None:
            time.sleep(_POLL_S)
            house.check()
            arrived = house.ledger.entries(seen)
            if arrived:
                seen = arrived[-1].id
                read += 50 * len(arrived)  # a samples record holds a second; near enough for a bar
                progress.played(tape, min(read, len(tape.rows)))

    pen.play(path, speed, watch)
    answer = answer_for(house.ledger, tape.name, pen.pen.id, before)
    progress.ended(tape, answer)
    return answer


def answer_for(ledger: Ledger, tape: str, pen_id: str, after_entry: int) -> dict[str, Any]:
    """What the ledger says of the sessions that a pen has opened since an entry.

    The first session is the answer; if the tape held more, they follow under "other_sessions".
    """
    statements = [
        statement
        for row in ledger.sessions(after_entry)
        if row["pen"] == pen_id and (statement := ledger.statement(row)) is not None
    ]
    answers = [_answer(tape, statement) for statement in statements]
    if not answers:
        return {"tape": tape, "session_id": None, "pen": pen_id, "verdict": None, "reasons": []}
    if len(answers) > 1:
        answers[0]["other_sessions"] = answers[1:]
    return answers[0]


def _answer(tape: str, statement: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"tape": tape}
    answer.update((key, statement[key]) for key in _KEYS)
    answer["alerts"] = [
        {
            "code": alert["code"],
            "raised": iso(alert["raised_utc_ms"]),
            "reached_pen": alert["reached_pen"],
        }
        for alert in statement["alerts"]
    ]
    return answer
