"""NDEF: one URI record, or nothing."""

from needletrail_protocol import ndef


def tag(prefix, rest):
    return bytes((0xD1, 1, len(rest) + 1)) + b"U" + bytes((prefix,)) + rest


def test_each_abbreviation():
    assert ndef.uri(tag(0, b"urn:x")) == "urn:x"
    assert ndef.uri(tag(1, b"clinic.example")) == "http://www.clinic.example"
    assert ndef.uri(tag(2, b"clinic.example")) == "https://www.clinic.example"
    assert ndef.uri(tag(3, b"clinic.example")) == "http://clinic.example"
    assert ndef.uri(tag(4, b"clinic.example")) == "https://clinic.example"
    for prefix in range(5, 256):
        assert ndef.uri(tag(prefix, b"x")) is None


def test_the_longest_short_record():
    assert ndef.uri(tag(4, b"x" * 254)) == "https://" + "x" * 254


def test_anything_else_says_nothing():
    good = tag(4, b"clinic.example/badge/b-0042")
    assert ndef.uri(good) == "https://clinic.example/badge/b-0042"
    for length in range(len(good)):
        assert ndef.uri(good[:length]) is None
    assert ndef.uri(good + b"\x00") is None
    for at in range(4):
        for byte in range(256):
            if byte != good[at]:
                assert ndef.uri(good[:at] + bytes((byte,)) + good[at + 1 :]) is None
    assert ndef.uri(bytes(888)) is None


def test_a_uri_is_printable_ascii():
    for byte in range(256):
        read = ndef.uri(tag(0, b"a" + bytes((byte,)) + b"b"))
        assert read == ("a" + chr(byte) + "b" if 0x21 <= byte <= 0x7E else None)
    for rest in ("\u00e9".encode(), b"\xc0\xa1", b"\xc1\xa1", b"\xed\xa0\x80", b"\xe0\x80\xa1"):
        assert ndef.uri(tag(4, rest)) is None


def test_badge_ids():
    assert ndef.badge_id(tag(4, b"clinic.example/badge/b-0042")) == "b-0042"
    assert ndef.badge_id(tag(2, b"clinic.example/badge/b-0042")) == "b-0042"
    assert ndef.badge_id(tag(0, b"https://clinic.example/badge/b-0042")) == "b-0042"
    for prefix, rest in (
        (3, b"clinic.example/badge/b-0042"),
        (4, b"clinic.example/badge/"),
        (4, b"clinic.example/badge"),
        (4, b"clinic.example/badge/b-0042/"),
        (4, b"clinic.example/staff/b-0042"),
        (4, b"clinic.example/x/badge/b-0042"),
        (4, b"/badge/b-0042"),
        (4, b""),
        (0, b"HTTPS://clinic.example/badge/b-0042"),
    ):
        assert ndef.badge_id(tag(prefix, rest)) is None
    assert ndef.badge_id(b"") is None
