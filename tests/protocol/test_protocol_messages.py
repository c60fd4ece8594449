"""Messages: every field is checked both ways; samples unpack to the readings they were made of."""

from needletrail_protocol import cbor, conversation, messages
from needletrail_protocol.errors import KIND_UNKNOWN, PAYLOAD_INVALID, ProtocolError
from needletrail_protocol.readings import Readings, decode_record

U32 = 0xFFFFFFFF
T_MAX = (1 << 40) - 1

RECORDS = (
    (messages.BOOT, (1, 0, 1, None, "1.0.0", "rp2350")),
    (messages.OPEN, (2, 1500, 1, 0, b"badge", None, [1, 2, 3, 4], 0, 77)),
    (messages.SAMPLES, (3, 1520, 1, 20, 1, 811, b"\x88", 0, b"\x88", b"\x01")),
    (messages.SAMPLES, (3, 1520, 1, 20, 2, 811, b"\x88", 0, b"\x88", b"\x02", b"\x89")),
    (messages.BADGE, (4, 2000, 1, b"")),
    (messages.CLOSE, (5, 61000, 1, 0, 14, None, 0)),
    (messages.ALERT_SHOWN, (6, 3000, 1, "DEPTH_EXCEEDED")),
    (messages.LOCAL_BREACH, (7, 3000, 1, 500, 720, None)),
    (messages.GRANT_TAKEN, (8, 3000, 1, 77)),
    (messages.FAULT, (9, 3000, "dial", "no magnet", 0)),
    (messages.NOT_ARMED, (10, 3000, "no_grant")),
)
HELLO = (5, 9, 2, "1.0.0", None, 0xCBF43926, 3, 61000, None)
GRANT = (1, 2, "policy", 0, [["b-0042", 500], ["b-0043", 2500, None, 3]], 1)
ALERT = (1, "DEPTH_EXCEEDED", 3000, 500, None)


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


def extended(items, *more):
    """A list of all of them. (MicroPython has no [*items, *more].)"""
    return list(items) + list(more)


def refused(act, items):
    assert raises(ProtocolError, act, cbor.encode(items)).reason == PAYLOAD_INVALID


def readings_of(payload):
    record = decode_record(payload)
    readings = Readings(record)
    return record, (readings.t_ms, readings.dial, readings.strokes, readings.contact)


def test_records_are_arrays_of_kind_and_fields():
    for kind, fields in RECORDS:
        assert cbor.decode(messages.encode_record(kind, fields)) == extended([kind], *fields)


def test_a_decoded_record_encodes_to_the_same_bytes():
    for kind, fields in RECORDS:
        payload = messages.encode_record(kind, fields)
        record = decode_record(payload)
        assert record.kind == kind
        assert record.seq == fields[0] and record.t_ms == fields[1]
    boot = decode_record(messages.encode_record(*RECORDS[0]))
    assert (boot.boot, boot.utc_ms, boot.firmware, boot.board) == RECORDS[0][1][2:]


def test_the_other_messages_have_no_kind():
    hello = conversation.decode_hello(conversation.encode_hello(HELLO))
    assert (hello.kind, hello.oldest_seq, hello.next_seq, hello.grant_utc_ms) == (0, 5, 9, None)
    assert (hello.config, hello.connection, hello.t_ms, hello.utc_ms) == HELLO[5:]
    will = conversation.decode_will(conversation.encode_will(2, 3))
    assert (will.kind, will.boot, will.connection) == (0, 2, 3)
    ack = conversation.decode_ack(conversation.encode_ack(9, 77))
    assert (ack.kind, ack.seq, ack.utc_ms) == (0, 9, 77)
    grant = conversation.decode_grant(conversation.encode_grant(GRANT))
    assert (grant.kind, grant.permits, grant.rules) == (0, GRANT[4], 1)
    alert = conversation.decode_alert(conversation.encode_alert(ALERT))
    assert (alert.kind, alert.limit_um, alert.depth_um) == (0, 500, None)


def test_the_last_two_of_a_permit_may_be_left_out():
    for permit in (["a", 0], ["a", 0, None], ["a", 0, 5], ["a", 0, None, 0], ["a", 0, 5, U32]):
        assert conversation.is_permit(permit)
        assert conversation.is_permit(tuple(permit))
    assert conversation.EXCLUSIVE | conversation.HARD == 3
    assert conversation.REFUSE_EXPIRED | conversation.REFUSE_UNKNOWN == 3


def test_what_would_be_refused_is_not_written():
    boot = RECORDS[0][1]
    for fields in (
        boot[:-1],
        extended(boot, 1),
        (0, 0, 1, None, "1.0.0", "rp2350"),
        (True, 0, 1, None, "1.0.0", "rp2350"),
        ("1", 0, 1, None, "1.0.0", "rp2350"),
        (None, 0, 1, None, "1.0.0", "rp2350"),
        (1, 0, 1, None, "", "rp2350"),
        (1, 0, 1, None, b"1.0.0", "rp2350"),
        (1, 0, 1, None, "\u00e9" * 17, "rp2350"),
    ):
        raises(ValueError, messages.encode_record, messages.BOOT, fields)
    raises(ValueError, messages.encode_record, 0, boot)
    raises(ValueError, messages.encode_record, 11, boot)
    for lead in ([4096], [-1], [True], [None], [0] * 5, 1):
        raises(ValueError, messages.encode_record, 2, (2, 0, 1, 0, None, None, lead, 0, None))
    raises(ValueError, messages.encode_record, messages.FAULT, (9, 3000, "dial", "gone", True))
    raises(ValueError, messages.encode_record, messages.NOT_ARMED, (9, 3000, ""))
    raises(ValueError, conversation.encode_hello, extended((9, 5), *HELLO[2:]))
    raises(ValueError, conversation.encode_hello, HELLO[:8])
    raises(ValueError, conversation.encode_will, 1, 0)
    raises(ValueError, conversation.encode_ack, -1, 0)
    for permit in ([], ["a"], ["a", None], ["a", 20001], [b"a", 1], ["a", True], "ab", None):
        raises(ValueError, conversation.encode_grant, (1, 2, "policy", 0, [permit], 0))
    for end in (["soon"], [-1], [True], [1 << 43], [0, None], [0, True], [0, -1], [0, 1 << 32]):
        permit = extended(["a", 1], *end)
        raises(ValueError, conversation.encode_grant, (1, 2, "policy", 0, [permit], 0))
    for rules in (None, True, -1, 1 << 32):
        raises(ValueError, conversation.encode_grant, (1, 2, "policy", 0, [], rules))
    raises(ValueError, conversation.encode_alert, ALERT[:4])


def test_a_hello_says_how_full_the_battery_is_if_the_pen_knows():
    assert conversation.decode_hello(conversation.encode_hello(HELLO)).battery_percent is None
    for percent in (None, 0, 87, 100):
        hello = conversation.decode_hello(conversation.encode_hello(extended(HELLO, percent)))
        assert hello.battery_percent == percent
        assert [getattr(hello, name) for name in ("oldest_seq", "utc_ms")] == [HELLO[0], HELLO[8]]
    for percent in (-1, 101, True, "87", [87]):
        raises(ValueError, conversation.encode_hello, extended(HELLO, percent))
        refused(conversation.decode_hello, extended(HELLO, percent))
    raises(ValueError, conversation.encode_hello, extended(HELLO, 87, 1))


def test_nulls_are_written_out_and_only_jitter_and_battery_may_be_left_out():
    refused(conversation.decode_hello, list(HELLO[:4]))
    refused(conversation.decode_hello, list(HELLO[:8]))
    refused(conversation.decode_will, [1])
    refused(conversation.decode_grant, list(GRANT[:5]))
    refused(conversation.decode_alert, [1, "CODE", 0, None])
    refused(decode_record, [7, 1, 0, 1, 500, 720])
    refused(decode_record, [2, 2, 0, 1, 0, None, None, [], 0])
    sample = extended([3], *RECORDS[2][1])
    for items in (sample, extended(sample, None)):
        assert decode_record(cbor.encode(items)).jitter_column is None
    refused(decode_record, sample[:-1])


def test_length_of_text_is_counted_in_bytes_of_utf8():
    assert decode_record(cbor.encode([6, 1, 0, 1, "\u00e9" * 16])).code == "\u00e9" * 16
    refused(decode_record, [6, 1, 0, 1, "\u00e9" * 16 + "x"])
    refused(decode_record, [6, 1, 0, 1, "\u6c34" * 11])


def test_later_elements_are_ignored():
    for kind, fields in RECORDS:
        if kind != messages.SAMPLES:
            items = extended([kind], *extended(fields, 1, "later", [None]))
            assert decode_record(cbor.encode(items)).seq == fields[0]
    assert conversation.decode_ack(cbor.encode([1, 2, 3])).seq == 1
    grant = conversation.decode_grant(cbor.encode([1, 2, "p", 0, [["a", 1, 2, 3, "later"]], 0, 1]))
    assert grant.permits[0][:4] == ["a", 1, 2, 3]
    assert conversation.decode_will(cbor.encode([1, 2, "later"])).connection == 2


def test_an_unknown_kind_has_its_own_reason():
    for kind in (0, 11, -1, (1 << 64) - 1, -(1 << 64)):
        error = raises(ProtocolError, decode_record, cbor.encode([kind]))
        assert error.reason == KIND_UNKNOWN


def test_samples_unpack_to_the_readings_they_were_made_of():
    for times, dial, before, strokes, contact in (
        ([0], [0], 0, [0], [False]),
        ([5], [4095], U32, [U32], [True]),
        ([5, 25, 45], [811, 812, 4095], 7, [7, 8, 5000], [True, True, False]),
        ([5, 26, 45, 5000], [9, 0, 4095, 4095], 0, [0, 0, 1, 2], [False, True, False, True]),
        (
            list(range(100, 4100, 20)),
            [index * 37 % 4096 for index in range(200)],
            1000,
            [1000 + index * index for index in range(200)],
            [index % 3 == 0 for index in range(200)],
        ),
    ):
        count = len(times)
        payload = messages.encode_samples(3, 1, count, 20, times, dial, before, strokes, contact)
        record, readings = readings_of(payload)
        assert (record.seq, record.session, record.count) == (3, 1, count)
        assert readings == (times, dial, strokes, contact)


def test_readings_that_would_be_refused_are_not_written():
    for times, dial, strokes in (
        ([0, 20], [1, 4096], [0, 0]),
        ([0, 20], [-1, 1], [0, 0]),
        ([0, 20], [1, 1], [5, 4]),
        ([0, 20], [1, 1], [-1, 0]),
        ([0, 20], [1, 1], [0, U32 + 1]),
        ([0, 0], [1, 1], [0, 0]),
        ([20, 0], [1, 1], [0, 0]),
        ([T_MAX, T_MAX + 20], [1, 1], [0, 0]),
        ([0, 1 << 32], [1, 1], [0, 0]),
    ):
        arguments = (3, 1, 2, 20, times, dial, 0, strokes, [False, False])
        raises(ValueError, messages.encode_samples, *arguments)
    for count in (0, 201):
        buffers = (range(1, 202), [0] * 201, 0, [0] * 201, [False] * 201)
        raises(ValueError, messages.encode_samples, 3, 1, count, 1, *buffers)


def test_only_the_first_readings_of_longer_buffers_are_sent():
    payload = messages.encode_samples(
        3, 1, 2, 20, [0, 20, 99], [1, 2, 99], 0, [0, 1, 99], bytearray(b"\x00\x01\x01")
    )
    assert readings_of(payload)[1] == ([0, 20], [1, 2], [0, 1], [False, True])


def test_jitter_is_sent_only_where_there_is_some():
    steady = messages.encode_samples(3, 1, 2, 20, [0, 20], [1, 1], 0, [0, 0], [0, 0])
    late = messages.encode_samples(3, 1, 2, 20, [0, 21], [1, 1], 0, [0, 0], [0, 0])
    assert len(cbor.decode(steady)) == 11
    assert len(cbor.decode(late)) == 12


def samples(count, base, dial, strokes, steps, runs, jitter=None, t_ms=0):
    items = [3, 3, t_ms, 1, 20, count, base, bytes.fromhex(dial), strokes]
    items += [bytes.fromhex(steps), bytes.fromhex(runs)]
    return decode_record(cbor.encode(items if jitter is None else extended(items, jitter)))


def test_readings_out_of_range_are_refused():
    for record in (
        samples(2, 0, "87", 0, "88", "02"),
        samples(2, 4095, "89", 0, "88", "02"),
        samples(2, 0, "88", 5, "87", "02"),
        samples(2, 0, "88", U32, "89", "02"),
        samples(2, 0, "88", 0, "88", "01"),
        samples(2, 0, "88", 0, "88", "03"),
        samples(2, 0, "88", 0, "88", "0201"),
        samples(2, 0, "88", 0, "88", "020005"),
        samples(2, 0, "88", 0, "88", "010001"),
        samples(2, 0, "88", 0, "88", "02", b"\x88"),
        samples(2, 0, "88", 0, "88", "02", b"\x98"),
        samples(2, 0, "88", 0, "88", "02", b"\x80\x27"),
        samples(2, 0, "88", 0, "88", "02", None, T_MAX),
        samples(2, 0, "88", 0, "88", "02", b"\x89", T_MAX - 20),
    ):
        assert raises(ProtocolError, Readings, record).reason == PAYLOAD_INVALID


def test_the_last_time_and_the_last_stroke_are_within_range():
    readings = Readings(samples(2, 0, "88", U32 - 1, "89", "02", None, T_MAX - 20))
    assert (readings.t_ms[-1], readings.strokes[-1]) == (T_MAX, U32)
