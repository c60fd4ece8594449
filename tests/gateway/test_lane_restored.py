"""A gateway that is killed and comes back goes on to the same ledger as one that never stopped.

Random morning: two pens, sessions that open, work, are badged late or never, lose records, send what
is impossible, and end or do not end; cartridges that wander between the pens; clocks that are wrong,
and hellos that say so; grants that come late, parts that fail. One intake hears it
without a pause; another is killed at random moments, loses what it had not committed, and hears that
again. Every entry of the two ledgers must be the same, byte by byte.
"""

from collections import Counter
from random import Random

import pytest
from gateway_clinic import GTIN, NOW_UTC_MS, OTHER_GTIN, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen, Sent

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.ledger import Ledger
from needletrail_protocol import cbor, messages

PEOPLE = ("est-01", "md-01", "rn-01", "rn-02", "me-01", "old-01", "nobody")
DEPTHS_UM = (0, 300, 475, 500, 525, 700, 1500, 2600)


def act(random: Random, pen: HonestPen) -> list[Sent]:
    """One thing that happens to a pen."""
    who = badge(random.choice(PEOPLE)) if random.random() < 0.8 else None
    dice = random.random()
    if pen.boots == 0 or dice < 0.04:
        clock = None if random.random() < 0.3 else NOW_UTC_MS + 3_600_000 * pen.boots
        pen.grant_utc_ms = random.choice([None, NOW_UTC_MS, NOW_UTC_MS - 90_000_000])
        return [pen.boot(clock), *([hello(random, pen)] if random.random() < 0.6 else [])]
    if not pen.is_open or dice < 0.08:
        tag = cartridge_tag(
            f"{random.randrange(4):06d}",
            random.choice(["LOT24A", "LOT24A", "BAD"]),
            random.choice([GTIN, GTIN, OTHER_GTIN]),
            random.choice(["271231", "260630"]),
        )
        cause = random.choice([messages.OPENED_BY_CARTRIDGE, messages.OPENED_BY_BADGE])
        return [pen.open(who, tag if random.random() < 0.8 else None, cause)]
    if dice < 0.55:
        return pen.work(random.choice(DEPTHS_UM), random.choice([60, 180, 240, 600, 1400]))
    if dice < 0.65:
        return pen.rest()
    if dice < 0.75 and who is not None:
        return [pen.badge(who)]
    if dice < 0.80:
        pen.t_ms += 1_500  # nothing was measured for a while
        return pen.work(300, 200)
    if dice < 0.83:
        return [pen.lose(random.randrange(1, 4))]
    if dice < 0.86:
        return [pen.raw(cbor.encode([99, pen.seq + 1]))]
    if dice < 0.88:
        return [pen.alert_shown("DEPTH_EXCEEDED"), pen.local_breach()]
    if dice < 0.90:
        pen.session += 1  # the next readings belong to a session that was never opened
        impossible = pen.work(300, 200)
        pen.session -= 1
        return impossible
    if dice < 0.91 and pen.boots:
        return [hello(random, pen)]
    if dice < 0.93:
        return [pen.fault(random.choice(["dial", "skin"]), is_over=random.random() < 0.5)]
    if dice < 0.94:
        return [pen.will() if pen.connections else pen.not_armed("grant_expired")]
    if dice < 0.95:
        return [pen.grant_taken(NOW_UTC_MS)]
    if dice < 0.97:
        return [pen.sent[random.randrange(len(pen.sent))]]
    return [pen.close()]


def hello(random: Random, pen: HonestPen) -> Sent:
    """A connection: what the pen's clock says is told, and it may be far off."""
    t_ms = pen.t_ms + random.choice([0, 0, 20_000, 86_400_000])
    return pen.hello(t_ms=t_ms, utc_ms=random.choice([None, NOW_UTC_MS]))


def morning(random: Random) -> list[Sent]:
    """What two pens send, in the order in which it arrives."""
    pens = [HonestPen("pen-01"), HonestPen("pen-02")]
    sent = [message for _ in range(60) for message in act(random, random.choice(pens))]
    for pen in pens:
        if pen.is_open:
            sent.append(pen.close())
    return sent


def entries(ledger: Ledger) -> list[tuple[object, ...]]:
    """Everything in a ledger, apart from when it was committed.

    Verdicts that amend others are entered when a group is committed, so their place is not the same.
    """
    amended = {
        entry.id for entry in ledger.entries(kind="verdict", most=100_000) if "amends" in entry.json()
    }
    return [
        (entry.kind, entry.pen, entry.epoch, entry.seq, entry.session_id, entry.body)
        for entry in ledger.entries(most=100_000)
        if entry.id not in amended and entry.id - 1 not in amended
    ]


def outcomes(desk: Desk) -> list[dict[str, object]]:
    """Every session as it stands in the end, without the numbers of entries."""
    found = []
    for row in desk.ledger.sessions():
        said = desk.ledger.statement(row) or {}
        for one in (row, said):
            for name in ("opened_entry", "verdict_entry", "alerts", "amends"):
                one.pop(name, None)
        found.append(row | {"statement": said})
    return sorted(found, key=lambda row: str(row["session_id"]))


def hear(desk: Desk, sent: list[Sent], group_of: int) -> None:
    for at in range(0, len(sent), group_of):
        desk.take(sent[at : at + group_of])


def hear_with_stops(desk: Desk, sent: list[Sent], random: Random) -> None:
    """Groups of any size, some of which are lost in a crash and come again."""
    at = 0
    while at < len(sent):
        size = random.randrange(1, 12)
        desk.receive(sent[at : at + size])
        if random.random() < 0.7:
            desk.commit()
            at += size
        if random.random() < 0.4:
            desk.restart()
    desk.restart()


@pytest.mark.parametrize("seed", range(25))
def test_stops_change_nothing(seed: int, new_ledger: NewLedger, policy: Policy) -> None:
    random = Random(seed)
    sent = morning(random)
    undisturbed, stopped = (Desk(new_ledger(), policy) for _ in range(2))
    hear(undisturbed, sent, group_of=7)
    hear_with_stops(stopped, sent, random)
    assert undisturbed.ledger.tallies().get("refused gateway_fault") is None
    assert entries(stopped.ledger) == entries(undisturbed.ledger)
    assert outcomes(stopped) == outcomes(undisturbed)
    assert sorted(stopped.alert_codes()) == sorted(undisturbed.alert_codes())
    assert stopped.ledger.lanes() == undisturbed.ledger.lanes()
    assert undisturbed.verdicts(), "a morning without a verdict tests nothing"


def test_the_mornings_hold_what_they_are_to_try(new_ledger: NewLedger, policy: Policy) -> None:
    found: Counter[str] = Counter()
    for seed in range(25):
        desk = Desk(new_ledger(), policy)
        hear(desk, morning(Random(seed)), group_of=7)
        found.update(entry.kind for entry in desk.ledger.entries(most=100_000))
        for said in desk.statements():
            found[said["clock"]["source"]] += 1
            found["faulty"] += bool(said["faults"])
            found["grant taken"] += bool(said["grant"]["taken"])
            found.update(said["reasons"])
    for what in ("pin", "refused", "gap", "gateway", "pen", "none", "faulty", "grant taken"):
        assert found[what] >= 5, (what, found)
    for reason in ("GRANT_STALE", "SENSOR_FAULT", "CLOCK_UNCERTAIN", "RECORD_GAP", "CARTRIDGE_REUSED"):
        assert found[reason] >= 5, (reason, found)


@pytest.mark.parametrize("seed", range(5))
def test_the_size_of_groups_changes_nothing(seed: int, new_ledger: NewLedger, policy: Policy) -> None:
    sent = morning(Random(1000 + seed))
    desks = [Desk(new_ledger(), policy) for _ in range(3)]
    for desk, group_of in zip(desks, (1, 13, 10_000), strict=True):
        hear(desk, sent, group_of)
    assert entries(desks[0].ledger) == entries(desks[1].ledger) == entries(desks[2].ledger)
    if any("amends" in said for said in desks[0].statements()):
        return  # seed 2: an amended verdict stands where its group ended
    chains = [
        [row.chain for row in desk.ledger.engine.connect().exec_driver_sql("SELECT chain FROM entry")]
        for desk in desks
    ]
    assert chains[0] == chains[1] == chains[2]
