"""Ledgers as a clinic makes them: honest pens through the real intake, and entries of all kinds."""

import random
import shutil
from pathlib import Path

import structlog
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.notes import NOTE
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record import checkpoints
from needletrail_gateway.record.checkpoints import Checkpoint
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_policy

DAY_MS = 24 * 3_600_000
CLIENT = "c-7k2m9qxa"
FORGOTTEN = "c-f0rg0tten"


def work_a_day(desk: Desk, pens: list[HonestPen], dice: random.Random, sessions: int = 2) -> None:
    """Each pen connects, works, loses a record now and then, breaks off, and is judged."""
    for pen in pens:
        pen.boot(desk.now_utc_ms)
        desk.receive(pen.sent[-1], pen.hello(oldest_seq=pen.seq, t_ms=pen.t_ms))
    for _ in range(sessions):
        for pen in pens:
            before = len(pen.sent)
            who = dice.choice(["est-01", "md-01", "rn-01", "nobody"])
            pen.open(badge(who), cartridge_tag(f"{dice.randrange(10**6):06d}"))
            for _ in range(3):
                pen.work(dice.choice([300, 490, 2400]), dice.choice([400, 1000]))
                pen.rest()
            if dice.random() < 0.3:
                pen.fault("skin")
            if dice.random() < 0.2:
                pen.alert_shown("PRACTITIONER_UNKNOWN")
            if dice.random() < 0.1:
                pen.lose(dice.randrange(1, 4))
            if dice.random() < 0.1:
                pen.raw(b"\x83\x18\x63" + _number(pen.seq + 1) + b"\x00")  # kind 99: kept as refused
            pen.close()
            desk.receive(pen.sent[before:])
            desk.commit()
            desk.now_utc_ms += 60_000


def _number(value: int) -> bytes:
    return b"\x1a" + value.to_bytes(4, "big") if value > 0xFFFF else _short(value)


def _short(value: int) -> bytes:
    if value < 24:
        return bytes([value])
    return b"\x18" + bytes([value]) if value < 256 else b"\x19" + value.to_bytes(2, "big")


def fill(ledger: Ledger, policy: Policy, entries: int, seed: int = 1) -> Desk:
    """Work day after day until the ledger has so many entries, signing now and then."""
    dice = random.Random(seed)
    desk = Desk(ledger, policy)
    pens = [HonestPen(pen_id) for pen_id in KEYS]
    while ledger.last_entry_id() < entries:
        work_a_day(desk, pens, dice)
        for client in (CLIENT, FORGOTTEN):
            said = {"who": "desk", "at_utc_ms": 0, "practitioner": "rn-01", "client": client}
            ledger.note(NOTE, said, desk.now_utc_ms)
        desk.now_utc_ms += DAY_MS
    return desk


def signing_key(folder: Path) -> Path:
    """A new key's file; its public half is beside it."""
    path = folder / "ledger.key"
    checkpoints.make_key(path)
    return path


def clinic_ledger(folder: Path, entries: int, seed: int = 1) -> tuple[Path, Checkpoint]:
    """A closed ledger of so many entries, and a checkpoint of its last one that is kept elsewhere."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    path = folder / "ledger.sqlite"
    key = checkpoints.read_key(signing_key(folder))
    ledger = Ledger.open(path)
    ledger.import_registry(clinic(), KEYS, NOW_UTC_MS)
    policy = read_policy("default")
    fill(ledger, policy, entries // 2, seed)
    checkpoints.make(ledger, key, NOW_UTC_MS + DAY_MS)
    dice = random.Random(seed)
    epoch = ledger.enrol_anew("pen-02", b"e" * 32, NOW_UTC_MS)
    later = HonestPen("pen-02", epoch, b"e" * 32)
    desk = Desk(ledger, policy)
    while ledger.last_entry_id() < entries - 1:
        work_a_day(desk, [later], dice)
    kept = checkpoints.make(ledger, key, NOW_UTC_MS + 2 * DAY_MS)
    ledger.close()
    # It is kept of the very last entry: what is cut off, is seen.
    return path, kept


def copy_of(source: Path, folder: Path, name: str = "copy.sqlite") -> Path:
    """The same ledger again, to be altered."""
    path = folder / name
    shutil.copyfile(source, path)
    return path
