"""The ledger: whole groups or nothing, numbers without holes, and a chain that shows every change."""

import json
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic, pen
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen
from sqlalchemy.exc import DatabaseError

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record.chain import head, link, pen_link
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import (
    QUARANTINE_KEPT,
    Entry,
    Group,
    Ledger,
    NewEntry,
)


def morning() -> HonestPen:
    """A boot and two sessions, one of them a violation."""
    one = HonestPen()
    one.boot()
    for who in ("est-01", "nobody"):
        one.open(badge(who), cartridge_tag(who[:3]))
        one.work(300)
        one.close()
    return one


def chained(ledger: Ledger) -> list[tuple[Entry, bytes]]:
    """Every entry with its chain value, as they are on the disk."""
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM entry ORDER BY id").mappings().all()
    chains = ("chain", "pen_chain")
    return [
        (Entry(**{name: row[name] for name in row if name not in chains}), row["chain"]) for row in rows
    ]


def is_whole(ledger: Ledger) -> bool:
    """Recompute the chain from the beginning, as an inspector would."""
    before = bytes(32)
    of_pens: dict[tuple[str, int], bytes] = {}
    for number, (entry, chained_as) in enumerate(chained(ledger), 1):
        columns = columns_of(entry)
        digest = sha256(entry.body).digest()
        of_pen = None
        if entry.pen is not None and entry.epoch is not None:
            lane = (entry.pen, entry.epoch)
            of_pen = of_pens[lane] = pen_link(of_pens.get(lane, bytes(32)), columns, digest)
        before = link(before, columns, digest, of_pen)
        if entry.id != number or chained_as != before:
            return False
    return True


def columns_of(entry: Entry) -> bytes:
    """What the links cover of an entry beside its body."""
    columns = (entry.id, entry.kind, entry.pen, entry.epoch, entry.seq, entry.session_id)
    return head(*columns, entry.committed_utc_ms)


def dump(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    path = str(ledger.engine.url.database)
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        names = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names
        }


def alter(ledger: Ledger, statement: str) -> None:
    with sqlite3.connect(str(ledger.engine.url.database)) as connection:
        connection.execute(statement)


# ---- the chain ----


def test_the_chain_of_an_honest_ledger_is_whole(desk: Desk) -> None:
    for sent in morning().sent:
        desk.take(sent)
    assert is_whole(desk.ledger)
    assert len(chained(desk.ledger)) > 10


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET body = CAST('{}' AS BLOB) WHERE id = 6",
        "UPDATE entry SET kind = 'refused' WHERE id = 6",
        "UPDATE entry SET pen = 'pen-02' WHERE id = 6",
        "UPDATE entry SET pen = NULL WHERE id = 6",
        "UPDATE entry SET seq = 77 WHERE id = 6",
        "UPDATE entry SET epoch = 77 WHERE id = 6",
        "UPDATE entry SET session_id = 'pen-01-1-9' WHERE id = 6",
        "UPDATE entry SET committed_utc_ms = committed_utc_ms + 1 WHERE id = 6",
        "UPDATE entry SET chain = zeroblob(32) WHERE id = 6",
        "DELETE FROM entry WHERE id = 6",
        "DELETE FROM entry WHERE id = 1",
        "UPDATE entry SET id = 1000 WHERE id = 6",
        "INSERT INTO entry SELECT 1000, kind, pen, epoch, 1000, session_id, committed_utc_ms, body,"
        " chain, body_sha256, pen_chain FROM entry WHERE id = 6",
    ],
)
def test_whatever_is_changed_later_shows(change: str, desk: Desk) -> None:
    desk.take(morning().sent)
    assert is_whole(desk.ledger)
    alter(desk.ledger, change)
    assert not is_whole(desk.ledger)


def test_two_entries_that_change_places_show(desk: Desk) -> None:
    desk.take(morning().sent)
    for old, new in ((6, 999), (7, 6), (999, 7)):
        alter(desk.ledger, f"UPDATE entry SET id = {new} WHERE id = {old}")
    assert not is_whole(desk.ledger)


def test_the_fields_of_an_entry_can_not_be_moved_into_one_another() -> None:
    one = Entry(1, "record", "pen-01", 1, 11, None, 5, b"x")
    others = [
        Entry(1, "record", "pen-01", 11, 1, None, 5, b"x"),
        Entry(11, "record", "pen-01", 1, 1, None, 5, b"x"),
        Entry(1, "record", "pen-01", 1, 11, "", 5, b"x"),
        Entry(1, "record", "pen-01", 1, 11, None, 5, b"\nx"),
    ]

    def linked(entry: Entry, before: bytes = bytes(32)) -> bytes:
        return link(before, columns_of(entry), sha256(entry.body).digest(), None)

    assert len({linked(entry) for entry in (one, *others)}) == 5
    assert linked(one) != linked(one, b"\x01" * 32)


# ---- all or nothing ----


def broken(group: Group) -> list[Callable[[], None]]:
    """Ways in which a row of a group can fail in the database."""
    return [
        lambda: group.entries.append(NewEntry("record", b"again", "pen-01", 1, 1)),
        lambda: group.entries.append(NewEntry("record", None)),  # type: ignore[arg-type]
        lambda: group.sessions.append(dict.fromkeys(group.sessions[0]) | {"opened_entry": 0}),
        lambda: group.alerts.append(dict.fromkeys(group.alerts[0]) | {"entry": 0}),
        lambda: group.lanes.update({("x", 1): dict.fromkeys(group.lanes["pen-01", 1])}),
        lambda: group.quarantined.append(dict.fromkeys(("topic", "reason", "detail", "message"))),
    ]


@pytest.mark.parametrize("way", range(6))
def test_a_failing_row_leaves_nothing_of_its_group(way: int, desk: Desk) -> None:
    desk.receive(morning().sent)
    group = desk.intake.group
    before = dump(desk.ledger)
    broken(group)[way]()
    with pytest.raises(Exception, match=r"NOT NULL|UNIQUE|NoneType|required"):
        desk.ledger.commit(group, NOW_UTC_MS)
    assert dump(desk.ledger) == before


def test_a_commit_that_is_retried_is_the_same_commit(new_ledger: NewLedger, policy: Policy) -> None:
    """A disk that was full for a while: the group is handed over again."""
    ledgers = [new_ledger(), new_ledger()]
    desks = [Desk(ledger, policy) for ledger in ledgers]
    for desk in desks:
        one = morning()
        desk.receive(one.sent, one.sent[0], HonestPen().boot(5))
        desk.receive(HonestPen(key=b"x" * 32).boot())
    group = desks[1].intake.group
    alter(
        ledgers[1],
        "CREATE TRIGGER full BEFORE INSERT ON quarantine BEGIN SELECT RAISE(ABORT, 'x'); END",
    )
    for _ in range(3):
        with pytest.raises(DatabaseError):
            ledgers[1].commit(group, NOW_UTC_MS)
    alter(ledgers[1], "DROP TRIGGER full")
    for ledger, desk in zip(ledgers, desks, strict=True):
        ledger.commit(desk.intake.group, NOW_UTC_MS)
    assert dump(ledgers[0]) == dump(ledgers[1])


def test_a_record_can_be_in_the_ledger_only_once(ledger: Ledger) -> None:
    record = NewEntry("record", b"x", "pen-01", 1, 1)
    ledger.commit(Group(entries=[record]), NOW_UTC_MS)
    with pytest.raises(DatabaseError):
        ledger.commit(Group(entries=[record]), NOW_UTC_MS)
    ledger.commit(Group(entries=[NewEntry("record", b"x", "pen-01", 2, 1)]), NOW_UTC_MS)
    ledger.commit(Group(entries=[NewEntry("record", b"x", "pen-02", 1, 1)]), NOW_UTC_MS)


# ---- numbers ----


def test_two_writers_number_without_holes(ledger: Ledger, registry: Registry) -> None:
    """The gateway commits while, on the command line, registries are imported."""
    other = Ledger.open(str(ledger.engine.url.database))

    def commit() -> None:
        for number in range(60):
            entries = [NewEntry("record", b"x", "pen-01", 1, 2 * number + nth) for nth in (1, 2)]
            ledger.commit(Group(entries=entries), NOW_UTC_MS)

    def import_again() -> None:
        for number in range(30):
            changed = clinic(pen=[pen("pen-01", model=f"model {number}")])
            other.import_registry(changed, {"pen-01": bytes([number]) * 32}, NOW_UTC_MS)

    threads = [threading.Thread(target=work) for work in (commit, import_again)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert is_whole(ledger)
    kinds = Counter(entry.kind for entry, _ in chained(ledger))
    assert kinds["record"] == 120
    assert kinds["change"] == 31


# ---- the registry ----


def test_importing_the_same_registry_again_changes_nothing(ledger: Ledger, registry: Registry) -> None:
    before = dump(ledger)
    found = ledger.registry()
    assert found is not None
    assert ledger.import_registry(registry, KEYS, NOW_UTC_MS + 5) == found[0]
    assert dump(ledger) == before


def test_a_changed_registry_is_a_new_entry_and_the_old_one_stays(ledger: Ledger) -> None:
    first = ledger.registry()
    changed = clinic(practitioner=[], clinic={"id": "harbor", "name": "New", "policy": "default"})
    entry_id = ledger.import_registry(changed, {}, NOW_UTC_MS)
    assert first is not None
    assert ledger.registry_at(first[0]).clinic.name == "Harbor Skin Clinic"
    assert ledger.registry_at(entry_id).clinic.name == "New"
    assert ledger.registry() == (entry_id, ledger.registry_at(entry_id))


def test_a_changed_key_is_a_new_epoch_and_the_old_key_stays(ledger: Ledger, registry: Registry) -> None:
    ledger.import_registry(registry, KEYS | {"pen-01": b"n" * 32}, NOW_UTC_MS)
    keys = ledger.pen_keys()
    assert keys["pen-01", 1] == KEYS["pen-01"]
    assert keys["pen-01", 2] == b"n" * 32
    assert ("pen-02", 2) not in keys


def test_a_key_is_in_no_entry(ledger: Ledger, registry: Registry) -> None:
    ledger.enrol_anew("pen-02", b"n" * 32, NOW_UTC_MS)
    for entry in ledger.entries():
        for key in (*KEYS.values(), b"n" * 32):
            assert key not in entry.body
            assert key.hex().encode() not in entry.body.lower()


def test_the_entry_of_an_enrolment_identifies_the_key(ledger: Ledger) -> None:
    ledger.enrol_anew("pen-02", b"n" * 32, NOW_UTC_MS)
    said = ledger.entries(kind="enrolment")[-1].json()
    assert (said["pen"], said["epoch"], len(said["key_sha256"])) == ("pen-02", 2, 64)


# ---- quarantine, tallies, outbox ----


def refused(number: int) -> dict[str, Any]:
    return {
        "received_utc_ms": number,
        "topic": "t",
        "reason": "mac_invalid",
        "detail": "d",
        "message": b"m",
    }


def test_the_quarantine_keeps_the_newest_and_the_tally_counts_all(ledger: Ledger) -> None:
    rows = [refused(number) for number in range(QUARANTINE_KEPT + 500)]
    for at in range(0, len(rows), 3000):
        part = rows[at : at + 3000]
        ledger.commit(Group(quarantined=part, tally=Counter({"refused x": len(part)})), NOW_UTC_MS)
    kept = ledger.quarantined(most=100_000)
    assert [row["received_utc_ms"] for row in kept] == list(range(QUARANTINE_KEPT + 499, 499, -1))
    assert ledger.tallies() == {"refused x": QUARANTINE_KEPT + 500}


def test_what_a_view_refused_is_kept_and_counted(ledger: Ledger) -> None:
    ledger.set_aside("influx_refused", "says why", b"line" * 5000)
    [row] = ledger.quarantined()
    assert (row["reason"], row["detail"], len(row["message"])) == ("influx_refused", "says why", 4096)
    assert ledger.tallies() == {"refused influx_refused": 1}


def test_a_view_is_told_from_where_it_stood(ledger: Ledger) -> None:
    assert ledger.delivered("influx") == 0
    for entry_id in (3, 7):
        ledger.deliver("influx", entry_id)
        assert ledger.delivered("influx") == entry_id
    assert ledger.delivered("another view") == 0


def test_the_newest_session_of_each_epoch_is_known(desk: Desk) -> None:
    assert desk.ledger.last_session("pen-01", 1) == 0
    desk.take(morning().sent)
    assert desk.ledger.last_session("pen-01", 1) == 2
    assert desk.ledger.last_session("pen-01", 2) == 0
    assert desk.ledger.last_session("pen-02", 1) == 0


# ---- opening ----


def test_what_was_committed_is_there_after_a_kill(desk: Desk, tmp_path: Path) -> None:
    """The files as they are on the disk after a commit, without the ledger being closed."""
    desk.take(morning().sent)
    source = Path(str(desk.ledger.engine.url.database))
    for part in source.parent.glob(source.name + "*"):
        shutil.copyfile(part, tmp_path / part.name.replace(source.name, "copy.sqlite"))
    copy = Ledger.open(tmp_path / "copy.sqlite")
    assert [entry for entry, _ in chained(copy)] == [entry for entry, _ in chained(desk.ledger)]
    assert len(copy.sessions()) == 2
    copy.close()


def refusal(location: str | Path) -> str:
    with pytest.raises(LedgerError) as caught:
        Ledger.open(location)
    return str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear inspector, " * 500)
    assert str(path) in refusal(path)
    assert path.read_text() == "Dear inspector, " * 500


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert "does not exist. Create it first" in refusal(tmp_path / "nowhere" / "ledger.sqlite")
    assert not (tmp_path / "nowhere").exists()


def test_a_ledger_of_a_newer_program_is_refused(ledger: Ledger) -> None:
    alter(ledger, "UPDATE alembic_version SET version_num = '9999'")
    said = refusal(str(ledger.engine.url.database))
    assert "schema 9999" in said
    assert "Upgrade Needletrail" in said


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE invoice (id INTEGER)")
    assert "belongs to something else" in refusal(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("invoice",)]


@pytest.mark.parametrize(
    "url", ["nothing://here", "postgresql+nodriver://u:secret@h/d", "://", "postgresql://u:secret@[x/d"]
)
def test_a_url_that_can_not_be_used_is_told_without_its_password(url: str) -> None:
    assert "secret" not in refusal(url)


@pytest.mark.parametrize("name", ["a ledger?.sqlite", "100%25.sqlite", "l#1.sqlite", "ä@b.sqlite"])
def test_any_file_name_will_do(name: str, tmp_path: Path, registry: Registry) -> None:
    opened = Ledger.open(tmp_path / name)
    opened.import_registry(registry, KEYS, NOW_UTC_MS)
    opened.close()
    assert (tmp_path / name).is_file()


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "new.sqlite").touch()
    opened = Ledger.open(tmp_path / "new.sqlite")
    assert opened.registry() is None
    assert opened.last_entry_id() == 0
    opened.close()


def test_the_disk_is_told_to_keep_it(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_session_that_is_not_there_is_told(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no session pen-01-1-1"):
        ledger.session("pen-01-1-1")


def test_statements_are_json_with_their_alerts(desk: Desk) -> None:
    desk.take(morning().sent)
    said = desk.statement("pen-01-1-2")
    assert said["verdict"] == "violation"
    assert [alert["code"] for alert in said["alerts"]] == [  # type: ignore[attr-defined]
        "PRACTITIONER_UNKNOWN",
        "DEPTH_EXCEEDED",
    ]
    json.dumps(said)
