"""The grant in flash: newest wins, what is not ours is refused, unknown people get 0."""

# ruff: noqa: UP031
# This file also runs on MicroPython, which lacks what these rules ask for.

from pen_fakes import BADGE_1, BADGE_2, KEY, MemoryFolder, external, grant_message, raises

from needletrail_device.limits import FILE, Limits
from needletrail_protocol import authentication, topics
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
