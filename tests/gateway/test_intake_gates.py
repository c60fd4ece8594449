"""Every gate of the intake: what it refuses, with which reason, and what it leaves untouched."""

import pytest
from gateway_clinic import NOW_UTC_MS, PENS, badge, cartridge_tag, clinic, pen, person
from gateway_desk import Desk
from honest_pen import HonestPen, Sent

from needletrail_gateway.core.treatment import Treatment
from needletrail_gateway.shell.intake import LOOK_AGAIN_MS
from needletrail_protocol import cbor, conversation, messages, topics
from needletrail_protocol.authentication import MacKey, external_data, open_envelope, verify
from needletrail_protocol.errors import REASONS


def refused(desk: Desk, sent: Sent) -> tuple[str, str]:
    """(reason, detail) with which one message is quarantined; nothing is stored for it."""
    entries_before = desk.ledger.last_entry_id()
    tally_before = desk.ledger.tallies()
    group = desk.take(sent)
    assert [entry for entry in group.entries if entry.kind == "record"] == []
    [row] = desk.ledger.quarantined(most=1)
    assert row["message"] == sent.message[:4096]
    assert row["topic"] == sent.topic[:256]
    assert row["received_utc_ms"] == desk.now_utc_ms
    assert row["reason"] in REASONS
    name = f"refused {row['reason']}"
    assert desk.ledger.tallies()[name] == tally_before.get(name, 0) + 1
    assert desk.ledger.last_entry_id() == entries_before + len(group.entries)
    return row["reason"], row["detail"]


def stranger(sent: Sent, topic: str) -> Sent:
    return Sent(topic, sent.message)


# ---- who and where ----


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("needletrail/2/harbor/pen-01/record", "version_unknown"),
        ("needletrail/1/harbor/pen-01/records", "topic_unknown"),
        ("needletrail/1/harbor/pen-01", "topic_unknown"),
        ("needletrail/1/harbor/pen-01/record/x", "topic_unknown"),
        ("needletrail/1/other/pen-01/record", "topic_unknown"),
        ("needletrail/1/harbor/pen-01/ack", "topic_unknown"),
        ("needletrail/1/harbor/pen-01/grant", "topic_unknown"),
        ("needletrail/1/harbor/PEN/record", "topic_unknown"),
        ("needletrail/1/harbor/pen-99/record", "pen_unknown"),
        ("", "topic_unknown"),
        ("x" * 60_000, "topic_unknown"),
        ("needletrail/1/harbor/pen-01/hello", "mac_invalid"),
        ("needletrail/1/harbor/pen-02/record", "mac_invalid"),
    ],
)
def test_a_message_is_good_for_its_own_topic_alone(desk: Desk, topic: str, reason: str) -> None:
    assert refused(desk, stranger(HonestPen().boot(), topic))[0] == reason


def test_the_detail_names_an_unknown_pen(desk: Desk) -> None:
    _, detail = refused(desk, stranger(HonestPen().boot(), "needletrail/1/harbor/pen-99/record"))
    assert "pen-99" in detail


def test_a_wrong_key_is_refused(desk: Desk) -> None:
    assert refused(desk, HonestPen(key=b"x" * 32).boot())[0] == "mac_invalid"


def test_an_epoch_without_a_key_is_refused(desk: Desk) -> None:
    reason, detail = refused(desk, HonestPen(epoch=2).boot())
    assert reason == "epoch_unknown"
    assert "pen-01" in detail
    assert "2" in detail


@pytest.mark.parametrize("message", [b"", b"{}", b"\xd1\x84", bytes(5000), b"\xd2" + bytes(80)])
def test_what_is_no_envelope_is_refused(desk: Desk, message: bytes) -> None:
    sent = Sent(topics.build("harbor", "pen-01", "record"), message)
    assert refused(desk, sent)[0] == "envelope_malformed"


def test_flipping_any_bit_of_a_message_refuses_it(desk: Desk) -> None:
    sent = HonestPen().boot()
    for at in range(len(sent.message)):
        for bit in range(8):
            altered = bytearray(sent.message)
            altered[at] ^= 1 << bit
            assert desk.receive(Sent(sent.topic, bytes(altered))) == []
    group = desk.commit()
    assert group.entries == []
    assert len(group.quarantined) == 8 * len(sent.message)
    assert not group.acks


# ---- what it says ----


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "payload_malformed"),
        (b"\xff", "payload_malformed"),
        (b"\x18\x01", "payload_malformed"),
        (cbor.encode([messages.BOOT]), "payload_invalid"),
        (cbor.encode([messages.BOOT, 7, 0, 1, 0, "x", "x"]) + b"\x00", "payload_malformed"),
        (cbor.encode("record"), "payload_invalid"),
        (cbor.encode([]), "payload_invalid"),
        (cbor.encode([messages.BOOT, 7, 0, 1, "soon", "x", "x"]), "payload_invalid"),
        (cbor.encode([99, 7, 0]), "kind_unknown"),
        (cbor.encode([0, 7]), "kind_unknown"),
    ],
)
def test_an_authentic_message_that_says_nothing_is_refused(
    desk: Desk, payload: bytes, reason: str
) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot())
    sent = pen_one.seal(topics.RECORD, payload)
    assert refused(desk, sent)[0] == reason
    assert desk.take(pen_one.open()).acks == {("pen-01", 1): 2}, "the pen's place is as it was"


def test_an_unreadable_record_in_its_turn_keeps_its_place_and_marks_the_session(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("est-01"), cartridge_tag()), pen_one.work(300))
    unreadable = pen_one.raw(cbor.encode([99, pen_one.seq + 1, "from a later version"]))
    group = desk.take(unreadable)
    assert [(entry.kind, entry.seq) for entry in group.entries] == [("refused", pen_one.seq)]
    assert group.entries[0].body == unreadable.message
    assert group.acks == {("pen-01", 1): pen_one.seq}, "acknowledged, or the pen would stand still"
    assert desk.ledger.quarantined(1)[0]["reason"] == "kind_unknown"
    desk.take(pen_one.work(300), pen_one.close())
    assert desk.verdicts() == {"pen-01-1-1": ("review", ["RECORD_GAP"])}


def test_a_record_for_a_session_that_is_not_open_is_refused(desk: Desk) -> None:
    pen_one = HonestPen(session=4)
    desk.take(pen_one.boot())
    group = desk.take(pen_one.work(300))
    assert [entry.kind for entry in group.entries] == ["refused"]
    row = desk.ledger.quarantined(1)[0]
    assert row["reason"] == "state_invalid"
    assert "4" in row["detail"]


def test_a_session_number_is_never_used_twice(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("est-01")), pen_one.work(300), pen_one.close())
    pen_one.session = 0
    group = desk.take(pen_one.open(badge("est-01")))
    assert [entry.kind for entry in group.entries] == ["refused"]
    assert desk.ledger.quarantined(1)[0]["reason"] == "state_invalid"
    desk.restart()
    pen_one.session = 0
    desk.take(pen_one.open(badge("est-01")))
    assert desk.ledger.tallies()["refused state_invalid"] == 2, "also not after a restart"
    pen_one.session = 1
    assert desk.take(pen_one.open(badge("est-01"))).sessions[0]["session_id"] == "pen-01-1-2"


# ---- sequence ----


def test_a_repeat_is_acknowledged_again_and_not_stored_again(desk: Desk) -> None:
    pen_one = HonestPen()
    boot, opened = pen_one.boot(), pen_one.open()
    desk.take(boot, opened)
    last_id = desk.ledger.last_entry_id()
    group = desk.take(boot)
    assert group.acks == {("pen-01", 1): 2}
    assert desk.ledger.last_entry_id() == last_id
    assert desk.ledger.tallies()["repeats"] == 1
    assert desk.ledger.quarantined() == []


def test_a_repeat_inside_one_group_is_seen(desk: Desk) -> None:
    pen_one = HonestPen()
    boot = pen_one.boot()
    desk.take(boot, boot, boot)
    assert desk.ledger.tallies()["repeats"] == 2
    assert [entry.body for entry in desk.ledger.entries(kind="record")] == [boot.message]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_used_number_with_other_content_is_a_conflict(desk: Desk, is_committed: bool) -> None:
    boot = HonestPen().boot()
    other = HonestPen().boot(NOW_UTC_MS + 1)
    desk.receive(boot)
    if is_committed:
        desk.commit()
    desk.take(other)
    [row] = desk.ledger.quarantined()
    assert row["reason"] == "sequence_conflict"
    assert row["message"] == other.message
    assert "record 1 of epoch 1" in row["detail"]
    assert desk.ledger.tallies()["refused sequence_conflict"] == 1
    assert [entry.body for entry in desk.ledger.entries(kind="record")] == [boot.message]


def test_a_record_before_its_predecessor_is_counted_and_the_pen_told_where_to_go_on(
    desk: Desk,
) -> None:
    pen_one = HonestPen()
    boot, opened, later = pen_one.boot(), pen_one.open(), pen_one.work(300)
    group = desk.take(boot, later)
    assert group.acks == {("pen-01", 1): 1}
    assert desk.ledger.tallies()["refused sequence_gap"] == 1
    assert desk.take(opened, later).acks == {("pen-01", 1): 3}


def test_each_epoch_counts_for_itself(desk: Desk) -> None:
    boot = HonestPen().boot()
    desk.take(boot)
    assert desk.ledger.enrol_anew("pen-01", b"n" * 32, NOW_UTC_MS) == 2
    desk.now_utc_ms += LOOK_AGAIN_MS
    anew = HonestPen(epoch=2, key=b"n" * 32).boot()
    assert desk.take(anew).acks == {("pen-01", 2): 1}
    bodies = [entry.body for entry in desk.ledger.entries(kind="record")]
    assert bodies == [boot.message, anew.message]


# ---- hello ----


def downward(sent: tuple[str, bytes], channel: str, key: bytes = b"\x01" * 32) -> bytes:
    """The payload of a message to pen-01, verified as the pen does."""
    topic, message = sent
    assert topic == f"needletrail/1/harbor/pen-01/{channel}"
    epoch, payload, tag = open_envelope(message)
    verify(MacKey(key, epoch), external_data(topic, "pen-01", epoch), payload, tag)
    return payload


def test_a_hello_brings_a_grant_at_once_and_an_acknowledgement_after_the_commit(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot())
    [answer] = desk.receive(pen_one.hello())
    grant = conversation.decode_grant(downward(answer, topics.GRANT))
    permits = {permit[0]: permit[1] for permit in grant.permits}
    assert permits["est-01"] == 500
    assert permits["md-01"] == 2500
    assert permits["rn-02"] == 500
    assert permits["me-01"] == 1500
    assert grant.nobody_um == 500
    assert grant.policy.startswith("default ")
    assert desk.commit().acks == {("pen-01", 1): 1}


def test_a_grant_says_when_each_permit_ends(desk: Desk) -> None:
    [answer] = desk.receive(HonestPen().hello())
    grant = conversation.decode_grant(downward(answer, topics.GRANT))
    until = {permit[0]: permit[2] for permit in grant.permits}
    assert until["old-01"] <= NOW_UTC_MS
    assert until["md-01"] > NOW_UTC_MS + 365 * 86_400_000
    assert grant.issued_utc_ms == NOW_UTC_MS < grant.expires_utc_ms


def test_a_hello_from_an_erased_journal_is_refused(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open())
    reason, detail = refused(desk, HonestPen().hello())
    assert reason == "state_invalid"
    assert "Enrol it again" in detail


def test_lost_records_leave_a_gap_in_the_ledger_and_on_the_session(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("est-01"), cartridge_tag()), pen_one.work(300))
    group = desk.take(pen_one.lose(3))
    [gap] = [entry for entry in desk.ledger.entries() if entry.kind == "gap"]
    assert gap.json() == {"pen": "pen-01", "from_seq": 4, "to_seq": 6}
    assert gap.session_id == "pen-01-1-1"
    assert desk.ledger.tallies()["gaps"] == 1
    assert group.acks == {("pen-01", 1): 6}
    desk.take(pen_one.work(300), pen_one.close())
    assert desk.verdicts() == {"pen-01-1-1": ("review", ["RECORD_GAP"])}


def test_lost_records_are_not_forgotten_by_a_restart(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("est-01"), cartridge_tag()), pen_one.work(300))
    desk.take(pen_one.lose(3))
    desk.restart()
    desk.take(pen_one.work(300), pen_one.close())
    assert desk.verdicts() == {"pen-01-1-1": ("review", ["RECORD_GAP"])}


def test_an_alert_that_falls_due_after_a_restart_is_raised(desk: Desk) -> None:
    """What a restart finds out when it counts again was not known before: nobody was told."""
    late, early = HonestPen("pen-01"), HonestPen("pen-02")
    desk.take(
        late.boot(NOW_UTC_MS + 60_000), late.open(badge("est-01"), cartridge_tag()), late.work(300)
    )
    desk.take(
        early.boot(), early.open(badge("est-01"), cartridge_tag()), early.work(300), early.close()
    )
    assert desk.alert_codes() == []
    desk.restart()
    desk.take(late.work(300), late.close())
    assert desk.alert_codes() == [("pen-01-1-1", "CARTRIDGE_REUSED")]


# ---- answers ----


def test_an_acknowledgement_never_covers_what_is_not_in_the_ledger(desk: Desk) -> None:
    pens = [HonestPen(pen_id) for pen_id in PENS]
    for turn in range(6):
        for one in pens:
            if turn == 0:
                desk.receive(one.boot(), one.open(badge("est-01")))
            outgoing = desk.receive(one.work(700 if turn == 3 else 300), one.hello())
            assert not [topic for topic, _ in outgoing if topic.endswith("/ack")]
        desk.receive(stranger(pens[0].sent[-2], pens[1].sent[-2].topic))
        group = desk.commit()
        for (pen_id, epoch), seq in group.acks.items():
            numbers = [entry.seq for entry in desk.ledger.records(pen_id, epoch, 1)]
            assert numbers == list(range(1, seq + 1))


def test_a_breach_is_told_to_the_pen_while_the_session_still_runs(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.receive(pen_one.boot(), pen_one.open(badge("est-01"), cartridge_tag()), pen_one.work(300))
    outgoing = desk.receive(pen_one.work(700))
    alert = conversation.decode_alert(downward(outgoing[0], topics.ALERT))
    assert (alert.session, alert.code, alert.limit_um) == (1, "DEPTH_EXCEEDED", 500)
    assert desk.receive(pen_one.work(700)) == [], "and told once"
    desk.take(pen_one.alert_shown("DEPTH_EXCEEDED"))
    [row] = desk.ledger.alerts()
    assert (row["code"], row["reached_pen"]) == ("DEPTH_EXCEEDED", True)


def test_no_reading_that_the_wire_allows_is_too_deep_to_be_told() -> None:
    """The deepest a pen's dial can say fits the alert's field, whatever the calibration."""
    steep = pen("pen-01", calibration=[(0, 0.0), (800, 4.0)])  # 20.475 mm at the end of the dial
    with pytest.raises(ValueError, match="dial"):
        clinic(pen=[steep])


# ---- news of the registry ----


def import_later(desk: Desk, **changes: object) -> None:
    """The clinic imports another registry while the gateway runs."""
    found = clinic(**changes)
    keys = {
        one.id: bytes.fromhex(one.key.get_secret_value()) for one in found.pen if one.key is not None
    }
    desk.ledger.import_registry(found, keys, NOW_UTC_MS)
    desk.now_utc_ms += LOOK_AGAIN_MS


def test_a_pen_enrolled_a_moment_ago_is_let_in(desk: Desk) -> None:
    newcomer = HonestPen("pen-09", key=b"9" * 32)
    boot = newcomer.boot()
    assert refused(desk, boot)[0] == "pen_unknown"
    import_later(desk, pen=[pen("pen-09", key=(b"9" * 32).hex())])
    assert desk.take(boot).acks == {("pen-09", 1): 1}


def test_a_stranger_can_not_make_the_gateway_read_the_ledger_for_each_message(desk: Desk) -> None:
    asked = 0
    pen_keys = desk.ledger.pen_keys

    def counted() -> dict[tuple[str, int], bytes]:
        nonlocal asked
        asked += 1
        return pen_keys()

    desk.ledger.pen_keys = counted  # type: ignore[method-assign]
    for number in range(500):
        desk.receive(stranger(HonestPen().boot(), f"needletrail/1/harbor/pen-x{number}/record"))
    assert asked <= 1


def test_a_pen_that_left_the_registry_is_refused_and_the_others_get_their_grants(desk: Desk) -> None:
    pen_three = HonestPen("pen-03")
    desk.take(pen_three.boot())
    import_later(desk, pen=[pen("pen-01"), pen("pen-02")])
    assert desk.intake.reload()
    told = {answer.topic for answer in desk.intake.due_grants()}
    assert told == {f"needletrail/1/harbor/{pen_id}/grant" for pen_id in ("pen-01", "pen-02")}
    assert refused(desk, pen_three.open())[0] == "pen_unknown"


def test_a_session_is_judged_by_the_registry_of_its_opening(desk: Desk) -> None:
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("md-01"), cartridge_tag()), pen_one.work(1000))
    import_later(desk, practitioner=[person("md-01", "esthetician", "cosmetic")])
    assert desk.intake.reload()
    desk.take(pen_one.work(1000))
    desk.restart()
    desk.take(pen_one.work(1000), pen_one.close())
    assert desk.verdicts() == {"pen-01-1-1": ("compliant", [])}
    desk.take(
        pen_one.open(badge("md-01"), cartridge_tag("000002")), pen_one.work(1000), pen_one.close()
    )
    assert desk.verdicts()["pen-01-1-2"] == ("violation", ["DEPTH_EXCEEDED"])


@pytest.mark.parametrize(("people", "id_length"), [(199, 3), (500, 4), (150, 64)])
def test_a_clinic_may_have_more_people_than_a_grant_holds(
    people: int, id_length: int, desk: Desk
) -> None:
    """The first ones of the registry are in it; for the others the pen warns, the judge is right."""
    director = person("md-01", "physician", "medical")
    others = [person(f"{n:0{id_length}d}", "nurse", "medical") for n in range(people)]
    import_later(desk, practitioner=[director, *others])
    desk.intake.reload()
    [answer] = desk.receive(HonestPen().hello())
    assert len(answer[1]) <= 2_100  # what a pen of 128 KiB can take in beside the one it holds
    held = [permit[0] for permit in conversation.decode_grant(downward(answer, topics.GRANT)).permits]
    assert held == ["md-01", *(other["id"] for other in others)][: len(held)]
    assert len(held) > (24 if id_length == 64 else 80)


def test_after_a_start_every_pen_is_told_where_it_stands(desk: Desk) -> None:
    """Those never heard, too: a pen that was switched on before its gateway asks ever more slowly."""
    for pen_id in PENS[:2]:
        one = HonestPen(pen_id)
        desk.take(one.boot(), one.open())
    desk.restart()
    desk.intake.answer_all()
    heard = {("pen-01", 1): 2, ("pen-02", 1): 2}
    assert desk.commit().acks == {(pen_id, 1): 0 for pen_id in PENS} | heard


def test_a_fault_of_the_gateway_stops_neither_this_pen_nor_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pens = [HonestPen(pen_id) for pen_id in PENS[:2]]
    for one in pens:
        desk.take(one.boot(), one.open(badge("est-01"), cartridge_tag(one.pen_id)), one.work(300))

    def stumble(*_anything: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Treatment, "read", stumble)
        desk.take(pens[0].work(300))
    for one in pens:
        desk.take(one.work(300), one.close())
    assert desk.ledger.tallies()["refused gateway_fault"] == 1
    assert desk.verdicts() == {
        "pen-01-1-1": ("review", ["RECORD_GAP"]),
        "pen-02-1-1": ("compliant", []),
    }
    kept = [entry.body for entry in desk.ledger.records("pen-01", 1, 1)]
    assert kept == pens[0].records(), "not one record is lost"


def test_nothing_that_a_pen_sends_is_called_a_fault_of_the_gateway(desk: Desk) -> None:
    """A record may be refused; that the gateway stumbled over it is always a defect."""
    pen_one = HonestPen()
    desk.take(pen_one.boot(), pen_one.open(badge("nobody"), cartridge_tag()), pen_one.work(4095))
    pen_one.t_ms = (1 << 40) - 10_000
    desk.take(pen_one.work(4095), pen_one.close(), pen_one.hello())
    pen_one.boot((1 << 43) - 1)
    pen_one.t_ms = (1 << 40) - 10_000
    pen_one.strokes = 0xFFFFFFFF - 10_000
    pen_one.session = 0xFFFFFFFE
    desk.take(
        pen_one.sent[-1], pen_one.open(b"", b""), pen_one.work(4095), pen_one.badge(b"\xff" * 888)
    )
    desk.take(pen_one.close(), pen_one.alert_shown("\x00\x7f"), pen_one.hello())
    assert "refused gateway_fault" not in desk.ledger.tallies()
    assert desk.ledger.quarantined() == []
    assert len(desk.verdicts()) == 2
