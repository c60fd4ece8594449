"""A breach's copy ahead of its turn: the alert is early, there is one, and the verdict is the same.

Random afternoon: a pen's sessions, some with a breach that the pen saw, some with one that only the pen
saw. The copies come early, late, twice, in any order, with the gateway killed in between. Verdicts
and records must be those of a gateway that heard no copy at all.
"""

from random import Random
from typing import Any

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen, Sent

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.series.making import Lines, Maker
from needletrail_protocol import conversation, messages, topics
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

EST = badge("est-01")
BREACH = "DEPTH_EXCEEDED"


def copy_of(pen: HonestPen, sent: Sent) -> Sent:
    return pen.seal(topics.URGENT, sent.payload)


@pytest.fixture
def pen() -> HonestPen:
    """A pen that has booted, with two sessions that nobody has heard of; a breach in the second."""
    pen = HonestPen()
    pen.boot()
    pen.open(EST, cartridge_tag("000001"))
    pen.work(300, 4000)
    pen.close()
    pen.open(EST, cartridge_tag("000002"))
    pen.work(700, 400)
    pen.local_breach()
    pen.work(700)
    pen.close()
    return pen


def records_of(pen: HonestPen) -> list[Sent]:
    return [sent for sent in pen.sent if sent.topic.endswith("/record")]


def breach_of(pen: HonestPen) -> Sent:
    kinds = [decode_record(sent.payload).kind for sent in records_of(pen)]
    return records_of(pen)[kinds.index(messages.LOCAL_BREACH)]


def alerts_in(outgoing: list[tuple[str, bytes]]) -> list[Any]:
    return [
        conversation.decode_alert(open_envelope(message)[1])
        for topic, message in outgoing
        if topic.endswith("/alert")
    ]


def test_the_alert_is_there_before_the_records(desk: Desk, pen: HonestPen) -> None:
    copy = copy_of(pen, breach_of(pen))
    outgoing = desk.receive(copy)
    [alert] = alerts_in(outgoing)
    assert (alert.session, alert.code, alert.limit_um, alert.depth_um) == (2, BREACH, 500, 700)
    assert desk.receive(copy, copy) == [], "told once"
    group = desk.commit()
    assert (group.acks, [entry.kind for entry in group.entries]) == ({}, ["alert"])
    [entry] = desk.ledger.entries(kind="alert")
    said = entry.json()
    assert (said["told_by"], said["limit_mm"], said["depth_mm"]) == ("pen", 0.5, 0.7)
    assert (entry.pen, entry.session_id) == ("pen-01", "pen-01-1-2")
    assert alerts_in(desk.receive(pen.sent)) == []
    desk.commit()
    assert desk.alert_codes() == [("pen-01-1-2", BREACH)]
    assert desk.verdicts()["pen-01-1-2"] == ("violation", [BREACH])
    assert desk.verdicts()["pen-01-1-1"] == ("compliant", [])


def test_an_alert_that_reached_the_pen_is_noted_on_the_early_one(desk: Desk, pen: HonestPen) -> None:
    desk.take(copy_of(pen, breach_of(pen)))
    pen.alert_shown(BREACH)
    desk.take(pen.sent)
    [row] = desk.ledger.alerts()
    assert row["reached_pen"]


@pytest.mark.parametrize("heard", range(1, 9))
def test_a_copy_may_come_at_any_place_of_the_row(desk: Desk, pen: HonestPen, heard: int) -> None:
    """Before its session, in it, after its record, after the session's end."""
    records = records_of(pen)
    copy = copy_of(pen, breach_of(pen))
    told = alerts_in(desk.receive(records[:heard], copy, records[heard:], copy))
    assert [(alert.session, alert.code) for alert in told] == [(2, BREACH)]
    desk.commit()
    assert desk.alert_codes() == [("pen-01-1-2", BREACH)]
    assert desk.verdicts()["pen-01-1-2"] == ("violation", [BREACH])


def test_the_time_is_the_breachs_own_if_the_connection_was_pinned(desk: Desk, pen: HonestPen) -> None:
    breach = breach_of(pen)
    t_ms = decode_record(breach.payload).t_ms
    desk.now_utc_ms = NOW_UTC_MS + 60_000
    desk.take(pen.hello(1, pen.seq + 1, t_ms=60_000, utc_ms=NOW_UTC_MS + 60_000), copy_of(pen, breach))
    [row] = desk.ledger.alerts()
    assert row["raised_utc_ms"] == NOW_UTC_MS + t_ms


@pytest.mark.parametrize("board", ["virtual", "esp32-s3"])
def test_a_boot_that_has_come_says_the_time_as_for_its_sessions(desk: Desk, board: str) -> None:
    pen = HonestPen(board=board)
    pen.boot(NOW_UTC_MS - 86_400_000)
    desk.take(pen.sent, pen.hello())
    pen.open(EST, cartridge_tag())
    pen.work(700, 400)
    pen.local_breach()
    early = Desk(desk.ledger, desk.intake.rules.policy)
    early.take(copy_of(pen, breach_of(pen)))
    [row] = desk.ledger.alerts()
    assert row["raised_utc_ms"] == NOW_UTC_MS - 86_400_000 + pen.t_ms


def test_without_a_pin_it_is_now(desk: Desk, pen: HonestPen) -> None:
    desk.take(pen.hello(1, pen.seq + 1), copy_of(pen, breach_of(pen)))
    [row] = desk.ledger.alerts()
    assert row["raised_utc_ms"] == NOW_UTC_MS


def test_what_is_no_breach_says_nothing_here(desk: Desk, pen: HonestPen) -> None:
    for sent in pen.sent:
        if sent is not breach_of(pen):
            assert desk.receive(copy_of(pen, sent)) == []
    desk.commit()
    assert desk.alert_codes() == [] and desk.ledger.quarantined() == []
    assert desk.ledger.entries(kind="record") == []


def test_nobody_else_can_raise_an_alarm(desk: Desk, pen: HonestPen) -> None:
    breach = breach_of(pen)
    other = HonestPen("pen-02")
    forged: list[Sent | list[Sent]] = [
        pen.seal(topics.URGENT, breach.payload, bytes(32)),
        Sent(copy_of(pen, breach).topic, breach.message),
        Sent(copy_of(other, breach).topic, copy_of(pen, breach).message),
    ]
    desk.take(forged)
    assert desk.alert_codes() == []
    assert {row["reason"] for row in desk.ledger.quarantined()} == {"mac_invalid"}
    desk.take(pen.seal(topics.URGENT, b"\x87"), pen.seal(topics.URGENT, b"\x81\x07"))
    reasons = {row["reason"] for row in desk.ledger.quarantined(2)}
    assert reasons == {"payload_malformed", "payload_invalid"}


def test_a_pack_for_which_it_is_no_violation_raises_no_alarm(
    new_ledger: NewLedger, policy: Policy, pen: HonestPen
) -> None:
    document = policy.model_dump(mode="json", by_alias=True)
    for rule in document["rule"]:
        if rule["code"] == BREACH:
            rule["outcome"] = "review"
    desk = Desk(new_ledger(), Policy.model_validate(document))
    desk.take(copy_of(pen, breach_of(pen)), pen.sent)
    assert desk.alert_codes() == []
    assert desk.verdicts()["pen-01-1-2"] == ("review", [BREACH])


def test_a_clinics_graphs_have_one_point_for_it(desk: Desk, pen: HonestPen) -> None:
    desk.take(copy_of(pen, breach_of(pen)), pen.sent)
    lines, maker = Lines(), Maker(desk.ledger)
    maker.tell(desk.ledger.entries(), lines)
    maker.finish(lines)
    assert len([line for line in lines.long if line.startswith("alert,")]) == 1


# ---- any afternoon ----


def afternoon(random: Random) -> tuple[HonestPen, list[Sent]]:
    """A pen, and the records in which it saw a breach."""
    pen = HonestPen()
    pen.boot()
    seen = []
    for number in range(random.randrange(2, 6)):
        pen.open(EST if random.random() < 0.8 else None, cartridge_tag(f"{number:06d}"))
        for _ in range(random.randrange(1, 4)):
            is_breach = random.random() < 0.4
            pen.work(700 if is_breach else 300, random.choice([240, 600, 1200]))
            if is_breach or random.random() < 0.1:  # the pen's grant may be another than the judge's
                seen.append(pen.local_breach())
        if random.random() < 0.9:
            pen.close()
        if random.random() < 0.15:
            pen.boot()
    return pen, seen


def only_records(desk: Desk) -> list[tuple[object, ...]]:
    return [
        (entry.kind, entry.seq, entry.session_id, entry.body)
        for entry in desk.ledger.entries(most=100_000)
        if entry.kind != "alert"
    ]


@pytest.mark.parametrize("seed", range(60))
def test_copies_change_nothing_but_when_the_alert_is_raised(
    seed: int, new_ledger: NewLedger, policy: Policy
) -> None:
    random = Random(seed)
    pen, seen = afternoon(random)
    plain, urged = Desk(new_ledger(), policy), Desk(new_ledger(), policy)
    plain.take(pen.sent)
    copies = [copy_of(pen, sent) for sent in seen for _ in range(random.randrange(1, 3))]
    random.shuffle(copies)
    told: list[Any] = []
    at = 0
    may_be_told = set(plain.alert_codes())
    while at < len(pen.sent) or copies:
        chunk: list[Sent] = list(pen.sent[at : at + random.randrange(1, 5)])
        taken = len(chunk)
        for _ in range(random.randrange(0, 3)):
            if copies:
                chunk.insert(random.randrange(len(chunk) + 1), copies.pop())
        before = list(told)
        told += alerts_in(urged.receive(chunk))
        if random.random() < 0.8:
            urged.commit()
            at += taken
        else:  # killed before the commit: what it said is said again, and the pen shows it once
            told = before
            urged.restart()
        if random.random() < 0.2:
            urged.restart()
    assert only_records(urged) == only_records(plain)
    assert urged.verdicts() == plain.verdicts()
    assert urged.statements() == plain.statements()
    found = urged.alert_codes()
    assert len(found) == len(set(found)), "one alert a breach"
    assert may_be_told <= set(found)
    of_pen = {f"pen-01-1-{decode_record(sent.payload).session}" for sent in seen}
    assert {name for name, code in set(found) - may_be_told if code == BREACH} <= of_pen
    assert {code for _, code in set(found) - may_be_told} <= {BREACH}
    assert len(told) == len(found)
