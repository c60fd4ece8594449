"""The uplink against a broker and gateway in memory: loss, repeats, disorder, forgery, damage."""

# ruff: noqa: RUF007, B905
# This file also runs on MicroPython, which lacks what these rules ask for.

from pen_fakes import (
    BADGE_1,
    CLINIC,
    KEY,
    PEN,
    MemoryFolder,
    badge_record,
    external,
    grant_message,
    raises,
    sealed,
)

from needletrail_device import mqtt, uplink
from needletrail_device.journal import Journal
from needletrail_device.limits import Limits
from needletrail_device.uplink import Uplink
from needletrail_protocol import authentication, conversation, topics
from needletrail_protocol.readings import decode_record


class Identity:
    clinic = CLINIC
    pen = PEN
    broker_username = None
    broker_password = None


def publish(topic, message):
    text = topic.encode()
    body = len(text).to_bytes(2, "big") + text + message
    length = len(body)
    head = bytearray([0x30])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + body


class Bench:
    """A pen's uplink, its journal, and what the gateway on the other side has heard."""

    def __init__(self, records=0, maybe_sent_seq=0, folder=None):
        self.now_ms = 1000
        self.utc_ms = None
        self.told = []
        self.alerts = []
        self.grants = 0
        self.folder = folder or MemoryFolder()
        self.journal = Journal(self.folder, 400)
        self.journal.boot = 1
        self.write(records)
        self.limits = Limits(self.folder, KEY, external(topics.GRANT))
        self.uplink = Uplink(
            Identity(),
            KEY,
            self.journal,
            maybe_sent_seq,
            self.limits,
            self.tell,
            self.alerts.append,
            self.count_grant,
            0xFEDCBA98,
            lambda: (self.now_ms, self.utc_ms),
        )
        self.heard = []  # (channel, decoded message), since last asked

    def tell(self, event, *pairs):
        self.told.append(event)

    def count_grant(self):
        self.grants += 1

    def write(self, count):
        for _ in range(count):
            self.journal.append(badge_record(self.journal.next_seq))

    def connect(self):
        self.client = self.uplink.connect(self.now_ms)
        self.connect_packet = bytes(self.client.outbound(self.now_ms))
        assert self.connect_packet[0] == 0x10
        assert self.client.feed_bytes(b"\x20\x02\x00\x00", self.now_ms) == [("connected",)]
        self.uplink.begin(self.client, self.now_ms)
        self.uplink.feed(b"", self.now_ms)

    def hear(self):
        """What the pen sends now: [(channel, message)]; the broker acknowledges each."""
        heard = []
        while True:
            data = bytes(self.uplink.outbound(self.now_ms))
            if not data:
                return heard
            at = 0
            while at < len(data):
                first = data[at]
                at += 1
                length = shift = 0
                while True:
                    byte = data[at]
                    at += 1
                    length |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = data[at : at + length]
                at += length
                if first == 0x32:
                    heard.append(self._understand(body))
                elif first == 0x82:
                    self.subscription = body
                    self.uplink.feed(b"\x90\x05" + body[:2] + b"\x01\x01\x01", self.now_ms)

    def _understand(self, body):
        end = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:end].decode()
        self.uplink.feed(b"\x40\x02" + body[end : end + 2], self.now_ms)
        channel = topics.parse(topic)[2]
        epoch, payload, tag = authentication.open_envelope(body[end + 2 :])
        assert epoch == 1
        authentication.verify(KEY, external(channel), payload, tag)
        if channel == topics.HELLO:
            return channel, conversation.decode_hello(payload)
        return channel, decode_record(payload)

    def seqs(self):
        """Sequence numbers of the records that the pen sends now; hellos are "hello"."""
        return [
            message.seq if channel == topics.RECORD else "hello" for channel, message in self.hear()
        ]

    def say(self, channel, payload, key=KEY):
        topic, message = sealed(channel, payload, key)
        self.uplink.feed(publish(topic, message), self.now_ms)

    def ack(self, seq):
        self.say(topics.ACK, conversation.encode_ack(seq, 1))


def ready(records, acked=0, **rest):
    bench = Bench(records, **rest)
    bench.connect()
    assert bench.seqs() == ["hello"]
    bench.ack(acked)
    return bench


def test_hello_comes_first_and_records_wait_for_its_answer():
    bench = Bench(3)
    bench.connect()
    ((channel, hello),) = bench.hear()
    assert channel == topics.HELLO
    assert (hello.oldest_seq, hello.next_seq, hello.boot) == (1, 4, 1)
    assert hello.grant_utc_ms is None
    for name in (topics.ACK, topics.GRANT, topics.ALERT):
        assert topics.build(CLINIC, PEN, name).encode() in bench.subscription
    assert bench.seqs() == []
    assert bench.told == ["connected"]
    bench.ack(0)
    assert bench.told == ["connected", "ready"]
    assert bench.seqs() == [1, 2, 3]
    assert not bench.uplink.is_all_committed()
    bench.ack(3)
    assert bench.uplink.is_all_committed()
    bench.write(1)
    assert bench.seqs() == [4]


def test_no_more_than_the_window_is_under_way():
    bench = ready(40)
    assert bench.seqs() == list(range(1, 17))
    assert bench.seqs() == []
    bench.ack(1)
    assert bench.seqs() == [17]
    bench.ack(10)
    assert bench.seqs() == list(range(18, 27))


def test_only_an_ack_frees_a_record():
    bench = ready(5)
    bench.seqs()  # each has had its PUBACK
    assert bench.journal.durable_seq == 0
    bench.ack(2)
    assert bench.journal.durable_seq == 2


def test_silence_sends_the_window_again_and_then_asks():
    bench = ready(3)
    assert bench.seqs() == [1, 2, 3]
    bench.now_ms += uplink.SILENCE_MS - 1
    assert bench.seqs() == []
    bench.now_ms += 1
    assert bench.seqs() == [1, 2, 3]
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == []
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]
    bench.ack(1)
    assert bench.seqs() == [2, 3]
    bench.ack(3)
    bench.now_ms += 5
    bench.write(1)
    assert bench.seqs() == [4], "silence is counted from when something is under way"
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == [4]


def test_a_hello_without_an_answer_is_repeated_ever_more_slowly():
    bench = Bench(3)
    bench.connect()
    bench.seqs()
    said_ms = []
    for now_ms in range(1000, 60_000, 100):
        bench.now_ms = now_ms
        if now_ms % 5000 == 0:
            bench.uplink.feed(b"\xd0\x00", now_ms)
        if "hello" in bench.seqs():
            said_ms.append(now_ms)
    gaps = [later - earlier for earlier, later in zip(said_ms, said_ms[1:])]
    assert said_ms[0] == 1000 + uplink.SILENCE_MS
    assert gaps == sorted(gaps)
    assert gaps[-1] == uplink.SILENCE_MAX_MS


def test_an_ack_that_does_not_advance_sends_the_window_again_once():
    bench = ready(5)
    bench.seqs()
    bench.ack(2)
    bench.ack(2)
    assert bench.seqs() == [3, 4, 5]
    for _ in range(10):  # a storm of them, and the answers to what was sent twice
        bench.ack(2)
    assert bench.seqs() == []
    bench.now_ms += uplink.SILENCE_MS // 2
    bench.ack(2)
    assert bench.seqs() == [3, 4, 5]


def test_answers_to_repeats_do_not_echo_for_ever():
    bench = ready(32)
    assert bench.seqs() == list(range(1, 17))
    bench.ack(0)
    assert bench.seqs() == list(range(1, 17)), "a gap was reported"
    for seq in range(1, 17):
        bench.ack(seq)
    assert bench.seqs() == list(range(17, 33))
    bench.now_ms += uplink.SILENCE_MS // 2
    for _ in range(16):  # the gateway had each of 1 to 16 twice
        bench.ack(16)
    assert bench.seqs() == []


def test_acks_out_of_order_and_twice():
    bench = ready(6)
    bench.seqs()
    for seq in (3, 1, 2, 5, 4):
        bench.ack(seq)
    assert bench.journal.durable_seq == 5
    assert bench.seqs() == []
    bench.ack(6)
    bench.ack(6)
    assert bench.seqs() == []
    assert bench.uplink.is_all_committed()


def test_an_ack_of_what_was_never_sent_is_ignored():
    bench = ready(40)
    bench.seqs()
    bench.ack(17)
    assert (bench.journal.durable_seq, bench.uplink.refused) == (0, 1)
    bench.ack(40)
    assert bench.journal.durable_seq == 0
    assert bench.told == ["connected", "ready"]
    bench.ack(41)
    assert bench.told[-1] == "ack_beyond_journal"
    bench.ack(16)
    assert bench.journal.durable_seq == 16


def test_the_first_ack_too():
    bench = Bench(5, 3)
    bench.connect()
    bench.seqs()
    for seq in (4, 5, 6, 99):
        bench.ack(seq)
        assert not bench.uplink.is_ready
    bench.ack(3)
    assert bench.uplink.is_ready
    assert bench.seqs() == [4, 5]


def test_forged_and_malformed_messages_are_counted_and_ignored():
    bench = ready(3)
    bench.seqs()
    bench.say(topics.ACK, conversation.encode_ack(3, 1), authentication.MacKey(bytes(32), 1))
    bench.say(topics.ACK, conversation.encode_ack(3, 1), authentication.MacKey(bytes(range(32)), 2))
    bench.say(topics.ACK, b"\x01")
    bench.say(topics.ALERT, b"\x80")
    bench.say(topics.GRANT, b"\x80")
    ack = sealed(topics.ACK, conversation.encode_ack(3, 1))
    bench.uplink.feed(publish(topics.build(CLINIC, PEN, topics.ALERT), ack[1]), 0)
    bench.uplink.feed(publish(topics.build(CLINIC, PEN, topics.RECORD), ack[1]), 0)
    bench.uplink.feed(publish("some/other/topic", ack[1]), 0)
    bench.uplink.feed(publish(ack[0], b""), 0)
    assert bench.uplink.refused == 9
    assert bench.journal.durable_seq == 0
    assert bench.told.count("refused") == 7
    bench.ack(3)
    assert bench.journal.durable_seq == 3


def test_a_new_connection_begins_where_the_gateway_stands():
    bench = ready(10)
    bench.seqs()
    bench.ack(4)
    bench.uplink.end()
    assert bench.uplink.outbound(bench.now_ms) == b""
    with raises(ValueError):
        bench.uplink.feed(b"x", 0)
    bench.connect()
    assert bench.seqs() == ["hello"]
    bench.ack(7)
    assert bench.seqs() == [8, 9, 10]
    bench.uplink.end()
    bench.connect()
    bench.seqs()
    bench.ack(6)  # the gateway's ledger was restored from a copy
    assert bench.seqs() == [7, 8, 9, 10]
    assert bench.journal.durable_seq == 7


def test_records_of_an_earlier_boot_are_sent_after_it():
    folder = MemoryFolder()
    ready(30, folder=folder).journal.close()
    from needletrail_device.recovery import recover

    bench = Bench(folder=folder)
    recover(bench.journal)
    bench.write(1)
    bench.connect()
    bench.seqs()
    bench.ack(0)
    assert bench.seqs() == list(range(1, 17))
    bench.ack(16)
    assert bench.seqs() == list(range(17, 32))


def test_a_damaged_record_becomes_a_gap_that_the_gateway_is_told_about():
    bench = ready(6)
    name = sorted(bench.folder.files)[0]
    data = bytearray(bench.folder.files[name])
    at = data.index(badge_record(3))
    data[at + 2] ^= 1
    bench.folder.files[name] = bytes(data)
    assert bench.seqs() == [1, 2]
    bench.ack(1)
    assert bench.seqs() == []
    bench.ack(2)
    ((channel, hello),) = bench.hear()
    assert channel == topics.HELLO
    assert (hello.oldest_seq, hello.next_seq) == (4, 7)
    bench.ack(3)
    assert bench.seqs() == [4, 5, 6]
    bench.ack(6)
    assert bench.uplink.is_all_committed()


def test_a_gap_that_the_gateway_does_not_accept_is_no_storm():
    bench = ready(2)
    name = sorted(bench.folder.files)[0]
    data = bytearray(bench.folder.files[name])
    data[14] ^= 1
    bench.folder.files[name] = bytes(data)
    assert bench.seqs() == ["hello"]
    for _ in range(5):
        bench.ack(0)
        assert bench.seqs() == []
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]


def test_the_newest_grant_is_kept_and_said_in_the_next_hello():
    bench = ready(0)
    assert not bench.uplink.is_grant_heard
    topic = topics.build(CLINIC, PEN, topics.GRANT)
    bench.uplink.feed(publish(topic, grant_message(issued=5)), 0)
    assert bench.uplink.is_grant_heard
    bench.uplink.feed(publish(topic, grant_message(issued=4)), 0)
    bench.uplink.feed(publish(topic, grant_message(issued=5)), 0)
    assert bench.grants == 1
    assert bench.limits.limit_um(BADGE_1) == 500
    bench.uplink.end()
    assert not bench.uplink.is_grant_heard
    bench.connect()
    assert bench.hear()[0][1].grant_utc_ms == 5


def test_an_alert_is_shown_once():
    bench = ready(0)
    for session, code in ((1, "A"), (1, "A"), (1, "B"), (2, "A"), (1, "A")):
        bench.say(topics.ALERT, conversation.encode_alert((session, code, 5, 500, 700)))
    assert [(alert.session, alert.code) for alert in bench.alerts] == [
        (1, "A"),
        (1, "B"),
        (2, "A"),
    ]


def test_a_dead_broker_is_found_within_30_seconds():
    bench = ready(1)
    with raises(mqtt.RemoteError):
        for _ in range(30):
            bench.now_ms += 1000
            bench.client.tick(bench.now_ms)
            bench.uplink.outbound(bench.now_ms)


def test_leave_taking():
    bench = ready(0)
    bench.uplink.disconnect()
    assert bench.uplink.outbound(bench.now_ms) == b"\xe0\x00"
