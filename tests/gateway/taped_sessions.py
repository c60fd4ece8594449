"""The bench's tapes as sessions of a ledger, and what their truth says of them.

A tape's rows go through the contact sensor's definition, and its events open and close the session, as
plainly as tests/bench/reference has it; the records are an honest pen's. So what points say can be held
against truths that no code of ours has counted.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.reference import Contact, session_rows
from gateway_desk import Desk
from honest_pen import BATCH, PERIOD_MS, HonestPen

from needletrail_gateway.bench.tapes import Tape, read_tape
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_registry
from needletrail_protocol import messages

BENCH = Path(__file__).resolve().parents[2] / "tapes" / "bench"
Reading = tuple[int, int, int, bool]  # t_ms, dial counts, strokes, contact
NAMES = sorted(path.stem for path in BENCH.glob("*.csv"))


def registry() -> Registry:
    """The clinic of the tapes."""
    return read_registry(BENCH / "registry.toml")


def keys() -> dict[str, bytes]:
    """Its pens' keys."""
    return {
        pen.id: bytes.fromhex(pen.key.get_secret_value())
        for pen in registry().pen
        if pen.key is not None
    }


def truth(name: str) -> dict[str, Any]:
    """What is known of a tape."""
    found: dict[str, Any] = json.loads((BENCH / f"{name}.truth.json").read_text())
    return found


def start_utc_ms(name: str) -> int:
    """When a tape's t_ms was 0."""
    return round(read_tape(BENCH / f"{name}.csv").start.timestamp() * 1000)


def began_t_ms(name: str) -> int:
    """When its session began."""
    tape = read_tape(BENCH / f"{name}.csv")
    return tape.rows[session_rows(tape)[0]].t_ms


def readings(name: str) -> list[Reading]:
    """Each reading of its session."""
    tape = read_tape(BENCH / f"{name}.csv")
    first, last = session_rows(tape)
    contact = Contact()
    found = []
    for index, row in enumerate(tape.rows[: last + 1]):
        is_contact = contact.step(row.t_ms, row.contact_adc)
        if index >= first:
            found.append((row.t_ms, row.dial_counts, row.strokes, is_contact))
    return found


def play(desk: Desk, names: Sequence[str]) -> None:
    """Record the tapes, one after another, each on its pen."""
    pens: dict[str, HonestPen] = {}
    for name in names:
        tape = read_tape(BENCH / f"{name}.csv")
        pen = pens.setdefault(tape.pen, HonestPen(tape.pen, key=keys()[tape.pen]))
        desk.now_utc_ms = start_utc_ms(name) + 3_600_000
        already = len(pen.sent)
        _record(pen, tape, readings(name))
        desk.take(pen.sent[already:])


def _record(pen: HonestPen, tape: Tape, found: list[Reading]) -> None:
    """Seal a tape's records: boot, open, samples, close. Its badge was read before."""
    first, _ = session_rows(tape)
    utc_ms = round(tape.start.timestamp() * 1000)
    pen.boot(utc_ms)
    said = {row.event.kind: row.event.message for row in tape.rows[: first + 1] if row.event}
    cartridge = said.get("cartridge")
    pen.strokes = tape.rows[max(0, first - 1)].strokes
    pen.t_ms = tape.rows[first].t_ms - PERIOD_MS
    pen.grant_utc_ms = utc_ms
    cause = messages.OPENED_BY_MOTOR if cartridge is None else messages.OPENED_BY_CARTRIDGE
    lead = [row.dial_counts for row in tape.rows[max(0, first - 4) : first]]
    pen.open(said.get("badge"), cartridge, cause, lead)
    for at in range(0, len(found), BATCH):
        times, dial, strokes, contact = (list(one) for one in zip(*found[at : at + BATCH], strict=True))
        pen.raw(
            messages.encode_samples(
                pen.seq + 1,
                pen.session,
                len(times),
                PERIOD_MS,
                times,
                dial,
                pen.strokes,
                strokes,
                contact,
            )
        )
        pen.t_ms, pen.strokes = times[-1], strokes[-1]
    pen.close()


def desk_with(path: Path, policy: Policy, names: Sequence[str]) -> Desk:
    """A desk on a new ledger in which the tapes are."""
    ledger = Ledger.open(path)
    ledger.import_registry(registry(), keys(), start_utc_ms(names[0]) - 86_400_000)
    desk = Desk(ledger, policy)
    play(desk, names)
    return desk
