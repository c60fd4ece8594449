"""Columns: a nibble for what is near zero, an exception for the rest, one encoding each."""

from needletrail_protocol.columns import (
    append_varint,
    decode_column,
    encode_column,
    read_varint,
)
from needletrail_protocol.errors import PAYLOAD_INVALID, ProtocolError

GREATEST = (1 << 31) - 1  # as far from zero as an exception reaches on both sides

COLUMNS = (
    [0],
    [7, -7],
    [8, -8, 0],
    [-8] * 5,
    [GREATEST, -GREATEST, 0, GREATEST],
    [-GREATEST - 1],
    list(range(-20, 21)),
    [0] * 200,
    [1000] * 200,
)


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


def refused(data, count):
    assert raises(ProtocolError, decode_column, bytes.fromhex(data), count).reason == PAYLOAD_INVALID


def test_encoding_and_decoding_are_inverse():
    for values in COLUMNS:
        count = len(values)
        data = encode_column(values, 0, count)
        assert decode_column(data, count) == values
        assert encode_column(decode_column(data, count), 0, count) == data


def test_what_is_too_far_from_zero_is_not_written():
    for value in (GREATEST + 1, -GREATEST - 2, 1 << 40):
        raises(ValueError, encode_column, [0, value], 0, 2)


def test_an_offset_is_taken_off():
    assert decode_column(encode_column([811, 812, 810], 811, 3), 3) == [0, 1, -1]


def test_only_the_first_readings_of_a_buffer_are_encoded():
    assert encode_column(bytearray(b"\x05\x06\x07\x63"), 5, 3) == bytes.fromhex("89a8")


def test_the_layout_is_the_one_of_the_readme():
    assert encode_column([-7, 7, 0], 0, 3).hex() == "1f88"
    assert encode_column([8, -8], 0, 2).hex() == "00100f"
    assert encode_column([100, 0, -100], 0, 3).hex() == "0808c801c701"


def test_each_byte_of_two_nibbles_is_one_encoding_or_refused():
    for byte in range(256):
        data = bytes((byte,))
        for count in (1, 2):
            try:
                values = decode_column(data, count)
            except ProtocolError as error:
                assert error.reason == PAYLOAD_INVALID
                assert byte & 15 == 0 or byte >> 4 == 0 or (count == 1 and byte & 15 != 8)
            else:
                assert encode_column(values, 0, count) == data


def test_faults():
    refused("", 1)
    refused("88", 3)
    refused("8888", 2)
    refused("89", 1)
    refused("80", 1)
    refused("08", 2)
    refused("0800", 2)
    refused("080e", 2)
    refused("080d", 2)
    refused("08" + "9000", 2)
    refused("08" + "90", 2)
    refused("08" + "1010", 2)
    refused("00" + "10", 2)
    refused("08" + "8080808010", 2)
    refused("08" + "808080808001", 2)
    refused("08" + "ff" * 400, 2)


def test_varints():
    for value, data in (
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        ((1 << 32) - 1, "ffffffff0f"),
    ):
        out = bytearray()
        append_varint(out, value)
        assert out == bytes.fromhex(data)
        assert read_varint(b"\x80" + bytes(out) + b"\x01", 1) == (value, 1 + len(out))
    for data in (
        "",
        "80",
        "8000",
        "ff8000",
        "8080808010",
        "ffffffff1f",
        "80808080808000",
        "ff" * 9,
    ):
        assert raises(ProtocolError, read_varint, bytes.fromhex(data), 0).reason == PAYLOAD_INVALID
