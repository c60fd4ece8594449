"""Alerts at the desk: listed, acknowledged once, proven, and kept by export and import."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.notes import (
    ACKNOWLEDGED,
    Acknowledgement,
    names_client,
    without_clients,
)
from needletrail_gateway.record.alerts import acknowledge, alerts
from needletrail_gateway.record.archive import export, import_from
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger, NewEntry, to_json
from needletrail_gateway.record.proof import prove
from needletrail_gateway.shell.documents import DocumentError

DEEP, OLD = "pen-01-1-1", "pen-01-1-2"


@pytest.fixture
def place(desk: Desk) -> Path:
    """A ledger in which somebody went too deep, and somebody took a cartridge that was recalled."""
    pen = HonestPen()
    pen.boot()
    for lot in ("LOT24A", "BAD"):
        pen.open(badge("est-01"), cartridge_tag(lot, lot))
        pen.work(900 if lot == "LOT24A" else 100)
        pen.close()
    desk.take(pen.sent)
    assert desk.alert_codes() == [(DEEP, "DEPTH_EXCEEDED"), (OLD, "CARTRIDGE_RECALLED")]
    location = desk.ledger.engine.url.database
    assert location is not None
    return Path(location)


def run(place: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["alert", *arguments, "--ledger", str(place)])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def refused(place: Path, *arguments: str) -> str:
    before = prove(place).entries
    done = CliRunner().invoke(app, [*arguments, "--ledger", str(place)])
    assert isinstance(done.exception, (DocumentError, LedgerError)), done.output
    assert prove(place).entries == before, "nothing was entered"
    return str(done.exception)


def listed(place: Path, *more: str) -> dict[str, Any]:
    return {one["session_id"]: one for one in json.loads(run(place, "list", "--json", *more))}


def test_an_alert_is_open_until_somebody_acknowledges_it(place: Path) -> None:
    assert listed(place).keys() == listed(place, "--open").keys() == {DEEP, OLD}
    why = ("--who", "md-01", "--why", "spoke with her")
    said = json.loads(run(place, "acknowledge", DEEP, "DEPTH_EXCEEDED", *why, "--json"))
    assert listed(place, "--open").keys() == {OLD}
    found = listed(place)[DEEP]
    assert found["acknowledged"]["who"] == "md-01"
    assert found["acknowledged"]["why"] == "spoke with her"
    assert found["acknowledged"]["entry"] == said["entry"]
    assert (found["limit_mm"], found["depth_mm"], found["practitioner"]) == (0.5, 0.9, "est-01")
    table = " ".join(run(place, "list").split())
    assert "2 alerts, 1 of them open." in table
    assert f"{DEEP} DEPTH_EXCEEDED 2026-07-01" in table
    assert "md-01:" in table


def test_why_may_be_left_out_and_is_then_null(place: Path, desk: Desk) -> None:
    assert "md-01 has acknowledged" in run(
        place, "acknowledge", DEEP, "DEPTH_EXCEEDED", "--who", "md-01"
    )
    (entry,) = desk.ledger.all_entries(ACKNOWLEDGED)
    assert entry.session_id == DEEP
    assert entry.json() == {"who": "md-01", "session": DEEP, "code": "DEPTH_EXCEEDED", "why": None}
    assert "salt" in json.loads(entry.body)


def test_when_all_are_acknowledged_none_is_open(place: Path) -> None:
    run(place, "acknowledge", DEEP, "DEPTH_EXCEEDED")
    run(place, "acknowledge", OLD, "CARTRIDGE_RECALLED")
    assert run(place, "list", "--open") == "No alert is open.\n"
    assert listed(place).keys() == {DEEP, OLD}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pen-01-1-9", "DEPTH_EXCEEDED"), "no alert was raised in a session pen-01-1-9"),
        ((DEEP, "CARTRIDGE_REUSED"), "has no alert CARTRIDGE_REUSED. It has: DEPTH_EXCEEDED"),
        ((DEEP, "TOO_DEEP"), "there is no code 'TOO_DEEP'"),
        ((DEEP, "DEPTH_EXCEEDED", "--why", "it was c-7k2m9qxa"), "--why: dashboards show this text"),
        ((DEEP, "DEPTH_EXCEEDED", "--who", "C-7K2M9QXA"), "--who: dashboards show this text"),
        ((DEEP, "DEPTH_EXCEEDED", "--why", " "), "--why: give one line"),
    ],
)
def test_what_can_not_be_acknowledged_is_refused(
    arguments: tuple[str, ...], words: str, place: Path
) -> None:
    assert words in refused(place, "alert", "acknowledge", *arguments)


def test_an_override_s_reason_names_no_client_either(place: Path) -> None:
    override = ("treatment", "override", DEEP, "DURATION_LONG", "--why", "two areas, c-7k2m9qxa")
    assert "--why: dashboards show this text" in refused(place, *override)


def test_twice_is_once_and_says_who_was_first(place: Path, desk: Desk) -> None:
    run(place, "acknowledge", DEEP, "DEPTH_EXCEEDED", "--who", "md-01")
    assert "acknowledged already, by md-01 (entry " in refused(
        place, "alert", "acknowledge", DEEP, "DEPTH_EXCEEDED", "--who", "rn-01"
    )
    word = Acknowledgement(who="rn-01", session=DEEP, code="DEPTH_EXCEEDED", why=None)
    with pytest.raises(LedgerError, match="acknowledged already"):
        acknowledge(desk.ledger, word, NOW_UTC_MS)


def test_help_teaches(place: Path) -> None:
    done = CliRunner().invoke(app, ["alert", "acknowledge", "--help"])
    said = " ".join(done.stdout.split())
    for words in ("The verdict stays what it is", "name no client", "Example: needletrail alert"):
        assert words in said
    override = " ".join(CliRunner().invoke(app, ["treatment", "override", "--help"]).stdout.split())
    assert "appear on dashboards: name no client" in override


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("c-7k2m9qxa again", "(client) again"),
        ("for C-7K2M9QXA, twice", "for (client), twice"),
        ("(c-00000001)", "((client))"),
        ("both c-7k2m9qxa and c-7k2m9qxb", "both (client) and (client)"),
        ("file_c-7k2m9qxa.txt", "file_(client).txt"),
        ("c-7k2m9qx", "c-7k2m9qx"),
        ("vitamin c-rich serum", "vitamin c-rich serum"),
    ],
)
def test_what_looks_like_a_pseudonym_in_a_text(text: str, without: str) -> None:
    assert without_clients(text) == without
    assert names_client(text) == (text != without)


def test_what_is_taken_out_may_be_more_than_what_is_refused() -> None:
    """A refusal must not be wrong, and what reaches a dashboard must not either."""
    assert not names_client("abc-12345678")
    assert without_clients("abc-12345678") == "ab(client)"


def test_acknowledgements_are_proven(place: Path, desk: Desk) -> None:
    run(place, "acknowledge", DEEP, "DEPTH_EXCEEDED", "--who", "md-01")
    assert prove(place).findings == []
    entry = desk.ledger.last_entry_id()
    desk.ledger.close()
    for change, words in (
        ("UPDATE alert SET acknowledged_entry = NULL", "acknowledged_entry of DEPTH_EXCEEDED"),
        (
            f"UPDATE alert SET acknowledged_entry = {entry}",
            "acknowledged_entry of CARTRIDGE_RECALLED",
        ),
    ):
        with sqlite3.connect(place) as connection:
            before = connection.execute("SELECT acknowledged_entry, code FROM alert").fetchall()
            connection.execute(change)
        connection.close()
        (finding,) = prove(place).findings
        assert words in finding.said
        with sqlite3.connect(place) as connection:
            connection.executemany("UPDATE alert SET acknowledged_entry = ? WHERE code = ?", before)
        connection.close()
    assert prove(place).findings == []


def test_an_acknowledgement_of_nothing_is_found(place: Path, desk: Desk) -> None:
    desk.ledger.note(
        ACKNOWLEDGED, {"who": "x", "session": DEEP, "code": "CARTRIDGE_REUSED"}, NOW_UTC_MS, DEEP
    )
    entry = desk.ledger.last_entry_id()
    desk.ledger.note(
        ACKNOWLEDGED, {"who": "x", "session": DEEP, "code": "DEPTH_EXCEEDED"}, NOW_UTC_MS, OLD
    )
    assert [(one.entry, one.said) for one in prove(place).findings] == [
        (entry, "it acknowledges an alert that was not raised: CARTRIDGE_REUSED"),
        (entry + 1, f"it acknowledges an alert of session {DEEP}"),
    ]


def test_export_and_import_keep_it(place: Path, tmp_path: Path) -> None:
    run(place, "acknowledge", DEEP, "DEPTH_EXCEEDED", "--who", "md-01")
    export(place, tmp_path / "all.gz")
    import_from(tmp_path / "all.gz", tmp_path / "new.sqlite")
    assert listed(tmp_path / "new.sqlite") == listed(place)


def test_an_alert_that_came_ahead_of_its_session_can_be_acknowledged(desk: Desk) -> None:
    """A pen's urgent word: the session's records are still to come."""
    pen = HonestPen("pen-02")
    desk.take(pen.boot())
    body = {"session_id": "pen-02-1-1", "code": "DEPTH_EXCEEDED", "raised": None, "raised_utc_ms": None}
    _alert_by_hand(desk.ledger, body | {"limit_mm": 0.5, "depth_mm": 0.9, "told_by": "pen"})
    word = Acknowledgement(who="md-01", session="pen-02-1-1", code="DEPTH_EXCEEDED", why=None)
    entry = acknowledge(desk.ledger, word, NOW_UTC_MS)
    (one,) = alerts(desk.ledger)
    assert (one.pen, one.practitioner, one.acknowledged_entry) == ("pen-02", None, entry)
    assert alerts(desk.ledger, is_open=True) == []


def _alert_by_hand(ledger: Ledger, said: dict[str, Any]) -> None:
    row = {"session_id": said["session_id"], "code": said["code"], "entry": 0}
    group = Group(
        entries=[NewEntry("alert", to_json(said), "pen-02", session_id=said["session_id"])],
        alerts=[row | {"raised_utc_ms": None, "reached_pen": False}],
    )
    ledger.commit(group, NOW_UTC_MS)
