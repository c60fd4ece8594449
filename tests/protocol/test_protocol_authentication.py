"""COSE_Mac0: one shape, one pen, one topic, one epoch."""

from needletrail_protocol import cbor
from needletrail_protocol.authentication import (
    EPOCH_MAX,
    MAX_MESSAGE_LENGTH,
    MacKey,
    external_data,
    open_envelope,
    seal,
    verify,
)
from needletrail_protocol.errors import ENVELOPE_MALFORMED, MAC_INVALID, ProtocolError

KEY = bytes(range(32))
TOPIC = "needletrail/1/bench/pen-07/record"
PAYLOADS = (b"", b"x", b"x" * 23, b"x" * 24, b"x" * 255, b"x" * 256, b"x" * 4000)
EPOCHS = (1, 255, 256, 65535, 65536, 16777215, 16777216, EPOCH_MAX)


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


def test_what_is_sealed_opens_and_verifies():
    for epoch in EPOCHS:
        key = MacKey(KEY, epoch)
        external = external_data(TOPIC, "pen-07", epoch)
        for payload in PAYLOADS:
            opened_epoch, opened, tag = open_envelope(seal(key, external, payload))
            assert (opened_epoch, opened) == (epoch, payload)
            verify(key, external, opened, tag)


def test_the_shape_is_the_one_of_the_readme():
    message = seal(MacKey(KEY, 0x1234), external_data(TOPIC, "pen-07", 0x1234), b"\x80")
    assert message[:-32].hex() == "d18447a2010504421234a041805820"


def test_external_data_is_an_array_of_topic_pen_and_epoch():
    assert cbor.decode(external_data(TOPIC, "pen-07", 7)) == [TOPIC, "pen-07", 7]


def test_a_message_is_good_for_one_key_topic_pen_and_epoch():
    key = MacKey(KEY, 1)
    external = external_data(TOPIC, "pen-07", 1)
    _, payload, tag = open_envelope(seal(key, external, b"payload"))
    others = (
        (MacKey(bytes(32), 1), external),
        (MacKey(KEY, 2), external),
        (key, external_data(TOPIC, "pen-07", 2)),
        (key, external_data(TOPIC, "pen-08", 1)),
        (key, external_data("needletrail/1/bench/pen-07/hello", "pen-07", 1)),
        (key, external_data("needletrail/2/bench/pen-07/record", "pen-07", 1)),
        (key, b""),
    )
    for other_key, other_external in others:
        error = raises(ProtocolError, verify, other_key, other_external, payload, tag)
        assert error.reason == MAC_INVALID


def test_each_bit_of_the_tag_counts_and_each_byte():
    key = MacKey(KEY, 1)
    tag = key.tag(b"", b"payload")
    for at in range(32):
        for bit in (1, 16, 128):
            wrong = tag[:at] + bytes((tag[at] ^ bit,)) + tag[at + 1 :]
            assert raises(ProtocolError, verify, key, b"", b"payload", wrong).reason == MAC_INVALID
    for wrong in (b"", tag[:16], tag[:31], tag + b"\x00"):
        assert raises(ProtocolError, verify, key, b"", b"payload", wrong).reason == MAC_INVALID


def test_fields_of_the_mac_can_not_be_shifted_into_each_other():
    key = MacKey(KEY, 1)
    assert key.tag(b"a", b"bc") != key.tag(b"ab", b"c")


def test_every_cut_and_every_added_byte_is_malformed():
    message = seal(MacKey(KEY, 300), b"", b"\x80")
    for length in range(len(message)):
        for cut in (message[:length], message[len(message) - length :]):
            assert raises(ProtocolError, open_envelope, cut).reason == ENVELOPE_MALFORMED
    for added in (message + b"\x00", b"\x00" + message):
        assert raises(ProtocolError, open_envelope, added).reason == ENVELOPE_MALFORMED


def test_every_change_outside_payload_tag_and_epoch_is_malformed():
    message = seal(MacKey(KEY, 300), b"", b"\x80")
    for at in range(len(message) - 32):
        if at in (8, 9, 12):  # the epoch, the payload
            continue
        for byte in range(256):
            if byte != message[at]:
                changed = message[:at] + bytes((byte,)) + message[at + 1 :]
                assert raises(ProtocolError, open_envelope, changed).reason == ENVELOPE_MALFORMED


def test_no_message_is_longer_than_the_other_side_reads():
    key = MacKey(KEY, 1)
    overhead = len(seal(key, b"", b"x" * 256)) - 256
    longest = b"x" * (MAX_MESSAGE_LENGTH - overhead)
    assert open_envelope(seal(key, b"", longest))[1] == longest
    raises(ValueError, seal, key, b"", longest + b"x")
    error = raises(ProtocolError, open_envelope, bytes(MAX_MESSAGE_LENGTH + 1))
    assert error.reason == ENVELOPE_MALFORMED


def test_a_key_has_32_bytes_and_an_epoch():
    for length in (0, 16, 31, 33, 64):
        raises(ValueError, MacKey, bytes(length), 1)
    for epoch in (0, -1, EPOCH_MAX + 1):
        raises(ValueError, MacKey, KEY, epoch)
