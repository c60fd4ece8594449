"""The points of a session: each tag and field against the tapes' truth or a session made by hand."""

import json
from datetime import date
from typing import Any

import pytest
import taped_sessions as tapes
from gateway_clinic import GTIN, KEYS, NOW_UTC_MS, OTHER_GTIN, badge, cartridge_tag, clinic, uri_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from series_told import points
from sqlalchemy import update
from test_replay_rejudge import with_rule

from needletrail_gateway.core.notes import Acknowledgement
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.series import schema
from needletrail_gateway.core.series.point import Point
from needletrail_gateway.core.series.sessions import is_about_session
from needletrail_gateway.record import alerts
from needletrail_gateway.record import schema as tables
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.series.making import Maker
from needletrail_gateway.shell.documents import read_policy
from needletrail_protocol import messages

TYPES = {"float": float, "integer": int, "boolean": bool, "text": str}
HOUR_MS = 3_600_000
RECALLED = "CARTRIDGE_RECALLED"


def fields(point: Point) -> dict[str, Any]:
    return dict(point.fields)


def tags(point: Point) -> dict[str, str]:
    return dict(point.tags)


def only(found: list[Point]) -> Point:
    [point] = found
    return point


def session_of(ledger: Ledger, session_id: str) -> dict[str, Any]:
    """A session's point, its fields."""
    return fields(only(points(ledger, session_id, "session")))


# ---- the tapes ----

NAMES = [name for name in tapes.NAMES if name != "14-ten-minutes"]
# Whose the tapes are, and which tier their permit gives under the default pack (tapes/bench/README.md).
COSMETIC, MEDICAL, NOTHING = "cosmetic", "medical", "none"
TIERS = dict.fromkeys(NAMES, COSMETIC) | {
    "06-medical-within": MEDICAL,
    "07-medical-over-label": MEDICAL,
    "08-license-expired": NOTHING,
    "11-badge-unknown": NOTHING,
    "15-inclusive-limit": MEDICAL,
}


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Point]]:
    """{tape: its session's points}."""
    path = tmp_path_factory.mktemp("tapes") / "ledger.sqlite"
    desk = tapes.desk_with(path, read_policy("default"), NAMES)
    maker = Maker(desk.ledger)
    rows = desk.ledger.sessions()
    found = {name: maker.points_of(row["session_id"]) for name, row in zip(NAMES, rows, strict=True)}
    desk.ledger.close()
    return found


def of(found: list[Point], measurement: str) -> list[Point]:
    return [point for point in found if point.measurement == measurement]


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_session_says_its_truth(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    point = only(of(taped[name], "session"))
    found = fields(point)
    number = NAMES.index(name) + 1
    began_utc_ms = tapes.start_utc_ms(name) + tapes.began_t_ms(name)
    assert point.time_ns == began_utc_ms * 1_000_000 + number * 100 + 1
    known = {person.id for person in tapes.registry().practitioner}
    who = truth["practitioner"]
    assert tags(point) == {
        "clinic": "harbor",
        "pen": "pen-01",
        "practitioner": who if who in known else "unregistered",
        "tier": TIERS[name],
    }
    verdict = truth["verdict"]
    assert {key: found[key] for key in ("sessions", "compliant", "review", "violation")} == {
        "sessions": 1,
        "compliant": int(verdict == "compliant"),
        "review": int(verdict == "review"),
        "violation": int(verdict == "violation"),
    }
    rows = tapes.readings(name)
    assert found["worked"] == 1
    assert found["amended"] == 0
    assert found["alerts"] == (len(truth["reasons"]) if verdict == "violation" else 0)
    assert found["alerted"] == int(verdict == "violation")
    assert found["verdict"] == verdict
    assert found["reasons"] == " ".join(truth["reasons"])
    assert found["passes"] == truth["passes"]
    assert found["strokes"] == truth["strokes"]
    assert found["samples"] == (truth["session_samples"] or len(rows))
    assert found["session_ms"] == (truth["session_ms"] or rows[-1][0] - rows[0][0])
    assert found["scope_mm"] == truth["scope_mm"]
    assert found["peak_mm"] == pytest.approx(truth["peak_mm"], abs=0.03)
    within_ms = 120 * truth["passes"]
    assert found["breach_ms"] == pytest.approx(truth["breach_ms"], abs=within_ms)
    assert found["over_limit_ms"] == pytest.approx(truth["breach_ms"], abs=within_ms + 200)
    passed_ms = sum(to_ms - from_ms for from_ms, to_ms in truth["pass_intervals_ms"])
    assert found["work_ms"] == pytest.approx(passed_ms, abs=250 * truth["passes"])
    assert found["policy"].startswith("default ")
    assert found["session"] == f"pen-01-1-{number}"


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_passes_are_its_truths(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    found = of(taped[name], "pass")
    session = only(of(taped[name], "session"))
    assert len(found) == truth["passes"]
    start_utc_ms = tapes.start_utc_ms(name)
    for number, (point, (from_ms, to_ms)) in enumerate(
        zip(found, truth["pass_intervals_ms"], strict=True), 1
    ):
        assert point.time_ns / 1e6 == pytest.approx(start_utc_ms + from_ms, abs=120)
        assert point.time_ns % 1_000_000 == session.time_ns % 1_000_000
        assert fields(point)["duration_ms"] == pytest.approx(to_ms - from_ms, abs=200)
        assert fields(point)["number"] == number
        assert fields(point)["session"] == fields(session)["session"]
        assert tags(point) == {key: tags(session)[key] for key in ("clinic", "pen", "practitioner")}


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_reasons_are_its_truths(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    session = only(of(taped[name], "session"))
    found = of(taped[name], "reason")
    assert {tags(point)["code"] for point in found} == set(truth["reasons"])
    for point in found:
        assert tags(point) == tags(session) | {"code": tags(point)["code"]}
        assert point.time_ns == session.time_ns
        is_hard = truth["verdict"] == "violation"
        assert fields(point) == {
            "counted": 1,
            "overridden": 0,
            "outcome": truth["verdict"],
            "severity": "hard" if is_hard else "soft",
            "session": fields(session)["session"],
        }


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_cartridge_is_its_truths(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    found = of(taped[name], "cartridge_use")
    if truth["cartridge"] is None:
        assert found == []
        return
    session = only(of(taped[name], "session"))
    point = only(found)
    assert point.time_ns == session.time_ns
    assert tags(point) == {
        "clinic": "harbor",
        "pen": "pen-01",
        "gtin": truth["cartridge"]["gtin"],
        "lot": truth["cartridge"]["lot"],
    }
    assert fields(point) == {
        "uses": 1,
        "first": int(name != "09-cartridge-reused"),
        "reused": int(name == "09-cartridge-reused"),
        "recalled": 0,
        "expired": int(name == "10-cartridge-expired"),
        "serial": truth["cartridge"]["serial"],
        "strokes": truth["strokes"],
        "session": fields(session)["session"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_breaches_make_up_its_truth(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    session = only(of(taped[name], "session"))
    found = of(taped[name], "breach")
    assert fields(session)["breaches"] == len(found)
    assert sum(fields(point)["duration_ms"] for point in found) == pytest.approx(
        truth["breach_ms"], abs=120 * truth["passes"]
    )
    for point in found:
        assert fields(point)["breaches"] == 1
        assert fields(point)["limit_mm"] == truth["scope_mm"]
        assert fields(point)["session"] == fields(session)["session"]
        assert tags(point) == tags(session)


@pytest.mark.parametrize("name", NAMES)
def test_a_tapes_alerts_are_raised_in_it(taped: dict[str, list[Point]], name: str) -> None:
    truth = tapes.truth(name)
    found = of(taped[name], "alert")
    wanted = truth["reasons"] if truth["verdict"] == "violation" else []
    assert sorted(tags(point)["code"] for point in found) == wanted
    start_utc_ms = tapes.start_utc_ms(name)
    for point in found:
        assert start_utc_ms <= point.time_ns // 1_000_000 <= start_utc_ms + 60_000
        assert fields(point)["limit_mm"] == truth["scope_mm"]
    assert len(of(taped[name], "notice")) == len(found)


# ---- by hand ----


def treated(
    desk: Desk, pen: HonestPen, who: str | None = "est-01", tag: bytes | None = None, um: int = 300
) -> str:
    """A session of one second's work; its id."""
    if not pen.boots:
        pen.boot(desk.now_utc_ms)
    pen.open(None if who is None else badge(who), tag)
    pen.work(um)
    pen.close()
    desk.take(pen.sent)  # what it has sent before is heard again, and nothing
    return f"{pen.pen_id}-{pen.epoch}-{pen.session}"


def test_a_session_by_hand(desk: Desk) -> None:
    """One second at 0.7 mm under a limit of 0.5, after 400 ms in the air."""
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))  # at t_ms 20
    pen.rest(400)
    pen.work(700, 1000)  # readings at 440 to 1420
    pen.rest(400)  # the first at 1440
    pen.close()  # the last reading at 1820
    desk.take(pen.sent)
    point = only(points(desk.ledger, "pen-01-1-1", "session"))
    assert point.time_ns == (NOW_UTC_MS + 20) * 1_000_000 + 101
    assert fields(point) == {
        "sessions": 1,
        "compliant": 0,
        "review": 0,
        "violation": 1,
        "worked": 1,
        "alerts": 1,
        "alerted": 1,
        "amended": 0,
        "peak_mm": 0.7,
        "scope_mm": 0.5,
        "breach_ms": 960,  # the median is beyond at the third deep reading, at 480
        "over_limit_ms": 960,
        "breaches": 1,
        "passes": 1,
        "strokes": 100,
        "samples": 90,
        "work_ms": 1000,
        "session_ms": 1800,
        "verdict": "violation",
        "reasons": "DEPTH_EXCEEDED",
        "limited_by": "tier cosmetic",
        "policy": fields(point)["policy"],
        "session": "pen-01-1-1",
    }
    said = desk.statement("pen-01-1-1")["policy"]
    assert isinstance(said, dict)
    assert fields(point)["policy"] == f"{said['pack']} {said['version']}"
    one = only(points(desk.ledger, "pen-01-1-1", "pass"))
    assert (one.time_ns // 1_000_000 - NOW_UTC_MS, fields(one)["duration_ms"]) == (440, 1000)
    breach = only(points(desk.ledger, "pen-01-1-1", "breach"))
    assert breach.time_ns == (NOW_UTC_MS + 480) * 1_000_000 + 101
    assert fields(breach) == {
        "breaches": 1,
        "duration_ms": 960,
        "limit_mm": 0.5,
        "session": "pen-01-1-1",
    }


def test_every_field_is_the_schemas_and_of_its_kind(desk: Desk) -> None:
    """InfluxDB refuses a field that is an integer today and a float tomorrow."""
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.work(700)
    pen.alert_shown("DEPTH_EXCEEDED")
    pen.close()
    desk.take(pen.sent)
    acknowledge(desk, "pen-01-1-1")
    desk.ledger.note("override", override(), desk.now_utc_ms, "pen-01-1-1")
    found = Maker(desk.ledger).points_of("pen-01-1-1")
    assert {point.measurement for point in found} == {
        "session",
        "reason",
        "pass",
        "breach",
        "alert",
        "notice",
        "override",
        "cartridge_use",
    }
    measurements = {one.name: one for one in schema.MEASUREMENTS}
    for point in found:
        measurement = measurements[point.measurement]
        assert {name: type(value) for name, value in point.fields} == {
            field.name: TYPES[field.kind] for field in measurement.fields
        }, point.measurement
        assert tags(point).keys() == {tag.name for tag in measurement.tags} - {"turn"}
        assert [name for name, _ in point.fields] == [field.name for field in measurement.fields]


def test_a_session_without_work(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.rest(1000)
    pen.close()
    desk.take(pen.sent)
    found = session_of(desk.ledger, "pen-01-1-1")
    assert (found["worked"], found["peak_mm"], found["work_ms"], found["passes"]) == (0, 0.0, 0, 0)
    assert (found["compliant"], found["verdict"], found["reasons"]) == (1, "compliant", "")
    for measurement in ("cartridge_use", "reason", "pass", "breach", "alert", "notice"):
        assert points(desk.ledger, "pen-01-1-1", measurement) == []


def test_an_open_session_has_no_point_yet(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.work(300)
    desk.take(pen.sent)
    assert Maker(desk.ledger).points_of("pen-01-1-1") == []


@pytest.mark.parametrize(
    ("who", "tag"),
    [("est-01", "est-01"), ("nobody", "unregistered"), (None, "none")],
)
def test_whose_a_session_is(desk: Desk, who: str | None, tag: str) -> None:
    session_id = treated(desk, HonestPen(), who, cartridge_tag("S1"))
    for measurement in ("session", "reason", "pass", "alert", "notice"):
        for point in points(desk.ledger, session_id, measurement):
            assert tags(point)["practitioner"] == tag, measurement


def test_a_tier_that_nothing_permits_is_none(desk: Desk) -> None:
    session_id = treated(desk, HonestPen(), "old-01", cartridge_tag("S1"))
    for measurement in ("session", "reason", "breach"):
        for point in points(desk.ledger, session_id, measurement):
            assert tags(point)["tier"] == "none"


def test_the_registry_is_that_of_the_session(desk: Desk) -> None:
    """Who has left since keeps their sessions; who came later does not get others'."""
    first = treated(desk, HonestPen(), "est-01", cartridge_tag("S1"))
    second = treated(desk, HonestPen("pen-02"), "new-01", cartridge_tag("S2", "NEWLOT"))
    before = {one: Maker(desk.ledger).points_of(one) for one in (first, second)}
    document = clinic().model_dump()
    document["practitioner"] = [p for p in document["practitioner"] if p["id"] != "est-01"] + [
        document["practitioner"][0] | {"id": "new-01"}
    ]
    document["cartridge_lot"] = [
        {"gtin": GTIN, "lot": "NEWLOT", "received": 4, "recalled": date(2026, 6, 1)}
    ]
    desk.ledger.import_registry(type(clinic()).model_validate(document), KEYS, desk.now_utc_ms)
    assert {one: Maker(desk.ledger).points_of(one) for one in (first, second)} == before
    assert tags(before[second][0])["practitioner"] == "unregistered"


@pytest.mark.parametrize(
    ("tag", "gtin", "lot", "recalled", "expired"),
    [
        (cartridge_tag("S1"), GTIN, "LOT24A", 0, 0),
        (cartridge_tag("S1", "BAD"), GTIN, "BAD", 1, 0),
        (cartridge_tag("S1", "ELSEWHERE"), GTIN, "unregistered", 0, 0),
        (cartridge_tag("S1", "LOT24A", "04012345000016"), "unregistered", "unregistered", 0, 0),
        (cartridge_tag("S1", "LOT25Q", OTHER_GTIN), OTHER_GTIN, "LOT25Q", 0, 0),
        (cartridge_tag("S1", expires="260630"), GTIN, "LOT24A", 0, 1),
        (cartridge_tag("S1", expires="260701"), GTIN, "LOT24A", 0, 0),
    ],
)
def test_which_cartridge_worked(
    desk: Desk, tag: bytes, gtin: str, lot: str, recalled: int, expired: int
) -> None:
    session_id = treated(desk, HonestPen(), "est-01", tag)
    point = only(points(desk.ledger, session_id, "cartridge_use"))
    assert tags(point) == {"clinic": "harbor", "pen": "pen-01", "gtin": gtin, "lot": lot}
    assert (fields(point)["recalled"], fields(point)["expired"]) == (recalled, expired)


def test_a_lot_is_recalled_from_its_day_on_and_expires_with_it(
    new_ledger: NewLedger, policy: Policy
) -> None:
    """The session is on July 1st: a recall of that day holds, one of the next day does not."""
    document = clinic().model_dump()
    lots = {
        "TODAY": {"recalled": date(2026, 7, 1), "expires": date(2026, 7, 1)},
        "LATER": {"recalled": date(2026, 7, 2), "expires": date(2026, 6, 30)},
    }
    document["cartridge_lot"] = [
        {"gtin": GTIN, "lot": lot, "received": 4, **more} for lot, more in lots.items()
    ]
    ledger = new_ledger()
    ledger.import_registry(type(clinic()).model_validate(document), KEYS, NOW_UTC_MS - HOUR_MS)
    desk = Desk(ledger, policy)
    pen = HonestPen()
    said = {}
    for lot in lots:
        session_id = treated(desk, pen, "est-01", cartridge_tag(f"S-{lot}", lot))
        found = fields(only(points(desk.ledger, session_id, "cartridge_use")))
        said[lot] = (found["recalled"], found["expired"])
    assert said == {"TODAY": (1, 0), "LATER": (0, 1)}


def test_a_cartridge_without_a_serial_number(desk: Desk) -> None:
    tag = uri_tag(f"https://id.gs1.org/01/{GTIN}/10/LOT24A")
    pen = HonestPen()
    for session_id in (treated(desk, pen, "est-01", tag), treated(desk, pen, "est-01", tag)):
        found = fields(only(points(desk.ledger, session_id, "cartridge_use")))
        assert (found["first"], found["reused"], "serial" in found) == (1, 0, False)


def test_the_first_use_is_the_one_that_began_first(desk: Desk) -> None:
    """Whichever came first to the gateway. A use without work is none."""
    early, late = HonestPen("pen-01"), HonestPen("pen-02")
    late.boot(NOW_UTC_MS + HOUR_MS)
    early.boot(NOW_UTC_MS)
    second = treated(desk, late, "est-01", cartridge_tag("S1"))
    assert fields(only(points(desk.ledger, second, "cartridge_use")))["first"] == 1
    early.open(badge("est-01"), cartridge_tag("S1"))
    early.rest()
    early.close()
    desk.take(early.sent)
    assert fields(only(points(desk.ledger, second, "cartridge_use")))["first"] == 1
    first = treated(desk, early, "est-01", cartridge_tag("S1"))
    said = {one: fields(only(points(desk.ledger, one, "cartridge_use"))) for one in (first, second)}
    assert [(said[one]["first"], said[one]["reused"]) for one in (first, second)] == [(1, 0), (0, 1)]


def test_a_cartridge_that_may_be_used_again_is_not_reused(desk: Desk) -> None:
    pen = HonestPen()
    tag = cartridge_tag("S1", "LOT25Q", OTHER_GTIN)
    found = [
        fields(only(points(desk.ledger, treated(desk, pen, "est-01", tag), "cartridge_use")))
        for _ in range(2)
    ]
    assert [(one["first"], one["reused"]) for one in found] == [(1, 0), (0, 0)]


def test_two_pens_with_one_clock_do_not_share_a_use(desk: Desk) -> None:
    names = [
        treated(desk, HonestPen(pen_id), "est-01", cartridge_tag(pen_id))
        for pen_id in ("pen-01", "pen-02")
    ]
    found = [point for one in names for point in Maker(desk.ledger).points_of(one)]
    places = {(point.measurement, point.tags, point.time_ns) for point in found}
    assert len(places) == len(found) == 6


# ---- alerts ----


def acknowledge(desk: Desk, session_id: str, code: str = "DEPTH_EXCEEDED") -> None:
    word = Acknowledgement(who="md-01", session=session_id, code=code, why=None)
    alerts.acknowledge(desk.ledger, word, desk.now_utc_ms)


def test_an_alert_from_its_raising_to_its_acknowledgement(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.work(300)  # to t_ms 1020
    pen.work(700)  # beyond from the third reading, at 1080, and for 200 ms at 1280
    desk.now_utc_ms = NOW_UTC_MS + 5_000
    desk.take(pen.sent)
    entry = only_entry(desk, "alert")
    point = only(points(desk.ledger, "pen-01-1-1", "alert"))
    assert point.time_ns == (NOW_UTC_MS + 1_280) * 1_000_000 + 101
    assert tags(point) == {
        "clinic": "harbor",
        "pen": "pen-01",
        "practitioner": "est-01",
        "code": "DEPTH_EXCEEDED",
    }
    raised = {
        "alerts": 1,
        "open": 1,
        "shown": 0,
        "limit_mm": 0.5,
        "depth_mm": 0.7,
        "told_by": "gateway",
        "session": "pen-01-1-1",
    }
    assert fields(point) == raised
    notice = only(points(desk.ledger, "pen-01-1-1", "notice"))
    assert notice.time_ns == (NOW_UTC_MS + 5_000) * 1_000_000 + entry
    assert tags(notice) == tags(point)
    assert fields(notice) == {"notices": 1, "delay_ms": 3_720, "session": "pen-01-1-1"}
    desk.take(pen.alert_shown("DEPTH_EXCEEDED"))
    shown = only(points(desk.ledger, "pen-01-1-1", "alert"))
    assert fields(shown) == raised | {"shown": 1}
    desk.now_utc_ms += 60_000
    acknowledge(desk, "pen-01-1-1")
    seen = only(points(desk.ledger, "pen-01-1-1", "alert"))
    assert fields(seen) == raised | {
        "shown": 1,
        "open": 0,
        "acknowledged_by": "md-01",
        "open_ms": 60_000,
    }
    assert (seen.tags, seen.time_ns) == (point.tags, point.time_ns)
    assert only(points(desk.ledger, "pen-01-1-1", "notice")) == notice


def only_entry(desk: Desk, kind: str) -> int:
    [entry] = desk.ledger.entries(kind=kind)
    return entry.id


def test_one_alert_acknowledged_leaves_the_others_open(desk: Desk) -> None:
    session_id = treated(desk, HonestPen(), "nobody", cartridge_tag("S1", "BAD"))
    acknowledge(desk, session_id, RECALLED)
    found = {
        tags(point)["code"]: fields(point)["open"] for point in points(desk.ledger, session_id, "alert")
    }
    assert found == {RECALLED: 0, "PRACTITIONER_UNKNOWN": 1, "DEPTH_EXCEEDED": 1}
    assert session_of(desk.ledger, session_id)["alerts"] == 3


def test_an_alert_before_any_depth_says_none(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(badge("nobody"), cartridge_tag("S1"))
    desk.take(pen.sent)
    point = only(points(desk.ledger, "pen-01-1-1", "alert"))
    assert "depth_mm" not in fields(point)
    assert tags(point)["practitioner"] == "unregistered"


def test_a_pens_word_ahead_of_its_records(desk: Desk) -> None:
    """Nobody is known yet, and that stays so; what comes later is told of others' points."""
    pen = HonestPen()
    pen.boot()
    hello = pen.hello(oldest_seq=1, t_ms=2_000)
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.work(300)
    pen.work(700)
    breach = pen.local_breach()
    records = [one for one in pen.sent if one is not hello]
    urgent = pen.seal("urgent", breach.payload)
    desk.now_utc_ms = NOW_UTC_MS + 9_000
    desk.take(hello, urgent)
    before = Maker(desk.ledger).points_of("pen-01-1-1")
    assert [point.measurement for point in before] == ["notice", "alert"]
    for point in before:
        assert tags(point)["practitioner"] == "none"
    found = fields(before[1])
    assert (found["told_by"], found["limit_mm"], found["depth_mm"]) == ("pen", 0.5, 0.7)
    desk.take(records)
    after = Maker(desk.ledger).points_of("pen-01-1-1")
    assert after == before
    pen.close()
    desk.take(pen.sent[-1])
    found = session_of(desk.ledger, "pen-01-1-1")
    assert (found["alerts"], found["violation"]) == (1, 1)
    assert of(Maker(desk.ledger).points_of("pen-01-1-1"), "alert") == [before[1]]


def test_a_badge_that_is_read_later_does_not_move_an_alert(desk: Desk) -> None:
    pen = HonestPen()
    pen.boot()
    pen.open(None, cartridge_tag("S1", "BAD"))
    desk.take(pen.sent)
    before = points(desk.ledger, "pen-01-1-1", "alert")
    assert [tags(point)["practitioner"] for point in before] == ["none"]
    pen.badge(badge("est-01"))
    pen.work(700)
    pen.close()
    desk.take(pen.sent[-4:])
    found = {
        tags(point)["code"]: tags(point)["practitioner"]
        for point in points(desk.ledger, "pen-01-1-1", "alert")
    }
    assert found == {RECALLED: "none", "DEPTH_EXCEEDED": "est-01"}
    assert tags(only(points(desk.ledger, "pen-01-1-1", "session")))["practitioner"] == "est-01"


def test_without_a_clock_only_the_gateways_time_is_left(desk: Desk) -> None:
    """No session, no reason, no alert. But the notice, so that somebody hears of it."""
    pen = HonestPen()
    pen.boot(None)
    session_id = treated(desk, pen, "est-01", cartridge_tag("S1"), 700)
    found = Maker(desk.ledger).points_of(session_id)
    assert {point.measurement for point in found} == {"notice"}
    assert desk.verdicts()[session_id][0] == "violation"
    for point in found:
        assert point.time_ns // 1_000_000 == NOW_UTC_MS
        assert "delay_ms" not in fields(point)


def test_a_clock_beyond_influxdbs_calendar_is_no_place_in_time(desk: Desk) -> None:
    """It ends in 2262. The protocol's clocks may say more, if a pen's battery lasted that long."""
    pen = HonestPen()
    pen.boot((1 << 43) - 1)
    pen.t_ms = 500_000_000_000
    session_id = treated(desk, pen, "est-01", cartridge_tag("S1"), 700)
    assert {point.measurement for point in Maker(desk.ledger).points_of(session_id)} == {"notice"}


def test_a_simulated_clock_is_a_place_in_time(desk: Desk) -> None:
    """As tapes are played: their points are where the tape says."""
    pen = HonestPen(board="virtual")
    pen.boot(NOW_UTC_MS - 24 * HOUR_MS)
    session_id = treated(desk, pen, "est-01", cartridge_tag("S1"))
    point = only(points(desk.ledger, session_id, "session"))
    assert point.time_ns // 1_000_000 == NOW_UTC_MS - 24 * HOUR_MS + 20


# ---- amendments ----


def override(code: str = RECALLED, why: str = "seen with c-7k2m9qxa: lifted") -> dict[str, Any]:
    return {"who": "md-01", "session": "pen-01-1-1", "code": code, "why": why}


@pytest.fixture
def soft(new_ledger: NewLedger, policy: Policy) -> Desk:
    """A session with a recalled cartridge, under a pack in which that can be overridden."""
    desk = Desk(new_ledger(), with_rule(policy, RECALLED, outcome="review", severity="soft"))
    treated(desk, HonestPen(), "md-01", cartridge_tag("S1", "BAD"))
    return desk


def test_an_override_takes_the_place_of_what_was_said(soft: Desk) -> None:
    ledger = soft.ledger
    before = only(points(ledger, "pen-01-1-1", "session"))
    reason = only(points(ledger, "pen-01-1-1", "reason"))
    assert fields(reason) == {
        "counted": 1,
        "overridden": 0,
        "outcome": "review",
        "severity": "soft",
        "session": "pen-01-1-1",
    }
    entry = ledger.note("override", override(), NOW_UTC_MS + HOUR_MS, "pen-01-1-1")
    assert amend(ledger, "pen-01-1-1", "override", NOW_UTC_MS + HOUR_MS) is not None
    after = only(points(ledger, "pen-01-1-1", "session"))
    assert (after.tags, after.time_ns) == (before.tags, before.time_ns)
    changed = {"compliant": 1, "review": 0, "amended": 1, "verdict": "compliant"}
    assert fields(after) == fields(before) | changed
    overridden = only(points(ledger, "pen-01-1-1", "reason"))
    assert (overridden.tags, overridden.time_ns) == (reason.tags, reason.time_ns)
    assert fields(overridden) == fields(reason) | {"counted": 0, "overridden": 1}
    word = only(points(ledger, "pen-01-1-1", "override"))
    assert word.time_ns == (NOW_UTC_MS + HOUR_MS) * 1_000_000 + entry
    assert tags(word) == {"clinic": "harbor", "code": RECALLED}
    assert fields(word) == {
        "overrides": 1,
        "who": "md-01",
        "why": "seen with (client): lifted",
        "pen": "pen-01",
        "session": "pen-01-1-1",
    }


def test_a_reason_that_an_amendment_took_away_stays_and_does_not_count(
    new_ledger: NewLedger, policy: Policy
) -> None:
    """The questionnaire is noted after the session: then nobody misses it any more."""
    document = policy.model_dump(mode="json")
    for tier in document["tier"]:
        if tier["screening"] is not None:
            tier["screening"]["needed"] = True
    desk = Desk(new_ledger(), Policy.model_validate(document))
    session_id = treated(desk, HonestPen(), "md-01", cartridge_tag("S1"), 1_200)
    before = points(desk.ledger, session_id, "reason")
    assert {tags(point)["code"] for point in before} == {"SCREENING_MISSING"}
    note = {
        "who": "desk",
        "at_utc_ms": NOW_UTC_MS - 1000,
        "practitioner": "md-01",
        "client": "c-7k2m9qxa",
        "session": session_id,
        "screening": {one.condition: False for one in policy.refusal},
    }
    desk.ledger.note("note", note, NOW_UTC_MS + HOUR_MS)
    assert amend(desk.ledger, session_id, "note", NOW_UTC_MS + HOUR_MS) is not None
    found = session_of(desk.ledger, session_id)
    assert (found["reasons"], found["amended"], found["compliant"]) == ("", 1, 1)
    after = only(points(desk.ledger, session_id, "reason"))
    assert (after.tags, after.time_ns) == (before[0].tags, before[0].time_ns)
    assert fields(after) == fields(before[0]) | {"counted": 0}
    assert "c-7k2m9qxa" not in repr(Maker(desk.ledger).points_of(session_id))


def test_a_late_alert_counts_for_its_session(desk: Desk) -> None:
    """The later use of a cartridge was judged first; the earlier one makes it a reuse."""
    early, late = HonestPen("pen-01"), HonestPen("pen-02")
    late.boot(NOW_UTC_MS + HOUR_MS)
    early.boot(NOW_UTC_MS)
    session_id = treated(desk, late, "est-01", cartridge_tag("S1"))
    assert session_of(desk.ledger, session_id)["alerts"] == 0
    desk.take(early.sent)
    treated(desk, early, "est-01", cartridge_tag("S1"))
    found = session_of(desk.ledger, session_id)
    assert (found["alerts"], found["alerted"], found["amended"], found["violation"]) == (1, 1, 1, 1)
    assert (found["reasons"], found["compliant"]) == ("CARTRIDGE_REUSED", 0)


def test_an_older_ledgers_statements_are_read(desk: Desk) -> None:
    """They lack what later versions added: the time over the limit, outcome and severity, told by."""
    session_id = treated(desk, HonestPen(), "est-01", cartridge_tag("S1"), 700)
    for entry in [*desk.ledger.entries(kind="verdict"), *desk.ledger.entries(kind="alert")]:
        said = json.loads(entry.body)
        for name in ("over_limit_ms", "overridden", "told_by"):
            said.pop(name, None)
        for rule in said.get("rules", ()):
            del rule["outcome"], rule["severity"]
        if entry.kind == "verdict":
            said |= {"peak_mm": 1, "scope_mm": 1}  # no whole number may make the field one
        with desk.ledger.engine.begin() as connection:
            connection.execute(
                update(tables.entry)
                .where(tables.entry.c.id == entry.id)
                .values(body=json.dumps(said).encode())
            )
    assert "over_limit_ms" not in session_of(desk.ledger, session_id)
    found = session_of(desk.ledger, session_id)
    assert [type(found[name]) for name in ("peak_mm", "scope_mm")] == [float, float]
    reason = fields(only(points(desk.ledger, session_id, "reason")))
    assert reason == {"counted": 1, "overridden": 0, "session": session_id}
    assert fields(only(points(desk.ledger, session_id, "alert")))["told_by"] == "gateway"


@pytest.mark.parametrize(
    ("kind", "record_kind", "is_so"),
    [
        ("verdict", None, True),
        ("alert", None, True),
        ("acknowledged", None, True),
        ("override", None, True),
        ("record", messages.ALERT_SHOWN, True),
        ("record", messages.SAMPLES, False),
        ("record", messages.OPEN, False),
        ("note", None, False),
        ("change", None, False),
    ],
)
def test_what_changes_a_sessions_points(kind: str, record_kind: int | None, is_so: bool) -> None:
    assert is_about_session(kind, record_kind) is is_so
