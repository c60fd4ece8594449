"""CBOR: one encoding each, and nothing else is read."""

from needletrail_protocol import cbor
from needletrail_protocol.errors import PAYLOAD_MALFORMED, ProtocolError

# Values and encodings of RFC 8949, appendix A, as far as our messages use them.
EXAMPLES = (
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (
        list(range(1, 26)),
        "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
    ),
)

# Where the length of a head changes.
HEADS = (0, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, 18446744073709551615)

NO_UTF8 = (
    "80", "bf", "c0", "c080", "c1bf", "c3", "c328", "e08080", "e09fbf", "e282", "e28228", "eda080",
    "edbfbf", "eda081edb080", "f0808080", "f08fbfbf", "f09f98", "f4908080", "f5808080", "f7bfbfbf",
    "f888808080", "fc", "fe", "ff", "61c080", "c38061ff",
)  # fmt: skip


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


def refused(data):
    assert raises(ProtocolError, cbor.decode, data).reason == PAYLOAD_MALFORMED


def test_examples_of_the_rfc():
    for value, digits in EXAMPLES:
        encoded = bytes.fromhex(digits)
        assert cbor.encode(value) == encoded, value
        decoded = cbor.decode(encoded)
        assert decoded == value and type(decoded) is type(value), value


def test_booleans_are_no_integers():
    assert cbor.decode(cbor.encode([True, 1, False, 0])) == [True, 1, False, 0]
    assert [type(item) for item in cbor.decode(b"\x84\xf5\x01\xf4\x00")] == [bool, int, bool, int]


def test_a_tuple_is_written_as_a_list():
    assert cbor.encode((1, (2, b"x"))) == cbor.encode([1, [2, b"x"]])


def test_only_the_shortest_head_is_read():
    for value in HEADS:
        for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if value >> (8 * width):
                continue
            head = bytes((info,)) + value.to_bytes(width, "big")
            if head == cbor.encode(value):
                assert cbor.decode(head) == value
                assert cbor.decode(bytes((32 | info,)) + head[1:]) == -1 - value
            else:
                refused(head)
                refused(bytes((32 | info,)) + head[1:])


def test_lengths_are_in_shortest_form():
    for length in (0, 1, 23, 24, 255, 256):
        for item in (b"x" * length, "x" * length, [0] * length):
            encoded = cbor.encode(item)
            assert cbor.decode(encoded) == item
            body = encoded[len(encoded) - length :]
            for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
                if length >> (8 * width):
                    continue
                head = bytes(((encoded[0] & 0xE0) | info,)) + length.to_bytes(width, "big")
                if head + body != encoded:
                    refused(head + body)


def test_every_first_byte_alone_is_an_item_or_refused():
    for first in range(256):
        data = bytes((first,))
        try:
            assert cbor.encode(cbor.decode(data)) == data
        except ProtocolError as error:
            assert error.reason == PAYLOAD_MALFORMED


def test_each_two_bytes_are_one_encoding_or_refused():
    accepted = 0
    for first in range(256):
        for second in range(0, 256, 5):
            data = bytes((first, second))
            try:
                item = cbor.decode(data)
            except ProtocolError:
                continue
            assert cbor.encode(item) == data
            accepted += 1
    assert accepted > 100


def test_every_cut_is_refused():
    encoded = cbor.encode([1, "text", b"bytes" * 10, [None, True, [70000, -70000]], 1 << 40])
    for length in range(len(encoded)):
        refused(encoded[:length])
    refused(encoded + b"\x00")


def test_arrays_are_at_most_four_deep():
    assert cbor.decode(bytes.fromhex("8181818100")) == [[[[0]]]]
    refused(bytes.fromhex("818181818100"))
    refused(b"\x81" * 4000)
    refused(b"\x9f" * 4000)


def test_a_promised_length_costs_nothing():
    for info, width in ((26, 4), (27, 8)):
        for major in (2, 3, 4):
            for length in (b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), b"\x80" * width):
                refused(bytes((major << 5 | info,)) + length)
                refused(bytes((major << 5 | info,)) + length + b"\x00" * 20)


def test_text_is_strict_utf8_on_every_interpreter():
    for digits in NO_UTF8:
        encoded = bytes.fromhex(digits)
        refused(bytes((0x60 | len(encoded),)) + encoded)
    for text in ("\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff"):
        assert cbor.decode(cbor.encode(text)) == text
    for text in ("\U00010000", "\U0010ffff", "a\u00e9\u20ac\U0001f58a" * 20):
        assert cbor.decode(cbor.encode(text)) == text


def test_what_has_no_place_in_a_message_is_not_written():
    raises(ValueError, cbor.encode, 1 << 64)
    raises(ValueError, cbor.encode, -(1 << 64) - 1)
    for item in (1.0, {}, bytearray(b"x"), {1}, [1, 2.0], object):
        raises(TypeError, cbor.encode, item)
