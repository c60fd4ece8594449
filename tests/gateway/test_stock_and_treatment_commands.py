"""Stock and treatment notes at the desk, with sessions that went through the intake."""

import json
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import GTIN, NOW_UTC_MS, badge, cartridge_tag, clinic
from gateway_desk import Desk
from honest_pen import HonestPen
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import DocumentError

CLIENT = "c-0a1b2c3d"
NURSE = badge("rn-01")
CREAM = {"id": "cream", "name": "Cream", "kind": "numbing_cream", "unit": "tube", "received": 9}
SCREENED = "collagen-vascular-disease = false\n"


class Clinic:
    """A ledger in which sessions happen, and the command line before it."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder = folder
        self.path = folder / "clinic.sqlite"
        self.ledger = Ledger.open(self.path)
        keys: dict[str, Any] = {"pen-01": bytes([1]) * 32}
        self.ledger.import_registry(clinic(consumable=[CREAM]), keys, NOW_UTC_MS)
        self.desk = Desk(self.ledger, policy)
        self.pen = HonestPen()
        self.pen.boot()

    def treat(self, serial: str = "000001", depth_um: int = 300, lot: str = "LOT24A") -> str:
        """One session of the nurse; its id."""
        self.pen.open(NURSE, cartridge_tag(serial, lot))
        if depth_um:
            self.pen.work(depth_um)
        self.pen.close()
        self.desk.take(list(self.pen.sent))
        self.pen.sent.clear()
        return f"pen-01-1-{self.pen.session}"

    def run(self, *arguments: str, wrong: bool = False) -> str:
        """What a command prints; with `wrong`, why it refused."""
        done = CliRunner().invoke(app, [*arguments, "--ledger", str(self.path)])
        if wrong:
            assert isinstance(done.exception, (DocumentError, LedgerError)), done.output
            return str(done.exception)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def note(self, *more: str, wrong: bool = False) -> str:
        at = ("--at", "2026-07-01T08:59:00Z")
        who = ("--client", CLIENT, "--practitioner", "rn-01")
        return self.run("treatment", "note", *who, *at, *more, wrong=wrong)

    def lot(self, lot: str = "LOT24A") -> dict[str, Any]:
        found = self.json("stock", "show", "--at", "2026-12-31")
        lots = [one for product in found["products"] for one in product["lots"]]
        row: dict[str, Any] = next(one for one in lots if one["lot"] == lot)
        return row


@pytest.fixture
def house(tmp_path: Path, policy: Policy) -> Clinic:
    return Clinic(tmp_path, policy)


# ---- stock ----


def test_a_cartridge_that_a_pen_has_seen_is_used_once(house: Clinic) -> None:
    assert house.lot()["left"] == 40
    for serial in ("000001", "000001", "000002"):
        house.treat(serial)
    assert (house.lot()["used"], house.lot()["left"]) == (2, 38)


def test_opened_for_nothing_and_unknown_lots_show(house: Clinic) -> None:
    house.treat("000001", depth_um=0)
    house.treat("000002", lot="NOBODY'S")
    found = house.json("stock", "show", "--at", "2026-12-31")["cartridges"]
    assert (found["opened"], found["treated"], found["opened_for_nothing"]) == (2, 1, 1)
    assert found["unknown_lots"] == [{"gtin": GTIN, "lot": "NOBODY'S", "count": 1}]
    said = house.run("stock", "show", "--at", "2026-12-31")
    assert "opened for nothing: 1" in said
    assert "lot NOBODY'S" in said


def test_what_came_and_went_is_recorded_with_who_and_why(house: Clinic) -> None:
    lot = ("--lot", "LOT24A", "--who", "md-01")
    house.run("stock", "receive", GTIN, "5", *lot, "--why", "order 7")
    house.run("stock", "discard", GTIN, "2", *lot, "--why", "dropped")
    house.run("stock", "use", "cream", "1", "--why", "patch test")
    assert house.lot()["left"] == 43
    said = house.run("stock", "count", GTIN, "40", *lot, "--why", "inventory")
    assert "40 found, 43 expected: -3" in said
    assert house.lot()["left"] == 40
    assert "40 found, 40 expected: +0" in house.run(
        "stock", "count", GTIN, "40", *lot, "--why", "inventory"
    )
    entries = [entry.json() for entry in house.ledger.all_entries("stock")]
    assert [(one["change"], one["cause"], one["why"]) for one in entries] == [
        (5, "received", "order 7"),
        (-2, "discarded", "dropped"),
        (-1, "used", "patch test"),
        (-3, "counted", "inventory"),
    ]
    assert entries[0]["who"] == "md-01"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("receive", "nothing", "1"), "no item 'nothing'. Known: 09506000134352"),
        (("receive", GTIN, "1"), "give --lot, one of: BAD, LOT24A"),
        (("receive", GTIN, "1", "--lot", "X"), "give --lot, one of"),
        (("receive", "cream", "1", "--lot", "X"), "has no lots"),
    ],
)
def test_what_is_not_in_the_registry_can_not_move(
    arguments: tuple[str, ...], complaint: str, house: Clinic
) -> None:
    assert complaint in house.run("stock", *arguments, "--why", "x", wrong=True)
    assert not house.ledger.all_entries("stock")


def test_a_recall_lists_whom_the_lot_touched_and_holds_from_its_day_on(
    house: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_later_utc_ms = NOW_UTC_MS + 3_600_000
    monkeypatch.setattr("needletrail_gateway.desk.stock_commands.now_utc_ms", lambda: hour_later_utc_ms)
    house.note()
    first = house.treat("000001")
    touched = house.json("stock", "trace", GTIN, "LOT24A")
    assert touched["clients"] == [CLIENT]
    assert touched["practitioners"] == ["rn-01"]
    assert [(one["session_id"], one["serial"]) for one in touched["sessions"]] == [(first, "000001")]
    recall = ("stock", "recall", GTIN, "LOT24A", "--on", "2026-07-01", "--why", "letter 7")
    assert "1 sessions, 1 practitioners, 1 clients" in house.run(*recall)
    house.desk.now_utc_ms = NOW_UTC_MS + 86_400_000
    house.desk.intake.reload()
    house.pen.boot(utc_ms=house.desk.now_utc_ms)
    house.pen.grant_utc_ms = house.desk.now_utc_ms
    second = house.treat("000002")
    assert house.desk.verdicts()[first] == ("compliant", [])
    assert house.desk.verdicts()[second] == ("violation", ["CARTRIDGE_RECALLED"])
    assert house.lot()["recalled"] == "2026-07-01"
    assert "no lot X" in house.run(
        "stock", "recall", GTIN, "X", "--on", "2026-07-01", "--why", "x", wrong=True
    )
    assert "is not a day" in house.run(
        "stock", "recall", GTIN, "LOT24A", "--on", "soon", "--why", "x", wrong=True
    )
    assert "No pen has seen" in house.run("stock", "trace", GTIN, "BAD")


# ---- treatment notes ----


def test_a_client_who_must_be_refused_is_a_violation_from_the_depth_on_that_refuses(
    house: Clinic,
) -> None:
    (house.folder / "answers.toml").write_text("rosacea = true\n")
    house.note("--answers", str(house.folder / "answers.toml"))
    cosmetic, medical = house.treat("000001", 300), house.treat("000002", 1500)
    assert house.desk.verdicts()[cosmetic] == ("compliant", [])
    assert house.desk.verdicts()[medical][1] == ["CONTRAINDICATION"]
    assert (medical, "CONTRAINDICATION") in house.desk.alert_codes(), "at once"
    statement = house.desk.statement(medical)
    assert statement["note_entry"]
    assert CLIENT not in json.dumps(statement), "the client is in the note alone"


def test_work_that_goes_deeper_is_told_at_the_depth_that_refuses(house: Clinic) -> None:
    (house.folder / "answers.toml").write_text("rosacea = true\n")
    house.note("--answers", str(house.folder / "answers.toml"))
    house.pen.open(NURSE, cartridge_tag("000001"))
    house.pen.work(200)
    house.desk.take(list(house.pen.sent))
    assert house.desk.alert_codes() == []
    house.desk.take(house.pen.work(1500))
    assert house.desk.alert_codes() == [("pen-01-1-1", "CONTRAINDICATION")], "not only at the end"


def test_the_client_is_told_what_the_policy_says_of_healing(house: Clinic) -> None:
    assert "Tell the client:" in house.note()


def test_consumables_of_a_treatment_leave_the_stock(house: Clinic) -> None:
    house.note("--used", "cream=2")
    found = house.json("stock", "show", "--at", "2026-12-31")["products"]
    assert next(one for one in found if one["id"] == "cream")["left"] == 7


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--used", "glue=1"), "no consumable 'glue'. Known: cream"),
        (("--used", "cream=some"), "is not ITEM=N"),
        (("--prevented", "hunger"), "asks nothing of 'hunger'. Known conditions:"),
        (("--at", "noon"), "neither a day"),
        (("--session", "pen-01-1-9"), "no session pen-01-1-9"),
        (("--area", "Full Face"), "--area:"),
        (("--client", "Jane Doe"), "--client: must be a pseudonym"),
        (("--practitioner", "nobody"), "nobody is not registered"),
    ],
)
def test_a_note_that_can_not_be_true_is_refused(
    more: tuple[str, ...], complaint: str, house: Clinic
) -> None:
    assert complaint in house.note(*more, wrong=True)
    assert not house.ledger.all_entries("note")


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ("hunger = true\n", "asks nothing of 'hunger'"),
        ('rosacea = "yes"\n', "rosacea: the answer is true or false"),
        ("rosacea = \n", "is not valid TOML"),
        (None, "can not be read"),
    ],
)
def test_answers_that_can_not_be_used_name_the_file(
    answers: str | None, complaint: str, house: Clinic
) -> None:
    path = house.folder / "answers.toml"
    if answers is not None:
        path.write_text(answers)
    said = house.note("--answers", str(path), wrong=True)
    assert str(path) in said
    assert complaint in said


def attest(
    house: Clinic, *more: str, who: str = "est-01", mm: str = "0.2", at: str = "2026-07-01"
) -> Any:
    person = ("--client", CLIENT, "--practitioner", who, "--at", f"{at}T09:00:00Z")
    roller = ("--device", "roller", "--needle-mm", mm, "--minutes", "20")
    return house.json("treatment", "attest", *person, *roller, *more)


def test_an_attested_treatment_is_on_record_and_judged(house: Clinic) -> None:
    said = attest(house)
    assert (said["verdict"], said["reasons"]) == ("compliant", [])
    entry = house.ledger.entries(said["entry"] - 1, most=1)[0]
    body = entry.json()
    assert (entry.kind, body["device"], body["needle_mm"]) == ("attested", "roller", 0.2)
    assert body["verdict"] == "compliant"
    assert body["policy"].startswith("default ")


@pytest.mark.parametrize(
    ("who", "mm", "reasons"),
    [
        ("est-01", "0.49", []),
        ("est-01", "0.5", ["DEPTH_EXCEEDED"]),
        ("old-01", "0.2", ["DEPTH_EXCEEDED", "LICENSE_EXPIRED"]),
        ("md-01", "1.5", ["DEPTH_EXCEEDED", "DEVICE_NOT_CLEARED"]),
    ],
)
def test_who_may_roll_how_deep(who: str, mm: str, reasons: list[str], house: Clinic) -> None:
    found = attest(house, who=who, mm=mm)["reasons"]
    assert set(reasons) <= set(found), found
    assert bool(found) == bool(reasons)


def test_an_attested_treatment_counts_in_the_client_s_course(house: Clinic) -> None:
    attest(house)
    rows = house.ledger.visits(CLIENT, NOW_UTC_MS * 2)
    assert [(row["session_id"][:9], row["tier"]) for row in rows] == [("attested-", "cosmetic")]


def test_an_unknown_device_is_none(house: Clinic) -> None:
    who = ("--client", CLIENT, "--practitioner", "est-01")
    fork = ("--device", "fork", "--needle-mm", "0.2", "--minutes", "20")
    assert "--device" in house.run("treatment", "attest", *who, *fork, wrong=True)


def test_only_a_soft_rule_can_be_overridden(house: Clinic) -> None:
    session = house.treat(depth_um=300, lot="BAD")
    why = ("--why", "two areas")
    assert "is a hard rule" in house.run(
        "treatment", "override", session, "CARTRIDGE_RECALLED", *why, wrong=True
    )
    assert "has no rule 'MOOD'" in house.run("treatment", "override", session, "MOOD", *why, wrong=True)
    assert "no session pen-01-1-9" in house.run(
        "treatment", "override", "pen-01-1-9", "DURATION_LONG", *why, wrong=True
    )
    house.run("treatment", "override", session, "DURATION_LONG", *why, "--who", "md-01")
    found = house.ledger.all_entries("override")[0]
    assert (found.session_id, found.json()["who"]) == (session, "md-01")


def test_a_verdict_is_explained(house: Clinic) -> None:
    session = house.treat(depth_um=1500, lot="BAD")
    said = house.run("explain", session)
    for words in (f"{session}: violation", "CARTRIDGE_RECALLED", "21 CFR 7.3(g)", "tier medical"):
        assert words in said
    assert house.json("explain", session)["session_id"] == session
    house.pen.open(NURSE, cartridge_tag("000009"))
    house.desk.take(list(house.pen.sent))
    assert "is still open" in house.run("explain", "pen-01-1-2", wrong=True)


def test_a_soft_reason_that_was_overridden_counts_no_more(house: Clinic) -> None:
    house.note("--area", "full-face")
    session = house.treat(depth_um=1500)
    assert house.desk.verdicts()[session] == ("review", ["DURATION_SHORT"])
    said = house.json(
        "treatment", "override", session, "DURATION_SHORT", "--why", "stopped early", "--who", "md-01"
    )
    assert (said["verdict"], said["reasons"]) == ("compliant", ["DURATION_SHORT"])
    statement = house.desk.statement(session)
    assert statement["because"] == "override"
    assert [one["why"] for one in statement["overridden"]] == ["stopped early"]
    verdicts = [entry.id for entry in house.ledger.all_entries("verdict")]
    assert statement["amends"] == verdicts[0], "the first verdict stays"
    assert "overridden by md-01" in house.run("explain", session)


def test_a_note_that_comes_afterwards_is_taken_up(house: Clinic) -> None:
    session = house.treat(depth_um=1500)
    assert house.desk.verdicts()[session] == ("compliant", [])
    (house.folder / "answers.toml").write_text("rosacea = true\n")
    said = house.run(
        *("treatment", "note", "--client", CLIENT, "--practitioner", "rn-01", "--session", session),
        *("--answers", str(house.folder / "answers.toml")),
    )
    assert "The verdict is: violation (CONTRAINDICATION)" in said
    assert house.desk.verdicts()[session] == ("violation", ["CONTRAINDICATION"])
    assert (session, "CONTRAINDICATION") in house.desk.alert_codes()
