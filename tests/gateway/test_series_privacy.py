"""Clients are nowhere: in no line for InfluxDB, no topic and no log, whatever was entered of them."""

import json
import random
import sys
from datetime import timedelta
from io import StringIO

import pytest
import structlog
from gateway_clinic import KEYS, NOW_UTC_MS, TODAY, badge, cartridge_tag, clinic
from gateway_desk import Desk, NewLedger
from honest_ledger import DAY_MS, work_a_day
from honest_pen import HonestPen
from test_replay_rejudge import with_rule

from needletrail_gateway.core.notes import Acknowledgement, names_client, without_clients
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.series.point import line
from needletrail_gateway.record import alerts, retention
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.series.days import Daily, points_of_days
from needletrail_gateway.series.health import Pulse
from needletrail_gateway.series.making import Lines, Maker
from needletrail_gateway.shell.health import GatewayState
from needletrail_gateway.shell.log import configure_log

SOFT = "CARTRIDGE_RECALLED"
CLIENT = "c-7k2m9qxa"
LINK = "https://clinic.example/badge/"
# What is entered beside the pseudonym: none of it is for dashboards, nor for a log.
MARKS = (
    "areamark",
    "screenmark",
    "preventmark",
    "notewho",
    "attestwho",
    "ackmark",
    "stockmark",
    "rmark",
)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """The log as the gateway and its follower write it."""
    found = StringIO()
    structlog.reset_defaults()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", found)
        configure_log()
    structlog.configure(cache_logger_on_first_use=False)
    return found


@pytest.fixture
def everything(said: StringIO, new_ledger: NewLedger, policy: Policy) -> tuple[Desk, list[str]]:
    """A clinic that has entered all there is, with a client in it; and the topics of its messages."""
    ledger = new_ledger()
    desk = Desk(ledger, with_rule(policy, SOFT, outcome="review", severity="soft"))
    pens = [HonestPen(pen_id) for pen_id in KEYS]
    work_a_day(desk, pens, random.Random(3))
    of_client = {"at_utc_ms": NOW_UTC_MS, "practitioner": "md-01", "client": CLIENT}
    of_client |= {"screening": {"screenmark": True}, "prevented": ["preventmark"], "area": "areamark"}
    ledger.note("note", of_client | {"who": "notewho", "used": {"cream": 1}}, desk.now_utc_ms)
    attested = of_client | {"who": "attestwho", "device": "roller", "needle_mm": 0.5, "minutes": 9}
    forgotten = ledger.note("attested", attested, desk.now_utc_ms)
    pen = pens[0]
    before = len(pen.sent)
    pen.open(badge("md-01"), cartridge_tag("S1", "BAD"))
    pen.work(2400)
    pen.close()
    desk.receive(pen.sent[before:])
    desk.commit()
    name = f"pen-01-{pen.epoch}-{pen.session}"
    word = {"who": f"for {CLIENT}", "session": name, "code": SOFT, "why": f"{CLIENT} agreed"}
    ledger.note("override", word, desk.now_utc_ms, name)
    amend(ledger, name, "override", desk.now_utc_ms)
    for raised in alerts.alerts(ledger, is_open=True):
        one = Acknowledgement(
            who=f"md-01 ({CLIENT})", session=raised.session_id, code=raised.code, why="ackmark"
        )
        alerts.acknowledge(ledger, one, desk.now_utc_ms)
    stock = {"who": "desk", "why": f"stockmark {CLIENT}", "gtin": "09506000134352", "lot": "LOT24A"}
    ledger.note("stock", stock | {"change": 5, "cause": "received"}, desk.now_utc_ms)
    registry = clinic(
        consumable=[{"id": "cream", "name": "Cream", "kind": "numbing_cream", "unit": "g"}]
    )
    ledger.import_registry(registry, KEYS, desk.now_utc_ms, who="desk", why=f"rmark {CLIENT}")
    retention.redact(ledger, [forgotten], f"rmark {CLIENT}", "desk", desk.now_utc_ms)
    outgoing = desk.receive(*(one.sent[-1] for one in pens))
    return desk, [topic for topic, _ in outgoing] + [sent.topic for one in pens for sent in one.sent]


def lines_of(desk: Desk) -> list[str]:
    """Every line that this ledger makes: of entries, of days, of health."""
    lines, maker = Lines(), Maker(desk.ledger)
    maker.tell(desk.ledger.entries(most=100_000), lines)
    maker.finish(lines)
    found = [*lines.raw, *lines.long]
    for _, points in points_of_days(desk.ledger, TODAY, TODAY + timedelta(days=1)):
        found += map(line, points)
    state = GatewayState("harbor", 1, 2, 3.0, tuple(desk.intake.pen_states()))
    return [*found, *map(line, Pulse(desk.ledger).points(state, desk.now_utc_ms))]


def assert_nothing_of_clients(text: str) -> None:
    lowered = text.lower()
    for mark in (CLIENT, CLIENT[2:], LINK, *MARKS):
        assert mark not in lowered, lowered[max(0, lowered.index(mark) - 200) :][:400]


def test_all_that_a_ledger_can_hold_says_nothing_of_clients(
    everything: tuple[Desk, list[str]], said: StringIO
) -> None:
    desk, sent_to = everything
    kinds = {entry.kind for entry in desk.ledger.entries(most=100_000)}
    assert kinds >= {"record", "verdict", "alert", "note", "attested", "override", "acknowledged"}
    assert kinds >= {"stock", "change", "redaction", "enrolment"}
    lines = lines_of(desk)
    assert {one.split(",")[0] for one in lines} >= {
        "override",
        "alert",
        "session",
        "stock",
        "pen_health",
    }
    assert_nothing_of_clients("\n".join(lines))
    assert 'who="for (client)",why="(client) agreed"' in "\n".join(lines)
    assert 'acknowledged_by="md-01 ((client))"' in "\n".join(lines)
    assert_nothing_of_clients("\n".join(sent_to))
    logged = said.getvalue()
    assert "session judged" in logged and "alert raised" in logged
    assert_nothing_of_clients(logged)


@pytest.mark.parametrize("kind", ["note", "attested", "override", "acknowledged", "stock", "verdict"])
@pytest.mark.parametrize(
    "wrong", [{"at_utc_ms": CLIENT}, {"at_utc_ms": 10**30}, {"at_utc_ms": None}, {}], ids=str
)
def test_an_entry_that_nobody_can_read_holds_nothing_up_and_is_not_quoted(
    kind: str, wrong: dict[str, object], desk: Desk, said: StringIO
) -> None:
    """As another program may have written it. Its session gives no points; all others do."""
    pen = HonestPen()
    pen.boot()
    for serial in ("S1", "S2"):
        pen.open(badge("est-01"), cartridge_tag(serial))
        pen.work(300)
        pen.close()
    desk.take(pen.sent)
    body = {"client": CLIENT, "why": CLIENT, "used": {"cream": 1}, "area": "areamark"} | wrong
    desk.ledger.enter(kind, body, NOW_UTC_MS + DAY_MS, "pen-01-1-1")
    lines = lines_of_readable(desk)
    assert any(one.startswith("session,") and "pen-01-1-2" in one for one in lines)
    assert any(one.startswith("depth,") and "pen-01-1-1" in one for one in lines)
    assert_nothing_of_clients("\n".join(lines))
    assert_nothing_of_clients(said.getvalue())


def lines_of_readable(desk: Desk) -> list[str]:
    """What the follower makes, which logs what can not be read."""
    lines, maker = Lines(), Maker(desk.ledger)
    maker.tell(desk.ledger.entries(most=100_000), lines)
    maker.finish(lines)
    days = Daily(desk.ledger, lambda: NOW_UTC_MS + DAY_MS)
    return [*lines.raw, *lines.long, *days.lines(TODAY)]


def test_a_faults_traceback_says_where_and_not_with_what(said: StringIO) -> None:
    """Variables hold keys, badges and notes."""
    note = {"client": CLIENT, "area": "areamark"}
    try:
        raise KeyError(len(note))
    except KeyError:
        structlog.get_logger().exception("fault")
    logged = said.getvalue()
    assert json.loads(logged)["exception"][0]["exc_type"] == "KeyError"
    assert "test_series_privacy" in logged
    assert_nothing_of_clients(logged)


@pytest.mark.parametrize(
    "typed",
    [
        "C-7K2M9QXA",
        "clientc-7k2m9qxa",
        "c-7k2m9qxaagain",
        "c - 7k2m9qxa",
        "c- 7k2m9qxa",
        "c 7k2m9qxa",
        "C7K2M9QXA",
        "c_7k2m9qxa",
        "c\N{EN DASH}7k2m9qxa",
        "c\N{NON-BREAKING HYPHEN}7k2m9qxa",
        "c \N{EM DASH} 7k2m9qxa",
        "c\N{MINUS SIGN}7k2m9qxa",
        "c-7k2m 9qxa",
        "c-7k2m-9qxa",
        "c-7k\N{SOFT HYPHEN}2m9qxa",
        "c-\N{ZERO WIDTH SPACE}7k2m9qxa",
        "\N{FULLWIDTH LATIN SMALL LETTER C}\N{FULLWIDTH HYPHEN-MINUS}7k2m9qxa",
        "c-\u00a07k2m9qxa",
        "c-abcdefgh",
    ],
)
def test_a_pseudonym_as_people_type_it_is_left_out(typed: str) -> None:
    found = without_clients(f"asked {typed}, who agreed")
    assert "(client)" in found
    for part in ("7k2m", "9qxa", "abcdefgh"):
        assert part not in found.lower()
    assert found.endswith(", who agreed")


@pytest.mark.parametrize(
    "text",
    [
        "the lot was recalled by mistake; the maker's letter of 2026-06-01 says so",
        "vitamin c - given before",
        "C-section 2 years ago",
        "cartridge seen, clinically fine, checked with md-01",
        "session pen-01-1-7, 0.5 mm, code CARTRIDGE_RECALLED, µ",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert without_clients(text) == text
    assert not names_client(text)
