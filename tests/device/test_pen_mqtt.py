"""MQTT 3.1.1 packets: whole, byte by byte, with more behind; and what a broker may not send."""

from pen_fakes import raises

from needletrail_device import mqtt

CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x05\x00\x01\x01\x01\x01"
PINGRESP = b"\xd0\x00"


def packet(first, body):
    head = bytearray([first])
    length = len(body)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def publish(topic, payload, packet_id=7, first=0x32):
    text = topic.encode()
    ident = packet_id.to_bytes(2, "big") if first & 6 else b""
    return packet(first, len(text).to_bytes(2, "big") + text + ident + payload)


def send(one, topic, payload):
    """Publish as the uplink does. Returns the packet id."""
    at = one.publish(topic, len(payload))
    one.out[at : at + len(payload)] = payload
    return int.from_bytes(one.out[at - 2 : at], "big")


def client(is_connected=True):
    one = mqtt.Client("pen", None, None, 0)
    one.outbound(0)
    if is_connected:
        assert one.feed_bytes(CONNACK, 0) == [("connected",)]
    return one


# ---- out ----


def test_connect():
    one = mqtt.Client("pen", None, None, 0)
    assert one.outbound(0) == packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x1e\x00\x03pen")
    assert one.outbound(0) == b""
    one = mqtt.Client("pen", "u", "pw", 0)
    assert one.outbound(0) == packet(
        0x10, b"\x00\x04MQTT\x04\xc2\x00\x1e\x00\x03pen\x00\x01u\x00\x02pw"
    )
    with raises(ValueError):
        mqtt.Client("pen", "u", "p" * 0x10000, 0)


def test_a_last_will_comes_between_client_id_and_user_name():
    one = mqtt.Client("pen", "u", None, 0, ("w", b"gone"))
    assert one.outbound(0) == packet(
        0x10, b"\x00\x04MQTT\x04\x8e\x00\x1e\x00\x03pen\x00\x01w\x00\x04gone\x00\x01u"
    )


def test_subscribe_publish_disconnect():
    one = client()
    one.subscribe(["a", "b/c"])
    assert one.outbound(0) == packet(0x82, b"\x00\x01\x00\x01a\x01\x00\x03b/c\x01")
    with raises(ValueError):
        one.subscribe(["d"])
    assert send(one, "t", b"x" * 200) == 2
    send(one, "u", b"y")
    assert one.outbound(0) == (
        packet(0x32, b"\x00\x01t\x00\x02" + b"x" * 200) + packet(0x32, b"\x00\x01u\x00\x03y")
    )
    one.disconnect()
    assert one.outbound(0) == b"\xe0\x00"


def test_packet_ids_go_round_and_pass_over_those_in_use():
    one = client()
    assert send(one, "t", b"") == 1
    for expected in range(2, 0x10000):
        assert send(one, "t", b"") == expected
        one.outbound(0)
        one.feed_bytes(packet(0x40, expected.to_bytes(2, "big")), 0)
    assert len(one.awaited) == 1
    assert send(one, "t", b"") == 2


# ---- in: every good packet, however it is cut ----


def conversation():
    return (
        CONNACK
        + SUBACK
        + publish("needletrail/1/c/p/ack", b"payload")
        + packet(0x40, b"\x00\x02")
        + PINGRESP
        + publish("t", b"", 0, 0x30)
        + publish("t", b"\xff" * 300, 9, 0x3A)
    )


EVENTS = [
    ("connected",),
    ("subscribed",),
    ("message", "needletrail/1/c/p/ack", b"payload"),
    ("message", "t", b""),
    ("message", "t", b"\xff" * 300),
]


def listening():
    one = client(is_connected=False)
    one.subscribe(["a", "b", "c"])
    send(one, "t", b"")
    one.outbound(0)
    return one


def test_whole_byte_by_byte_and_cut_in_two_anywhere():
    data = conversation()
    one = listening()
    assert one.feed_bytes(data, 0) == EVENTS
    assert one.outbound(0) == b"\x40\x02\x00\x07\x40\x02\x00\x09"
    assert len(one.awaited) == 0
    one = listening()
    events = []
    for index in range(len(data)):
        events += one.feed_bytes(data[index : index + 1], 0)
    assert events == EVENTS
    for cut in range(len(data)):
        one = listening()
        assert one.feed_bytes(data[:cut], 0) + one.feed_bytes(data[cut:], 0) == EVENTS


def test_an_empty_feed_says_nothing():
    assert client().feed_bytes(b"", 0) == []


def test_the_largest_packet_and_one_byte_more():
    one = client()
    payload = bytes(mqtt.PACKET_MAX - 5)
    assert one.feed_bytes(publish("t", payload), 0) == [("message", "t", payload)]
    with raises(mqtt.RemoteError):
        client().feed_bytes(publish("t", payload + b"x")[:4], 0)


# ---- what a broker may not send ----

BAD = (
    packet(0x40, b"\x00\x09"),  # PUBACK for nothing
    packet(0x40, b"\x00"),
    packet(0x40, b"\x00\x02\x00"),
    packet(0x41, b"\x00\x02"),  # flags
    packet(0x90, b"\x00\x01\x01\x01"),  # SUBACK for two of three
    packet(0x90, b"\x00\x02\x01\x01\x01"),  # of another id
    packet(0x90, b"\x00\x01\x01\x80\x01"),  # refused
    packet(0x90, b"\x00\x01\x01\x02\x01"),  # QoS 2 where 1 was asked for
    packet(0x90, b""),
    packet(0xD0, b"x"),
    packet(0xD1, b""),
    CONNACK,  # a second one
    packet(0x36, b"\x00\x01t\x00\x01"),  # QoS 3
    packet(0x34, b"\x00\x01t\x00\x01"),  # QoS 2
    packet(0x32, b""),
    packet(0x32, b"\x00"),
    packet(0x32, b"\x00\x00\x00\x01"),  # no topic
    packet(0x32, b"\x00\x05t\x00\x01"),  # topic too long
    packet(0x32, b"\x00\x01t\x00"),  # id cut short
    packet(0x32, b"\x00\x01t\x00\x00"),  # id 0
    packet(0x30, b"\x00\x01\xff"),  # not UTF-8
    packet(0x00, b""),
    packet(0x10, b""),  # what only clients send
    packet(0x82, b""),
    packet(0x50, b"\x00\x02"),
    packet(0xF0, b""),
    b"\x30\xff\xff\xff\xff",  # length of more than four bytes
    b"\x30\xff\xff\xff\x7f",  # too large
)


def test_malformed_and_unasked_packets_end_the_connection():
    for bad in BAD:
        for junk in (b"", b"\x00", CONNACK):
            one = listening()
            one.feed_bytes(CONNACK, 0)
            with raises(mqtt.RemoteError):
                one.feed_bytes(bad + junk, 0)
        one = listening()
        one.feed_bytes(CONNACK, 0)
        with raises(mqtt.RemoteError):
            for index in range(len(bad)):
                one.feed_bytes(bad[index : index + 1], 0)


def test_a_connection_begins_with_a_good_connack():
    refused = (
        b"\x20\x02\x00\x01",
        b"\x20\x02\x00\x05",
        b"\x20\x02\x00\x99",
        b"\x20\x02\x01\x00",  # session present, though a clean one was asked for
        b"\x20\x01\x00",
        b"\x21\x02\x00\x00",
        SUBACK,
        PINGRESP,
        publish("t", b""),
    )
    for bad in refused:
        with raises(mqtt.RemoteError):
            client(is_connected=False).feed_bytes(bad, 0)


# ---- time ----


def test_a_quiet_connection_is_asked_whether_it_lives():
    one = client()
    one.tick(mqtt.PING_AFTER_MS - 1)
    assert one.outbound(mqtt.PING_AFTER_MS - 1) == b""
    one.tick(mqtt.PING_AFTER_MS)
    one.tick(mqtt.PING_AFTER_MS)
    assert one.outbound(mqtt.PING_AFTER_MS) == b"\xc0\x00"
    one.feed_bytes(PINGRESP, mqtt.PING_AFTER_MS + 50)
    one.tick(mqtt.DEAD_AFTER_MS + 49)
    with raises(mqtt.RemoteError):
        one.tick(mqtt.PING_AFTER_MS + 50 + mqtt.DEAD_AFTER_MS)


def test_a_dead_connection_is_found_though_we_send():
    one = client()
    for now_ms in range(0, mqtt.DEAD_AFTER_MS, 500):
        send(one, "t", b"")
        one.tick(now_ms)
        one.outbound(now_ms)
    with raises(mqtt.RemoteError):
        one.tick(mqtt.DEAD_AFTER_MS)


def test_a_broker_that_only_talks_is_still_pinged():
    one = client()
    sent = b""
    for now_ms in range(0, 60_000, 500):
        one.feed_bytes(publish("t", b"", 0, 0x30), now_ms)
        one.tick(now_ms)
        sent += one.outbound(now_ms)
    assert sent.count(b"\xc0\x00") >= 4


def test_no_connack_in_time():
    one = client(is_connected=False)
    one.tick(mqtt.DEAD_AFTER_MS - 1)
    assert one.outbound(0) == b"", "no ping before the broker has accepted"
    with raises(mqtt.RemoteError):
        one.tick(mqtt.DEAD_AFTER_MS)


def test_an_answer_that_takes_ten_seconds_comes_in_time():
    one = client()
    sent_ms = []
    for now_ms in range(0, 120_000, 250):
        one.tick(now_ms)
        if b"\xc0\x00" in one.outbound(now_ms):
            sent_ms.append(now_ms)
        if now_ms - 10_000 in sent_ms:
            one.feed_bytes(PINGRESP, now_ms)
    assert len(sent_ms) >= 6


def test_how_long_an_answer_is_owed():
    one = client(is_connected=False)
    one.tick(700)
    assert one.waited_ms(700) == 700
    one.feed_bytes(CONNACK, 1000)
    one.tick(2000)
    assert one.waited_ms(2000) == 0, "nothing was asked"
    send(one, "t", b"")
    one.tick(2500)
    assert one.waited_ms(2500) == 500
    one.feed_bytes(b"\x30", 3000)
    assert one.waited_ms(3100) == 100, "the broker lives"
    one.feed_bytes(b"\x03\x00\x01t" + packet(0x40, b"\x00\x01"), 3200)
    one.tick(5000)
    assert one.waited_ms(5000) == 0
    one.subscribe(["a"])
    one.tick(5300)
    assert one.waited_ms(5300) == 300
    one.feed_bytes(b"\x90\x03\x00\x02\x01", 5400)
    one.outbound(5400)
    one.tick(15_400)
    assert one.outbound(15_400) == b"\xc0\x00"
    one.tick(15_900)
    assert one.waited_ms(15_900) == 500
    one.feed_bytes(PINGRESP, 16_000)
    one.tick(16_500)
    assert one.waited_ms(16_500) == 0
