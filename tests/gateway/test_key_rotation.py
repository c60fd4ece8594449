"""A pen that gets a new key first sends what it holds under the old one, and nothing is lost."""

from collections.abc import Callable

import pytest
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic, pen
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.registry.model import Keys
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.shell.documents import keys_of
from needletrail_gateway.shell.intake import LOOK_AGAIN_MS

OLD_KEY, NEW_KEY = KEYS["pen-01"], b"n" * 32
BOTH = {1: OLD_KEY, 2: NEW_KEY}
EST = badge("est-01")
COMPLIANT: tuple[str, list[str]] = ("compliant", [])

Rotate = Callable[[Desk, dict[int, bytes]], None]


def rotate(desk: Desk, keys: dict[int, bytes]) -> None:
    """The clinic imports a registry in which pen-01 has these keys, while the gateway runs."""
    rows = [{"epoch": epoch, "key": key.hex()} for epoch, key in keys.items()]
    pens = [pen("pen-01", key=None, keys=rows), pen("pen-02"), pen("pen-03")]
    found = clinic(pen=pens)
    desk.ledger.import_registry(found, keys_of(found), NOW_UTC_MS)
    desk.now_utc_ms += LOOK_AGAIN_MS
    desk.intake.reload()


def session(one: HonestPen, serial: str) -> None:
    one.open(EST, cartridge_tag(serial))
    one.work(300)
    one.close()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_old_journal_is_drained_then_the_new_epoch_begins(is_restarted: bool, desk: Desk) -> None:
    old = HonestPen()
    old.boot()
    session(old, "000001")
    desk.take(old.sent[:3])  # a part of it has arrived; then the keys change
    rotate(desk, BOTH)
    if is_restarted:
        desk.restart()
    desk.take(old.hello(oldest_seq=4), old.sent[3:])
    new = HonestPen(epoch=2, key=NEW_KEY)
    new.boot()
    session(new, "000002")
    desk.take(new.hello(oldest_seq=1), new.sent)
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT, "pen-01-2-1": COMPLIANT}
    for one in (old, new):
        kept = [entry.body for entry in desk.ledger.records("pen-01", one.epoch, 1)]
        assert kept == one.records()
    assert desk.ledger.quarantined() == []


def test_what_is_left_of_the_old_epoch_is_taken_after_the_new_ones_hello(desk: Desk) -> None:
    """A second journal on the same pen, or a copy of it that turns up: it is authentic all the same."""
    rotate(desk, BOTH)
    old, new = HonestPen(), HonestPen(epoch=2, key=NEW_KEY)
    old.boot()
    session(old, "000001")
    new.boot()
    session(new, "000002")
    desk.take(new.hello(oldest_seq=1), new.sent[:2], old.sent, new.sent[2:])
    assert desk.verdicts() == {"pen-01-1-1": COMPLIANT, "pen-01-2-1": COMPLIANT}


def test_a_reuse_is_seen_across_epochs(desk: Desk) -> None:
    rotate(desk, BOTH)
    for one in (HonestPen(), HonestPen(epoch=2, key=NEW_KEY)):
        one.boot(NOW_UTC_MS + 60_000 * one.epoch)
        session(one, "000001")
        desk.take(one.sent)
    assert desk.verdicts() == {
        "pen-01-1-1": COMPLIANT,
        "pen-01-2-1": ("violation", ["CARTRIDGE_REUSED"]),
    }


def test_answers_and_grants_come_in_the_epoch_that_the_pen_speaks(desk: Desk) -> None:
    rotate(desk, BOTH)
    assert ("pen-01", 2) in desk.intake.pens(), "before any hello: the newest"
    old, new = HonestPen(), HonestPen(epoch=2, key=NEW_KEY)
    old_hello = old.hello()
    desk.take(old_hello)
    assert ("pen-01", 1) in desk.intake.pens()
    desk.intake.answer_all()
    assert [lane_id for lane_id in desk.commit().acks if lane_id[0] == "pen-01"] == [("pen-01", 1)]
    desk.take(new.hello())
    assert ("pen-01", 2) in desk.intake.pens()
    desk.take(old_hello)
    assert ("pen-01", 2) in desk.intake.pens(), "an old hello, heard again, changes nothing"


def test_each_epoch_has_pins_and_wills_of_its_own(desk: Desk) -> None:
    rotate(desk, BOTH)
    old, new = HonestPen(), HonestPen(epoch=2, key=NEW_KEY)
    for one in (old, new):
        boot = one.boot(utc_ms=None)
        desk.take(one.hello(oldest_seq=1, t_ms=1_000 * one.epoch), boot)
    assert [entry.epoch for entry in desk.ledger.entries(kind="pin")] == [1, 2]
    desk.take(old.will())
    assert desk.intake.is_gone("pen-01", 1)
    assert not desk.intake.is_gone("pen-01", 2)


# ---- a retired key ----


def test_a_key_that_is_no_longer_named_is_retired_and_kept(desk: Desk) -> None:
    rotate(desk, BOTH)
    old = HonestPen()
    desk.receive(old.boot())
    rotate(desk, {2: NEW_KEY})
    group = desk.commit()
    for (pen_id, epoch), seq in group.acks.items():
        assert desk.intake.ack(pen_id, epoch, seq).message, "what was taken is still answered"
    desk.take(old.open(EST))
    assert desk.ledger.quarantined(1)[0]["reason"] == "epoch_unknown"
    assert ("pen-01", 1) not in desk.ledger.pen_keys()
    rotate(desk, {2: NEW_KEY})
    said = [entry.json() for entry in desk.ledger.entries(kind="retirement")]
    assert [(one["pen"], one["epoch"]) for one in said] == [("pen-01", 1)]
    rotate(desk, BOTH)
    desk.take(old.sent)
    assert desk.ledger.pen_keys()["pen-01", 1] == OLD_KEY, "and may be named again"
    assert desk.commit().quarantined == []


def test_the_same_keys_again_change_nothing(desk: Desk) -> None:
    rotate(desk, BOTH)
    before = desk.ledger.last_entry_id()
    rotate(desk, BOTH)
    assert desk.ledger.last_entry_id() == before


def test_a_used_epoch_never_gets_another_key(desk: Desk) -> None:
    before = desk.ledger.last_entry_id()
    changed: dict[str, Keys] = {"pen-02": {3: b"3" * 32}, "pen-01": {1: b"x" * 32}}
    with pytest.raises(LedgerError, match="another key in epoch 1"):
        desk.ledger.import_registry(clinic(), changed, NOW_UTC_MS)
    assert desk.ledger.last_entry_id() == before, "nothing of it is written"
    assert ("pen-02", 3) not in desk.ledger.pen_keys()


def test_a_key_that_stands_alone_is_still_the_next_epochs(desk: Desk) -> None:
    desk.ledger.import_registry(clinic(), {"pen-01": NEW_KEY}, NOW_UTC_MS)
    assert {epoch for pen_id, epoch in desk.ledger.pen_keys() if pen_id == "pen-01"} == {1, 2}
