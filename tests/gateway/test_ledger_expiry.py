"""Readings that expire and clients that are forgotten: the bodies go, the chain and the rest stay."""

import json
import sqlite3
from pathlib import Path

import pytest
from gateway_clinic import NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_ledger import CLIENT, DAY_MS, FORGOTTEN, fill
from honest_pen import HonestPen

from needletrail_gateway.core.notes import NOTE
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record import retention
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.record.proof import Proof, prove
from needletrail_gateway.record.retention import Expired, Removal, RemovalError, expire, redact
from needletrail_gateway.series.making import Lines, Maker
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

WHY = "three years are over"


@pytest.fixture
def worked(new_ledger: NewLedger, policy: Policy) -> Desk:
    """A ledger with several days of work in it."""
    return fill(new_ledger(), policy, 300)


def place(ledger: Ledger) -> Path:
    return Path(str(ledger.engine.url.database))


def proven(ledger: Ledger) -> Proof:
    found = prove(place(ledger))
    assert found.findings == []
    return found


def everything(ledger: Ledger) -> list[Entry]:
    return ledger.entries(most=100_000)


def is_samples(entry: Entry) -> bool:
    if entry.kind != "record" or entry.is_removed:
        return False
    return bool(decode_record(open_envelope(entry.body)[1]).kind == messages.SAMPLES)


def on_the_disk(ledger: Ledger, what: bytes) -> bool:
    """Whether bytes are anywhere in the ledger's files."""
    path = place(ledger)
    return any(what in part.read_bytes() for part in path.parent.glob(path.name + "*"))


# ---- readings ----


def test_readings_go_and_all_else_stays(worked: Desk) -> None:
    ledger = worked.ledger
    before = everything(ledger)
    statements = worked.statements()
    samples = [entry for entry in before if is_samples(entry)]
    done = expire(ledger, worked.now_utc_ms, "md-01", WHY, worked.now_utc_ms)
    assert done == Expired(len(ledger.sessions()), len(samples), sum(len(e.body) for e in samples))
    after = everything(ledger)
    gone = {entry.id for entry in after if entry.is_removed}
    assert gone == {entry.id for entry in samples}
    assert [entry for entry in after if entry.id not in gone][: len(before) - len(gone)] == [
        entry for entry in before if entry.id not in gone
    ]
    assert worked.statements() == statements
    found = proven(ledger)
    assert found.removed == len(samples)
    assert found.macs_checked == found.records - len(samples)


def test_the_record_says_who_when_why_and_how_many(worked: Desk) -> None:
    ledger = worked.ledger
    done = expire(ledger, worked.now_utc_ms, "md-01", WHY, worked.now_utc_ms + 5)
    [entry] = ledger.entries(kind="expiry")
    said = entry.json()
    assert (said["who"], said["why"], said["count"]) == ("md-01", WHY, done.entries)
    assert said["before_utc_ms"] == worked.now_utc_ms
    assert entry.committed_utc_ms == worked.now_utc_ms + 5
    assert said["sessions"] == [row["session_id"] for row in ledger.sessions()]
    removal = Removal.read("expiry", entry.body)
    assert sum(last - first + 1 for first, last in removal.ranges) == done.entries


def test_only_sessions_that_were_judged_before_that_day(worked: Desk) -> None:
    ledger = worked.ledger
    border = NOW_UTC_MS + 2 * DAY_MS
    expire(ledger, border, "md-01", WHY, worked.now_utc_ms)
    judged = {
        entry.session_id: entry.committed_utc_ms for entry in ledger.entries(kind="verdict", most=9999)
    }
    old = {session for session, utc_ms in judged.items() if utc_ms < border}
    assert 0 < len(old) < len(judged)
    for entry in everything(ledger):
        if entry.is_removed:
            assert entry.session_id in old
        elif is_samples(entry):
            assert entry.session_id not in old
    proven(ledger)


def test_a_session_that_is_open_keeps_its_readings(worked: Desk) -> None:
    pen = HonestPen("pen-01", epoch=worked.ledger.enrol_anew("pen-01", b"k" * 32, 0), key=b"k" * 32)
    worked.restart()
    worked.take(pen.boot(), pen.open(), pen.work(300))
    expire(worked.ledger, worked.now_utc_ms + DAY_MS, "md-01", WHY, worked.now_utc_ms + DAY_MS)
    open_ones = [entry for entry in everything(worked.ledger) if is_samples(entry)]
    assert {entry.session_id for entry in open_ones} == {f"pen-01-{pen.epoch}-1"}
    worked.restart()
    worked.take(pen.close())
    assert worked.ledger.session(f"pen-01-{pen.epoch}-1")["verdict"] is not None
    proven(worked.ledger)


def test_a_dry_run_removes_nothing_and_counts_the_same(worked: Desk) -> None:
    ledger = worked.ledger
    before = everything(ledger)
    counted = expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms, is_dry=True)
    assert everything(ledger) == before
    assert expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms) == counted


def test_the_second_time_there_is_nothing_left(worked: Desk) -> None:
    ledger = worked.ledger
    expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms)
    before = everything(ledger)
    assert expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms) == Expired()
    assert everything(ledger) == before


def test_in_portions_it_is_the_same(worked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each portion is a commit of its own with its own word, so a stop in between harms nothing."""
    monkeypatch.setattr(retention, "ENTRIES_AT_ONCE", 20)
    ledger = worked.ledger
    wanted = sum(map(is_samples, everything(ledger)))

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms, progress=stop)
    half = proven(ledger).removed
    assert 0 < half < wanted
    expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms)
    assert proven(ledger).removed == wanted
    assert len(ledger.entries(kind="expiry")) > 3


def test_nothing_of_them_is_left_on_the_disk(worked: Desk) -> None:
    ledger = worked.ledger
    samples = [entry for entry in everything(ledger) if is_samples(entry)]
    assert all(on_the_disk(ledger, entry.body[-40:]) for entry in samples[:20])
    expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms)
    assert not any(on_the_disk(ledger, entry.body[-40:]) for entry in samples)


def test_a_pen_that_sends_an_expired_record_again_is_answered(worked: Desk) -> None:
    ledger = worked.ledger
    pen = HonestPen("pen-01", epoch=ledger.enrol_anew("pen-01", b"k" * 32, 0), key=b"k" * 32)
    worked.restart()
    pen.boot()
    pen.open()
    samples = pen.work(300)
    pen.close()
    worked.take(pen.sent)
    expire(ledger, worked.now_utc_ms + DAY_MS, "x", WHY, worked.now_utc_ms + DAY_MS)
    before = ledger.tallies()
    group = worked.take(samples)
    assert group.acks == {("pen-01", pen.epoch): pen.seq}
    assert ledger.tallies()["repeats"] == before.get("repeats", 0) + len(samples)
    assert "refused sequence_conflict" not in ledger.tallies()
    pen.seq = 2
    worked.take(pen.work(400))  # another record under the number of one that has expired
    assert ledger.tallies()["refused sequence_conflict"] == 1


def test_views_do_without_them(worked: Desk) -> None:
    ledger = worked.ledger

    def told() -> list[str]:
        lines, maker = Lines(), Maker(ledger)
        maker.tell(everything(ledger), lines)
        maker.finish(lines)
        return lines.raw + lines.long

    before = told()
    expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms)
    after = told()
    assert 0 < len(after) < len(before)
    assert set(after) <= set(before)


# ---- somebody else removes them ----


def alter(ledger: Ledger, statement: str) -> None:
    with sqlite3.connect(place(ledger)) as connection:
        assert connection.execute(statement).rowcount
    connection.close()


def test_a_body_that_goes_without_a_word_is_found(worked: Desk) -> None:
    ledger = worked.ledger
    expire(ledger, NOW_UTC_MS + 2 * DAY_MS, "x", WHY, worked.now_utc_ms)
    victim = next(entry for entry in everything(ledger) if is_samples(entry))
    digest = retention.chain.body_digest(victim.body).hex()
    alter(ledger, f"UPDATE entry SET body = x'', body_sha256 = x'{digest}' WHERE id = {victim.id}")
    [finding] = prove(place(ledger)).findings
    assert finding.entry == victim.id
    assert "no entry says who removed it" in finding.said


def test_a_body_that_comes_back_is_found(worked: Desk) -> None:
    ledger = worked.ledger
    victim = next(entry for entry in everything(ledger) if is_samples(entry))
    expire(ledger, worked.now_utc_ms, "x", WHY, worked.now_utc_ms)
    alter(
        ledger,
        f"UPDATE entry SET body = x'{victim.body.hex()}', body_sha256 = NULL WHERE id = {victim.id}",
    )
    [finding] = prove(place(ledger)).findings
    assert finding.entry == ledger.entries(kind="expiry")[0].id
    assert f"entry {victim.id}" in finding.said


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"x",
        b"[]",
        b'{"who":"x","why":"y","count":2,"entries":[[1,1]]}',
        b'{"who":"x","why":"y","count":-1,"entries":[[3,1]]}',
        b'{"who":"x","why":"y","count":1,"entries":[1]}',
    ],
)
def test_an_entry_that_does_not_say_what_it_removed_is_refused(body: bytes) -> None:
    with pytest.raises(RemovalError, match="expiry"):
        Removal.read("expiry", body)


# ---- clients ----


def test_a_client_is_forgotten_and_the_others_are_not(worked: Desk) -> None:
    ledger = worked.ledger
    found = retention.entries_of_client(ledger, FORGOTTEN)
    others = retention.entries_of_client(ledger, CLIENT)
    assert found
    assert others
    entry_id = redact(ledger, found, "asked for it", "md-01", NOW_UTC_MS)
    assert retention.entries_of_client(ledger, FORGOTTEN) == []
    assert retention.entries_of_client(ledger, CLIENT) == others
    assert not on_the_disk(ledger, FORGOTTEN.encode()), "neither in the file nor in its log"
    [entry] = ledger.entries(kind="redaction")
    assert entry.id == entry_id
    said = entry.json()
    assert (said["who"], said["why"], said["count"]) == ("md-01", "asked for it", len(found))
    assert proven(ledger).removed == len(found)
    assert redact(ledger, found, "again", "md-01", NOW_UTC_MS) is None


@pytest.fixture
def treated(desk: Desk) -> Desk:
    """A client with a note, and the session that it is about."""
    said = {"who": "x", "at_utc_ms": NOW_UTC_MS, "practitioner": "md-01", "client": FORGOTTEN}
    desk.ledger.note(NOTE, said, NOW_UTC_MS)
    desk.restart()
    pen = HonestPen()
    pen.boot()
    pen.open(badge("md-01"), cartridge_tag())
    pen.work(300)
    pen.close()
    desk.take(pen.sent)
    assert len(desk.ledger.visits(FORGOTTEN, NOW_UTC_MS + DAY_MS)) == 1
    return desk


def test_what_was_made_of_a_note_goes_with_it(treated: Desk) -> None:
    ledger = treated.ledger
    statements = treated.statements()
    redact(ledger, retention.entries_of_client(ledger, FORGOTTEN), "asked", "md-01", NOW_UTC_MS)
    assert ledger.visits(FORGOTTEN, NOW_UTC_MS + DAY_MS) == []
    assert not on_the_disk(ledger, FORGOTTEN.encode()), "the pseudonym is nowhere else"
    assert treated.statements() == statements
    proven(ledger)


def test_a_visit_of_somebody_else_is_found(treated: Desk) -> None:
    proven(treated.ledger)
    alter(treated.ledger, f"UPDATE visit SET client = '{CLIENT}'")
    [finding] = prove(place(treated.ledger)).findings
    assert finding.said.startswith("table visit: ")


def test_what_a_note_said_can_not_be_found_by_trying(ledger: Ledger) -> None:
    """Its SHA-256 stays, and pseudonyms are short; so the same note twice has two digests."""
    said = {"who": "x", "at_utc_ms": 0, "practitioner": "rn-01", "client": CLIENT}
    one, two = (ledger.note(NOTE, said, NOW_UTC_MS) for _ in range(2))
    bodies = [entry.body for entry in everything(ledger) if entry.id in (one, two)]
    assert len(set(bodies)) == 2
    assert all(len(json.loads(body)["salt"]) == 32 for body in bodies)
    assert [entry.json() for entry in ledger.all_entries(NOTE)] == [said, said]


def test_nothing_else_can_be_forgotten(worked: Desk) -> None:
    ledger = worked.ledger
    before = everything(ledger)
    for entry in before:
        if entry.kind != NOTE:
            with pytest.raises(LedgerError, match="can be forgotten"):
                redact(ledger, [entry.id], "x", "y", NOW_UTC_MS)
    with pytest.raises(LedgerError, match="no entry 99999"):
        redact(ledger, [99999], "x", "y", NOW_UTC_MS)
    mixed = [before[0].id, *retention.entries_of_client(ledger, CLIENT)]
    with pytest.raises(LedgerError):
        redact(ledger, mixed, "x", "y", NOW_UTC_MS)
    assert everything(ledger) == before
