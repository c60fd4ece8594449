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
from needletrail_device.envelope import Sealer
from needletrail_device.journal import Journal
from needletrail_device.limits import Limits
from needletrail_device.uplink import Uplink
from needletrail_protocol import authentication, conversation, messages, topics
from needletrail_protocol.readings import decode_record

W = uplink.WINDOW


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
            lambda *alert: self.alerts.append(alert),
            self.count_grant,
            0xFEDCBA98,
            lambda: (self.now_ms, self.utc_ms, 87),
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

    def grant(self, issued=1):
        topic = topics.build(CLINIC, PEN, topics.GRANT)
        self.uplink.feed(publish(topic, grant_message(issued=issued)), self.now_ms)

    def answer(self, seq):
        """As the gateway answers a hello: a grant at once, and after the commit an ack."""
        self.grant()
        self.ack(seq)


def ready(records, acked=0, **rest):
    bench = Bench(records, **rest)
    bench.connect()
    assert bench.seqs() == ["hello"]
    bench.answer(acked)
    assert bench.uplink.is_ready
    return bench


def test_hello_comes_first_and_records_wait_for_its_answer():
    bench = Bench(3)
    bench.connect()
    ((channel, hello),) = bench.hear()
    assert channel == topics.HELLO
    assert (hello.oldest_seq, hello.next_seq, hello.boot) == (1, 4, 1)
    assert hello.grant_utc_ms is None
    assert (hello.config, hello.connection) == (0xFEDCBA98, 1)
    assert (hello.t_ms, hello.utc_ms, hello.battery_percent) == (bench.now_ms, None, 87)
    for name in (topics.ACK, topics.GRANT, topics.ALERT):
        assert topics.build(CLINIC, PEN, name).encode() in bench.subscription
    assert bench.seqs() == []
    assert bench.told == ["connected"]
    bench.answer(0)
    assert bench.told == ["connected", "ready"]
    assert bench.seqs() == [1, 2, 3]
    assert not bench.uplink.is_all_committed()
    bench.ack(3)
    assert bench.uplink.is_all_committed()
    bench.write(1)
    assert bench.seqs() == [4]


def test_no_more_than_the_window_is_under_way():
    bench = ready(2 * W)
    assert bench.seqs() == list(range(1, W + 1))
    assert bench.seqs() == []
    bench.ack(1)
    assert bench.seqs() == [W + 1]
    bench.ack(10)
    assert bench.seqs() == list(range(W + 2, W + 11))


def test_only_an_ack_frees_a_record():
    bench = ready(5)
    bench.seqs()  # each has had its PUBACK
    assert bench.journal.durable_seq == 0
    bench.ack(2)
    assert bench.journal.durable_seq == 2


def test_silence_asks_and_repeats_nothing_until_there_is_an_answer():
    bench = ready(3)
    assert bench.seqs() == [1, 2, 3]
    bench.now_ms += uplink.SILENCE_MS - 1
    assert bench.seqs() == []
    bench.now_ms += 1
    assert bench.seqs() == ["hello"]
    assert bench.uplink.is_online()
    bench.now_ms += 2 * uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]
    assert bench.uplink.is_ready and not bench.uplink.is_online()
    bench.answer(3)
    assert bench.uplink.is_online()
    assert bench.seqs() == [], "they had all arrived"
    bench.now_ms += 5 * uplink.SILENCE_MS
    bench.write(1)
    assert bench.seqs() == [4], "silence is counted from when something is under way"
    bench.now_ms += 6 * uplink.SILENCE_MS - 1
    assert bench.seqs() == [], "the last answer took three times as long as silence is short"
    bench.now_ms += 1
    assert bench.seqs() == ["hello"]
    assert bench.told.count("ready") == 1


def test_what_the_gateway_has_not_heard_is_sent_again_as_soon_as_it_says_so():
    for answered in (0, 2):
        bench = ready(3)
        bench.seqs()
        bench.now_ms += uplink.SILENCE_MS
        assert bench.seqs() == ["hello"]
        bench.answer(answered)
        if answered:  # it goes on: what is still missing may be under way
            assert bench.seqs() == []
            bench.now_ms += 2 * uplink.SILENCE_MS
            assert bench.seqs() == ["hello"]
            bench.answer(answered)
        assert bench.seqs() == list(range(answered + 1, 4))
        bench.ack(3)
        assert bench.uplink.is_all_committed()


def test_new_records_are_sent_while_an_answer_is_awaited():
    bench = ready(3)
    bench.seqs()
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]
    bench.write(1)
    assert bench.seqs() == [4]
    bench.answer(4)
    assert bench.uplink.is_all_committed() and bench.seqs() == []


def test_a_gateway_that_lost_the_newest_of_its_ledger_gets_it_again():
    bench = ready(6)
    bench.seqs()
    bench.ack(4)
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]
    bench.answer(2)
    assert bench.seqs() == [3, 4, 5, 6]
    assert bench.journal.durable_seq == 4


def test_a_gateway_that_was_away_at_the_hello_hears_it_before_any_record():
    bench = Bench(3)
    bench.connect()
    assert bench.seqs() == ["hello"]
    bench.now_ms += 20_000  # one hello after another is lost
    assert bench.seqs() == ["hello"]
    bench.now_ms += 100
    bench.ack(0)  # what a gateway says to all when it is back; it has not heard this connection's hello
    assert bench.seqs() == [] and bench.told == ["connected"] and not bench.uplink.is_ready
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"], "and not ever more slowly: somebody is there"
    bench.answer(0)
    assert bench.told == ["connected", "ready"]
    assert bench.seqs() == [1, 2, 3]
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"], "nor did the time when it was away make the pen patient"


def test_an_ack_before_the_grant_is_as_good():
    bench = Bench(3, 1)
    bench.connect()
    bench.seqs()
    bench.ack(1)
    assert bench.seqs() == []
    bench.grant()
    assert bench.seqs() == [2, 3]


def test_a_gateway_that_can_make_no_grant_gets_the_records():
    bench = Bench(2)
    bench.connect()
    for _ in range(uplink.ACKS_ALONE):
        assert bench.seqs() == ["hello"]
        bench.ack(0)
        bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == [1, 2]


def test_a_grant_that_can_not_be_used_is_an_answer_all_the_same():
    bench = Bench(1)
    bench.connect()
    bench.seqs()
    bench.say(topics.GRANT, b"\x80")
    assert bench.uplink.refused == 1
    bench.ack(0)
    assert bench.seqs() == [1]


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
    bench = ready(2 * W)
    assert bench.seqs() == list(range(1, W + 1))
    bench.ack(0)
    assert bench.seqs() == list(range(1, W + 1)), "a gap was reported"
    for seq in range(1, W + 1):
        bench.ack(seq)
    assert bench.seqs() == list(range(W + 1, 2 * W + 1))
    bench.now_ms += uplink.SILENCE_MS // 2
    for _ in range(W):  # the gateway had each of the first ones twice
        bench.ack(W)
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
    bench = ready(3 * W)
    bench.seqs()
    bench.ack(W + 1)
    assert (bench.journal.durable_seq, bench.uplink.refused) == (0, 1)
    bench.ack(3 * W)
    assert bench.journal.durable_seq == 0
    assert bench.told == ["connected", "ready"]
    bench.ack(3 * W + 1)
    assert bench.told[-1] == "ack_beyond_journal"
    bench.ack(W)
    assert bench.journal.durable_seq == W


def test_the_first_ack_too():
    bench = Bench(5, 3)
    bench.connect()
    bench.seqs()
    bench.grant()
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
    bench.answer(7)
    assert bench.seqs() == [8, 9, 10]
    bench.uplink.end()
    bench.connect()
    bench.seqs()
    bench.answer(6)  # the gateway's ledger was restored from a copy
    assert bench.seqs() == [7, 8, 9, 10]
    assert bench.journal.durable_seq == 7


def test_records_of_an_earlier_boot_are_sent_after_it():
    folder = MemoryFolder()
    ready(W + 14, folder=folder).journal.close()
    from needletrail_device.recovery import recover

    bench = Bench(folder=folder)
    recover(bench.journal)
    bench.write(1)
    bench.connect()
    bench.seqs()
    bench.answer(0)
    assert bench.seqs() == list(range(1, W + 1))
    bench.ack(W)
    assert bench.seqs() == list(range(W + 1, W + 16))


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
    bench = Bench()
    bench.connect()
    bench.seqs()
    assert not bench.uplink.is_grant_heard
    bench.grant(5)
    assert bench.uplink.is_grant_heard
    bench.grant(4)
    bench.grant(5)
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
    assert bench.alerts == [
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


def test_each_connection_has_its_number_in_hello_and_will():
    bench = ready(0)
    bench.uplink.connect(bench.now_ms, 1)  # a second lane, which came to nothing
    bench.utc_ms = 1_700_000_000_000
    bench.connect()
    ((_, hello),) = bench.hear()
    assert (hello.connection, hello.utc_ms) == (3, 1_700_000_000_000)
    topic = topics.build(CLINIC, PEN, topics.WILL).encode()
    packet = bench.connect_packet
    at = packet.index(topic) + len(topic) + 2
    _, payload, tag = authentication.open_envelope(packet[at:])
    authentication.verify(KEY, external(topics.WILL), payload, tag)
    will = conversation.decode_will(payload)
    assert (will.boot, will.connection) == (1, 3)


def test_lanes_have_client_ids_of_their_own():
    bench = Bench()
    for lane, name in ((0, b"harbor.pen-01"), (1, b"harbor.pen-01.2")):
        packet = bytes(bench.uplink.connect(0, lane).outbound(0))
        assert len(name).to_bytes(2, "big") + name in packet


def test_without_a_clock_the_hello_says_so():
    bench = Bench()
    bench.uplink._vitals = None
    bench.connect()
    ((_, hello),) = bench.hear()
    assert (hello.t_ms, hello.utc_ms, hello.battery_percent) == (None, None, None)


def test_one_call_makes_one_record():
    bench = ready(10)
    for seq in range(1, 11):
        data = bytes(bench.uplink.outbound(bench.now_ms))
        assert data[0] == 0x32 and badge_record(seq) in data
        assert data.count(b"harbor/pen-01/record") == 1


def test_what_is_sent_is_what_authentication_would_have_sealed():
    for length in (1, 23, 24, 100, 255, 256, 2000, 4000):
        payload = bytes([length & 255]) * length
        sealer = Sealer(KEY)
        out = bytearray(sealer.length(payload) + 5)
        sealer.seal(out, 5, external(topics.RECORD), payload)
        assert bytes(out[5:]) == authentication.seal(KEY, external(topics.RECORD), payload)
    with raises(ValueError):
        Sealer(KEY).length(bytes(authentication.MAX_MESSAGE_LENGTH))


def test_slow_answers_are_waited_for():
    bench = Bench(2 * W)
    bench.connect()
    bench.seqs()
    said = [bench.now_ms]
    for _ in range(100):
        bench.now_ms += 100
        if bench.seqs():
            said.append(bench.now_ms)
    assert len(said) > 2
    for _ in said:  # each hello has its answer, ten seconds after it
        bench.answer(0)
    assert bench.seqs() == list(range(1, W + 1)), "once"
    for _ in range(99):
        bench.now_ms += 100
        assert bench.seqs() == []
    bench.ack(W)
    assert bench.seqs() == list(range(W + 1, 2 * W + 1))


def test_a_network_that_becomes_slow_makes_nothing_be_sent_twice():
    bench = ready(W)
    assert bench.seqs() == list(range(1, W + 1))
    answers = []  # (when it arrives, up to which record)
    seen = []
    for _ in range(400):
        bench.now_ms += 100
        if bench.now_ms % 700 == 0 and bench.journal.next_seq < 3 * W:
            bench.write(1)
        for seq in bench.seqs():
            seen.append(seq)
            heard = max([W] + [one for one in seen if one != "hello"])
            answers.append((bench.now_ms + 10_000, heard, seq == "hello"))
        while answers and answers[0][0] <= bench.now_ms:
            _, seq, is_hello = answers.pop(0)
            if is_hello:
                bench.grant()
            bench.ack(seq)
        if bench.now_ms == 11_000:
            bench.ack(W)  # the answers to the first ones, ten seconds after them
    records = [seq for seq in seen if seq != "hello"]
    assert records == list(range(W + 1, 3 * W)) and "hello" in seen
    assert bench.uplink.is_all_committed()


def test_patience_returns_when_answers_are_quick_again():
    bench = Bench(1)
    bench.connect()
    bench.seqs()
    bench.now_ms += 10_000
    bench.seqs()
    bench.answer(0)
    bench.seqs()
    bench.now_ms += 10_000
    assert bench.seqs() == [], "twice the time of an answer is not over"
    bench.ack(1)
    bench.write(1)
    assert bench.seqs() == [2]
    bench.ack(2)
    bench.write(1)
    assert bench.seqs() == [3]
    bench.now_ms += uplink.SILENCE_MS
    assert bench.seqs() == ["hello"]


def test_taking_leave_before_there_was_a_connection():
    bench = Bench()
    bench.uplink.disconnect()
    assert bench.uplink.outbound(0) == b""


def test_only_so_many_alerts_are_remembered():
    bench = ready(0)
    for session in range(1, uplink.ALERTS_REMEMBERED + 2):
        bench.say(topics.ALERT, conversation.encode_alert((session, "A", 5, 500, 700)))
    shown = len(bench.alerts)
    bench.say(topics.ALERT, conversation.encode_alert((2, "A", 5, 500, 700)))
    assert len(bench.alerts) == shown == uplink.ALERTS_REMEMBERED + 1
    bench.say(topics.ALERT, conversation.encode_alert((1, "A", 5, 500, 700)))
    assert len(bench.alerts) == shown + 1


def test_an_alert_arrives_between_two_records_of_a_backlog():
    bench = ready(4 * W)
    for seq in range(1, W):
        bench.uplink.outbound(bench.now_ms)
        if seq == 5:
            bench.say(topics.ALERT, conversation.encode_alert((1, "NOW", 5, 500, 700)))
            assert bench.alerts == [(1, "NOW")]


def test_a_breach_goes_ahead_of_the_backlog_and_follows_in_its_turn():
    bench = ready(3 * W)
    assert bench.seqs() == list(range(1, W + 1))
    seq = bench.journal.next_seq
    breach = messages.encode_record(messages.LOCAL_BREACH, (seq, 77, 3, 500, 700, None))
    bench.journal.append(breach)
    bench.journal.urgent = (seq, breach)
    ((channel, record),) = bench.hear()
    assert channel == topics.URGENT
    assert (record.kind, record.seq, record.session) == (messages.LOCAL_BREACH, seq, 3)
    assert bench.hear() == [], "once on a connection"
    bench.ack(seq)
    assert bench.journal.durable_seq == 0, "a copy does not make it sent: no such ack can be true"
    for acked in range(W, seq, W):
        bench.ack(acked)
        sent = bench.hear()
    assert sent[-1][0] == topics.RECORD and sent[-1][1].seq == seq
    bench.ack(seq)
    assert bench.uplink.is_all_committed()


def test_a_breach_that_is_next_needs_no_copy_and_a_new_connection_makes_one_again():
    bench = ready(0)
    for _ in range(2):
        seq = bench.journal.next_seq
        bench.write(1)
        bench.journal.urgent = (seq, badge_record(seq))
        assert [channel for channel, _ in bench.hear()] == [topics.RECORD]
        bench.ack(seq)
        assert bench.hear() == []
    bench.uplink.end()
    bench.write(2 * W)
    seq = bench.journal.next_seq - 1
    bench.journal.urgent = (seq, badge_record(seq))
    for _ in range(2):
        bench.connect()
        bench.hear()
        bench.answer(2)
        channels = [channel for channel, _ in bench.hear()]
        assert channels == [topics.URGENT] + W * [topics.RECORD]
        bench.uplink.end()


# ---- a pen at rest ----


def test_a_pen_at_rest_says_hello_every_five_minutes():
    bench = ready(2)
    assert bench.seqs() == [1, 2]
    bench.ack(2)
    for _ in range(3):
        bench.now_ms += uplink.HELLO_AGAIN_MS - 1
        assert bench.seqs() == []
        bench.now_ms += 1
        ((channel, hello),) = bench.hear()
        assert channel == topics.HELLO
        assert (hello.oldest_seq, hello.next_seq) == (1, 3)
        assert (hello.boot, hello.connection, hello.t_ms) == (1, 1, bench.now_ms)
        bench.now_ms += 40
        bench.answer(2)
        bench.now_ms -= 40
    assert bench.uplink.is_online()


def test_a_repeated_hello_does_not_hold_up_records_nor_repeat_any():
    bench = ready(1)
    assert bench.seqs() == [1]
    bench.ack(1)
    bench.now_ms += uplink.HELLO_AGAIN_MS
    assert bench.seqs() == ["hello"]
    bench.write(2)  # a session begins before the answer is there
    assert bench.seqs() == [2, 3]
    bench.answer(1)  # that of the hello: nothing was lost
    assert bench.seqs() == []
    bench.ack(3)
    assert bench.seqs() == []
    assert bench.uplink.is_all_committed()


def test_in_a_session_a_hello_comes_between_two_records():
    bench = ready(0)
    hellos = []
    for seq in range(1, 320):  # a record a second, each acknowledged before the next
        bench.write(1)
        bench.now_ms += 1000
        found = bench.seqs()
        assert found in ([seq], ["hello", seq])
        if found != [seq]:
            hellos.append(seq)
        bench.ack(seq)
        assert bench.seqs() == []
    assert hellos == [uplink.HELLO_AGAIN_MS // 1000]


def test_a_gateway_that_no_longer_answers_a_pen_at_rest_is_offline():
    bench = ready(0)
    bench.now_ms += uplink.HELLO_AGAIN_MS
    assert bench.seqs() == ["hello"]
    count = 0
    for _ in range(20):
        bench.now_ms += 1000
        count += bench.seqs().count("hello")
    assert 3 <= count <= 6
    assert not bench.uplink.is_online()
    bench.answer(0)
    assert bench.uplink.is_online()
    bench.now_ms += uplink.HELLO_AGAIN_MS - 10_000
    assert bench.seqs() == []
