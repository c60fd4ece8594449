"""The grant in flash: newest wins, what is not ours is refused, unknown people get 0."""

# This file also runs on MicroPython, which lacks what these rules ask for.

import gc

from pen_fakes import (
    BADGE_1,
    BADGE_2,
    CLINIC,
    KEY,
    PEN,
    MemoryFolder,
    external,
    grant_message,
    raises,
)

from needletrail_device.limits import FILE, Limits
from needletrail_device.permits import read_grant
from needletrail_protocol import authentication, conversation, topics
from needletrail_protocol.errors import MAC_INVALID, ProtocolError


def limits_in(folder, key=KEY):
    return Limits(folder, key, external(topics.GRANT))


def test_without_a_grant_there_is_no_limit():
    limits = limits_in(MemoryFolder())
    assert limits.issued_utc_ms is None
    assert limits.limit_um(BADGE_1) is None
    assert limits.limit_um(None) is None
    assert not limits.is_expired(1 << 42)


def test_known_unknown_unreadable_and_nobody():
    limits = limits_in(MemoryFolder())
    permits = (("est-01", 500), ("md-01", 0), ("x", 7))
    assert limits.offer(grant_message(nobody_um=30, permits=permits))
    assert limits.limit_um(BADGE_1) == 500
    assert limits.limit_um(BADGE_2) == 0
    assert limits.limit_um(b"\xd1\x01\x1bU\x04clinic.example/badge/md-02") == 0
    assert limits.limit_um(b"") == 0
    assert limits.limit_um(None) == 30


def test_a_permit_ends_by_the_pens_own_clock():
    limits = limits_in(MemoryFolder())
    assert limits.offer(grant_message(permits=(("est-01", 500, 1000), ("md-01", 2500))))
    assert limits.limit_um(BADGE_1, 999) == 500
    assert limits.limit_um(BADGE_1, 1000) == 0
    assert limits.limit_um(BADGE_1, None) == 500
    with raises(ValueError):
        grant_message(permits=(("est-01", 500, "soon"),))


def test_it_survives_power_off():
    folder = MemoryFolder()
    assert limits_in(folder).offer(grant_message(issued=5, expires=50))
    limits = limits_in(folder)
    assert (limits.issued_utc_ms, limits.expires_utc_ms) == (5, 50)
    assert limits.limit_um(BADGE_1) == 500
    assert list(folder.files) == [FILE]


def test_the_newest_issue_wins():
    limits = limits_in(MemoryFolder())
    assert limits.offer(grant_message(issued=5))
    assert not limits.offer(grant_message(issued=5, permits=()))
    assert not limits.offer(grant_message(issued=4, permits=()))
    assert limits.limit_um(BADGE_1) == 500
    assert limits.offer(grant_message(issued=6, permits=()))
    assert limits.limit_um(BADGE_1) == 0


def test_expiry_is_known():
    limits = limits_in(MemoryFolder())
    limits.offer(grant_message(expires=50))
    assert not limits.is_expired(49)
    assert limits.is_expired(50)
    assert limits.limit_um(BADGE_1) == 500


def test_what_is_not_from_our_gateway_is_refused_and_changes_nothing():
    folder = MemoryFolder()
    limits = limits_in(folder)
    other = authentication.MacKey(bytes(32), 1)
    with raises(ProtocolError) as caught:
        limits.offer(grant_message(key=other))
    assert caught.error.reason == MAC_INVALID
    message = grant_message()
    for index in range(len(message)):
        altered = message[:index] + bytes([message[index] ^ 1]) + message[index + 1 :]
        with raises(ProtocolError):
            limits.offer(altered)
    assert limits.issued_utc_ms is None
    assert not folder.files


def test_a_torn_or_foreign_file_is_as_if_there_were_none():
    message = grant_message()
    for length in range(len(message)):
        assert limits_in(MemoryFolder({FILE: message[:length]})).issued_utc_ms is None
    next_epoch = authentication.MacKey(bytes(range(32)), 2)
    assert limits_in(MemoryFolder({FILE: message}), next_epoch).issued_utc_ms is None


def test_the_largest_grant():
    permits = tuple(("p%013d" % number, number) for number in range(200))
    limits = limits_in(MemoryFolder())
    assert limits.offer(grant_message(permits=permits))
    assert limits.limit_um(b"\xd1\x01\x00U\x04") == 0
    text = b"c.example/badge/p%013d" % 199
    badge = b"\xd1\x01" + bytes([len(text) + 1]) + b"U\x04" + text
    assert limits.limit_um(badge) == 199


# ---- what flash and RAM hold ----


def test_a_permits_flags_and_end():
    permits = (
        ("est-01", 500, None, conversation.HARD | conversation.EXCLUSIVE),
        ("md-01", 900, 1000, conversation.EXCLUSIVE | 4),
    )
    limits = limits_in(MemoryFolder())
    limits.offer(grant_message(permits=permits, rules=conversation.REFUSE_UNKNOWN | 8))
    assert limits.rules == conversation.REFUSE_UNKNOWN | 8
    assert (limits.limit_um(BADGE_1, 5000), limits.is_hard) == (500, True)
    assert (limits.limit_um(BADGE_2, 999), limits.is_hard) == (900, False)
    assert limits.is_listed(999) and limits.is_listed(None)
    assert not limits.is_listed(1000)
    assert (limits.limit_um(b"", 0), limits.is_hard, limits.is_listed(0)) == (0, False, False)
    assert (limits.limit_um(None, 0), limits.is_hard, limits.is_listed(0)) == (0, False, True)


def test_a_hard_permit_that_has_run_out_is_still_hard():
    limits = limits_in(MemoryFolder())
    limits.offer(grant_message(permits=(("est-01", 500, 1000, conversation.HARD),)))
    assert (limits.limit_um(BADGE_1, 1000), limits.is_hard) == (0, True)


def test_without_a_clock_nothing_has_expired():
    limits = limits_in(MemoryFolder())
    limits.offer(grant_message(expires=50))
    assert limits.is_expired(50)
    assert not limits.is_expired(None)


def test_a_badge_reads_flash_again_and_verifies_it():
    folder = MemoryFolder()
    limits = limits_in(folder)
    limits.offer(grant_message())
    assert limits.limit_um(BADGE_1) == 500
    damaged = bytearray(folder.files[FILE])
    damaged[40] ^= 1
    folder.files[FILE] = bytes(damaged)
    assert limits.limit_um(BADGE_1) == 500, "the same practitioner needs no look at flash"
    assert limits.fault is None
    assert limits.limit_um(BADGE_2) is None
    assert (limits.fault, limits.issued_utc_ms, limits.expires_utc_ms) == ("damaged", None, None)
    assert not limits.is_expired(1 << 42)
    assert limits.offer(grant_message())
    assert (limits.fault, limits.limit_um(BADGE_1)) == (None, 500)


def test_a_damaged_file_at_power_on_is_told_and_a_missing_one_is_not():
    assert limits_in(MemoryFolder()).fault is None
    assert limits_in(MemoryFolder({FILE: b""})).fault == "damaged"
    assert limits_in(MemoryFolder({FILE: grant_message()[:-1]})).fault == "damaged"


def test_a_grant_of_another_clinic_pen_or_epoch_is_no_grant_here():
    here = limits_in(MemoryFolder())
    payload = conversation.encode_grant((1000, 9000, "test 1", 0, [("est-01", 500)], 0))
    for clinic, pen, epoch in (("pier", PEN, 1), (CLINIC, "pen-02", 1), (CLINIC, PEN, 2)):
        key = authentication.MacKey(bytes(range(32)), epoch)
        topic = topics.build(clinic, pen, topics.GRANT)
        message = authentication.seal(key, authentication.external_data(topic, pen, epoch), payload)
        with raises(ProtocolError):
            here.offer(message)
        assert (here.issued_utc_ms, here.limit_um(BADGE_1), here.fault) == (None, None, None)
        found = limits_in(MemoryFolder({FILE: message}))
        assert (found.issued_utc_ms, found.limit_um(BADGE_1), found.fault) == (None, None, "damaged")


def test_a_grant_that_flash_refuses_is_not_in_force():
    folder = MemoryFolder()
    limits = limits_in(folder)
    limits.offer(grant_message(issued=5))
    limits.limit_um(BADGE_1)
    folder.is_full = True
    assert not limits.offer(grant_message(issued=6, permits=()))
    assert (limits.fault, limits.issued_utc_ms, limits.limit_um(BADGE_1)) == ("write", 5, 500)
    assert limits_in(folder).issued_utc_ms == 5
    folder.is_full = False
    assert limits.offer(grant_message(issued=6, permits=()))
    assert (limits.fault, limits.issued_utc_ms, limits.limit_um(BADGE_1)) == (None, 6, 0)


def test_ram_does_not_grow_with_the_grant():
    permits = tuple(("p%013d" % number, number) for number in range(200))
    large = MemoryFolder({FILE: grant_message(permits=permits)})
    if not hasattr(gc, "mem_alloc"):
        limits = limits_in(large)
        held = [value for value in vars(limits).values() if isinstance(value, (bytes, str, list))]
        assert sum(len(value) for value in held) < 100
        return
    small = MemoryFolder({FILE: grant_message(permits=())})
    sizes = []
    for folder in (small, large, small, large):
        gc.collect()
        before = gc.mem_alloc()
        limits = limits_in(folder)
        assert limits.limit_um(BADGE_1) == 0
        gc.collect()
        sizes.append(gc.mem_alloc() - before)
        limits = None
    assert sizes[3] <= sizes[2] + 64, sizes


def test_a_grant_is_read_just_as_the_gateway_reads_it():
    permits = (("est-01", 500, None, 3), ("md-01", 0), ("x", 20000, 1 << 40))
    for count in (3, 30):
        fields = (1000, 9000, "test 1", 7, permits * (count // 3), 2)
        payload = conversation.encode_grant(fields)
        changed = [payload[:length] for length in range(len(payload))]
        changed += [payload + b"\x00", b"\x87" + payload[1:] + b"\x05", b"", b"\x98"]
        for index in range(len(payload)):
            for flip in (1, 2, 4, 8, 16, 32, 64, 128):
                change = bytes([payload[index] ^ flip])
                changed.append(payload[:index] + change + payload[index + 1 :])
        for data in [payload] + changed:
            try:
                wanted = conversation.decode_grant(data)
            except ProtocolError:
                with raises(ProtocolError):
                    read_grant(data, "md-01")
                continue
            grant, permit = read_grant(data, "md-01")
            names = ("issued_utc_ms", "expires_utc_ms", "policy", "nobody_um")
            assert grant == [getattr(wanted, name) for name in names] + [[], wanted.rules]
            mine = [one for one in wanted.permits if one[0] == "md-01"]
            assert permit == (mine[0] if mine else None)


def test_too_many_permits_are_refused():
    head = conversation.encode_grant((1000, 9000, "test 1", 7, [], 2))
    permits = b"\x98\xc9" + b"\x82\x61a\x00" * 201
    data = head[:-2] + permits + head[-1:]
    for read in (conversation.decode_grant, lambda found: read_grant(found, "a")):
        with raises(ProtocolError):
            read(data)
    fine = head[:-2] + b"\x98\xc8" + b"\x82\x61a\x00" * 200 + head[-1:]
    assert read_grant(fine, "a")[1] == ["a", 0]
