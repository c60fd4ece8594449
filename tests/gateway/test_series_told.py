"""However a ledger's entries are told, InfluxDB holds the same in the end; and as many as there are."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from gateway_clinic import GTIN, KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic
from gateway_desk import Desk, NewLedger
from honest_ledger import DAY_MS
from honest_pen import HonestPen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from quick_ledgers import QuickLedgers
from series_told import Held, held_points, tell, told_at_once
from test_replay_rejudge import with_rule

from needletrail_gateway.core.notes import Acknowledgement
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.series import schema
from needletrail_gateway.core.series.depth import count_readings
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.record import alerts, retention
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.series.making import Maker
from needletrail_gateway.shell.documents import read_policy
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

SOFT = "CARTRIDGE_RECALLED"
UNIVERSE = 6


def a_clinics_days(desk: Desk, seed: int, sessions: int = 6) -> None:
    """Pens that come late, break off, badge in the middle, use cartridges again; people who amend."""
    dice = Random(seed)
    pens = [HonestPen(pen_id) for pen_id in KEYS]
    held_back: list[HonestPen] = []
    for pen in pens:
        pen.boot(NOW_UTC_MS + dice.choice([0, 0, 500, DAY_MS - 2_000]))
    for number in range(sessions):
        pen = dice.choice(pens)
        if dice.random() < 0.1:
            pen.boot(dice.choice([None, NOW_UTC_MS + number * 60_000]))
        who = dice.choice(["est-01", "md-01", "nobody", None])
        serial = f"S{dice.randrange(4)}"
        tag = cartridge_tag(serial, dice.choice(["LOT24A", "BAD", "ELSEWHERE"]))
        pen.open(None if who is None else badge(who), dice.choice([tag, tag, tag, None]))
        pen.rest(dice.choice([0, 100, 400]))
        for _ in range(dice.randrange(3)):
            pen.work(dice.choice([300, 600, 1200]), dice.choice([260, 1000]))
            if who is None and dice.random() < 0.5:
                who = "md-01"
                pen.badge(badge(who))
            pen.rest(dice.choice([40, 300, 2_000]))
        if dice.random() < 0.3:
            pen.alert_shown("DEPTH_EXCEEDED")
        if dice.random() < 0.8:
            pen.close()
        if dice.random() < 0.3:
            held_back.append(pen)  # it is out of reach, and comes later
        else:
            desk.take(pen.sent)
        desk.now_utc_ms += dice.choice([1_000, 3_600_000])
        say_something(desk, dice)
    for pen in held_back:
        desk.take(pen.sent)
    say_something(desk, dice)


def say_something(desk: Desk, dice: Random) -> None:
    """A person acknowledges, or overrides."""
    ledger = desk.ledger
    open_alerts = alerts.alerts(ledger, is_open=True)
    if open_alerts and dice.random() < 0.5:
        one = dice.choice(open_alerts)
        word = Acknowledgement(who="md-01", session=one.session_id, code=one.code, why=None)
        alerts.acknowledge(ledger, word, desk.now_utc_ms)
    judged = [row for row in ledger.sessions() if row["verdict"] is not None]
    if judged and dice.random() < 0.3:
        name = dice.choice(judged)["session_id"]
        said = {"who": "md-01", "session": name, "code": SOFT, "why": "seen"}
        ledger.note("override", said, desk.now_utc_ms, name)
        amend(ledger, name, "override", desk.now_utc_ms)


@pytest.fixture(scope="module")
def soft() -> Policy:
    """The pack a clinic starts with; a recalled lot can be overridden."""
    return with_rule(read_policy("default"), SOFT, outcome="review", severity="soft")


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> QuickLedgers:
    return QuickLedgers(tmp_path_factory.mktemp("ledgers"))


def batches(entries: list[Entry], dice: Random) -> list[list[Entry]]:
    found = []
    while entries:
        size = dice.randrange(1, 12)
        found.append(entries[:size])
        entries = entries[size:]
    return found


@settings(max_examples=UNIVERSE, deadline=None)
@given(seed=st.integers(0, 10**6))
@example(seed=9106)  # an earlier use of a cartridge that comes late
def test_told_once_again_or_as_it_happens_the_points_are_the_same(
    seed: int, ledgers: QuickLedgers, soft: Policy
) -> None:
    ledger = ledgers.fresh(clinic(), KEYS, NOW_UTC_MS)
    desk = Desk(ledger, soft)
    dice = Random(seed)
    live: Held = {}
    maker = Maker(ledger)
    told = 0

    def keep_up() -> None:
        nonlocal told
        entries = ledger.entries(told, most=100_000)
        if entries:
            told = entries[-1].id
        tell(maker, batches(entries, dice), live)

    commit = desk.commit

    def commit_and_tell() -> object:
        group = commit()
        if dice.random() < 0.7:
            keep_up()
        return group

    desk.commit = commit_and_tell
    a_clinics_days(desk, seed)
    keep_up()

    once = told_at_once(ledger)
    assert live == once
    # Again, in other batches, now and then by a gateway that was started anew.
    again: Held = dict(once)
    entries = ledger.entries(most=100_000)
    for batch in batches(entries, dice):
        if dice.random() < 0.3:
            maker = Maker(ledger)
        tell(maker, [batch], again)
        if dice.random() < 0.2:
            tell(Maker(ledger), [batch], again)  # it was not known whether InfluxDB had taken it
    assert again == once
    # Any entry alone, in any order: none says less than all together.
    shuffled = list(entries)
    dice.shuffle(shuffled)
    for entry in shuffled[:30]:
        tell(Maker(ledger), [[entry]], again)
    assert again == once
    ledger.close()


def test_no_two_things_are_one_point(new_ledger: NewLedger, soft: Policy) -> None:
    """What is counted by its parts is what InfluxDB holds: of each measurement, on each day."""
    for seed in range(3):
        desk = Desk(new_ledger(), soft)
        a_clinics_days(desk, seed, 10)
        held = told_at_once(desk.ledger)
        counted = Counter((name, utc(time_ns // 10**6).date()) for name, _, time_ns in held)
        assert counted == counts_of(desk.ledger)
        assert {name for name, _ in counted} >= {"depth", "depth_1s", "session", "notice"}


def counts_of(ledger: Ledger) -> Counter[tuple[str, object]]:
    """How many points there must be, each thing counted by itself."""
    maker = Maker(ledger)
    known = {row["session_id"]: row for row in ledger.sessions()}
    names = known.keys() | {row["session_id"] for row in ledger.alerts()}
    found: Counter[tuple[str, object]] = Counter()
    for name in names:
        found += Counter(
            (one.measurement, utc(one.time_ns // 10**6).date()) for one in maker.points_of(name)
        )
        row = known.get(name)
        if row is None or row["started_utc_ms"] is None:
            continue
        records = [
            decode_record(open_envelope(one.body)[1])
            for one in ledger.session_entries(name)
            if one.kind == "record"
        ]
        times = [t for readings in maker.readings_of(name) for t in readings.t_ms]
        readings = count_readings(row["started_utc_ms"] - records[0].t_ms, times)
        if row["verdict"] is None:  # its last second is not over
            readings = Counter({key: n for key, n in readings.items() if key[0] == "depth"})
        found += readings
    return found


def test_sums_are_those_of_the_ledger(new_ledger: NewLedger, soft: Policy) -> None:
    desk = Desk(new_ledger(), soft)
    a_clinics_days(desk, 5, 25)
    held = told_at_once(desk.ledger)
    rows = {row["session_id"]: row for row in desk.ledger.sessions()}
    said = {
        name: desk.statement(name)
        for name, row in rows.items()
        if row["verdict"] is not None and row["started_utc_ms"] is not None
    }
    assert len(said) > 15
    sessions = {str(one.fields["session"]): one.fields for one in held_points(held, "session")}
    assert sessions.keys() == said.keys()
    seconds: dict[str, Counter[str]] = {name: Counter() for name in said}
    for one in held_points(held, "depth_1s"):
        if one.fields["session"] in said:
            for field in ("samples", "strokes", "work_ms", "over_limit_ms"):
                seconds[str(one.fields["session"])][field] += int(one.fields[field])
    for name, statement in said.items():
        for field in ("samples", "strokes", "work_ms", "over_limit_ms"):
            assert sessions[name][field] == statement[field], (name, field)
            assert seconds[name][field] == statement[field], (name, field)
    limits = {
        (str(one.fields["session"]), one.fields["limit_mm"]) for one in held_points(held, "depth_1s")
    }
    assert len(limits) > 15
    assert all(rows[name]["limit_um"] / 1000 == limit_mm for name, limit_mm in limits)


def test_a_field_has_one_kind_for_ever(new_ledger: NewLedger, soft: Policy) -> None:
    desk = Desk(new_ledger(), soft)
    a_clinics_days(desk, 6, 20)
    kinds = {"float": float, "integer": int, "boolean": bool, "text": str}
    measurements = {one.name: one for one in schema.MEASUREMENTS}
    for (name, tags, _), found in told_at_once(desk.ledger).items():
        measurement = measurements[name]
        assert {key for key, _ in tags} <= {tag.name for tag in measurement.tags}
        for field, value in found.items():
            assert type(value) is kinds[measurement.field(field).kind], (name, field)


def test_a_tags_value_comes_from_the_registry_alone(new_ledger: NewLedger, soft: Policy) -> None:
    """Whatever else a badge or a tag says would make a series of its own."""
    desk = Desk(new_ledger(), soft)
    a_clinics_days(desk, 7, 30)
    values: dict[str, set[str]] = {}
    for _, tags, _ in told_at_once(desk.ledger):
        for key, value in tags:
            values.setdefault(key, set()).add(value)
    assert values["practitioner"] == {"est-01", "md-01", "none", "unregistered"}
    assert values["lot"] == {"LOT24A", "BAD", "unregistered"}
    assert values["gtin"] == {GTIN}
    assert values["clinic"] == {"harbor"}
    assert values["pen"] == set(KEYS)
    assert values["tier"] <= {"cosmetic", "medical", "nano", "home", "none"}
    assert "turn" not in values


@pytest.mark.parametrize("again", ["the clock was set back", "the pen was enrolled anew"])
def test_two_sessions_with_the_same_clock_do_not_collide(again: str, desk: Desk) -> None:
    first = second = HonestPen()
    if again == "the pen was enrolled anew":
        desk.ledger.enrol_anew("pen-01", b"n" * 32, NOW_UTC_MS)
        desk.restart()
        second = HonestPen(epoch=2, key=b"n" * 32)
    for serial, pen in (("S0", first), ("S1", second)):
        pen.boot()
        pen.open(badge("est-01"), cartridge_tag(serial))
        pen.work(1200)
        pen.close()
        desk.take(pen.sent)
    held = told_at_once(desk.ledger)
    assert len(held_points(held, "depth")) == 100
    assert len(held_points(held, "session")) == 2


def test_a_pen_that_left_keeps_its_points(desk: Desk) -> None:
    """Sessions of a pen that is no longer registered are still a part of the record."""
    a_clinics_days(desk, 1)
    before = told_at_once(desk.ledger)
    registry = clinic(pen=[])
    desk.ledger.import_registry(registry, {}, desk.now_utc_ms)
    assert told_at_once(desk.ledger) == before


def test_readings_that_were_removed_give_none_and_sessions_stay(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    for serial in ("S0", "S1"):
        pen.open(badge("est-01"), cartridge_tag(serial))
        pen.work(700)
        pen.close()
    desk.take(pen.sent)
    before = told_at_once(desk.ledger)
    later = desk.now_utc_ms + DAY_MS
    retention.expire(desk.ledger, later, "desk", "after a day", later)
    after = told_at_once(desk.ledger)
    assert {place[0] for place in before.keys() - after.keys()} == {"depth", "depth_1s"}
    assert after == {
        place: fields for place, fields in before.items() if place[0] not in ("depth", "depth_1s")
    }
    assert len(held_points(after, "session")) == 2


def test_a_start_in_the_middle_says_the_same(new_ledger: NewLedger, soft: Policy) -> None:
    """The outbox's mark may stand anywhere."""
    desk = Desk(new_ledger(), soft)
    a_clinics_days(desk, 3, 4)
    entries = desk.ledger.entries(most=100_000)
    once = told_at_once(desk.ledger)
    for after in range(0, len(entries), 3):
        held: Held = {}
        tell(Maker(desk.ledger), [entries[:after]], held)
        tell(Maker(desk.ledger), [entries[after:]], held)
        assert held == once, after


def test_a_clients_pseudonym_is_in_no_point(desk: Desk, tmp_path: Path) -> None:
    a_clinics_days(desk, 2)
    client = "c-7k2m9qxa"
    note = {"who": "desk", "at_utc_ms": NOW_UTC_MS, "practitioner": "est-01", "client": client}
    desk.ledger.note("note", note, desk.now_utc_ms)
    [name] = [row["session_id"] for row in desk.ledger.sessions() if row["verdict"]][:1]
    said = {"who": "md-01", "session": name, "code": SOFT, "why": f"asked {client.upper()}, {client}"}
    desk.ledger.note("override", said, desk.now_utc_ms, name)
    for row in desk.ledger.alerts()[:1]:
        word = Acknowledgement(
            who="md-01", session=row["session_id"], code=row["code"], why=f"called {client}"
        )
        if row["acknowledged_entry"] is None:
            alerts.acknowledge(desk.ledger, word, desk.now_utc_ms)
    held = told_at_once(desk.ledger)
    assert client not in repr(held).lower()
    assert "asked (client), (client)" in repr(held)
