"""A pen's uplink and its lanes, a broker, a gateway, and a network that fails: all in simulated time.

Strategy: the real Journal, Uplink and Connection on one side; a broker and a gateway that keep to the
rules on the other; between them bytes that are counted. At byte `at` of the conversation, counted
over both directions and all connections, something happens (FAULTS); then the network is out for a
while in one of the ways of OUTAGES, and comes back. For both interpreters; no sockets, no waiting.
"""

from pen_fakes import CLINIC, KEY, PEN, MemoryFolder, badge_record, external, grant_message, sealed

from needletrail_device import mqtt
from needletrail_device.connection import Connection
from needletrail_device.journal import Journal
from needletrail_device.limits import Limits
from needletrail_device.uplink import Uplink
from needletrail_protocol import authentication, conversation, topics

FAULTS = ("reset", "close", "stall", "stall, then reset", "vanish", "slow")
OUTAGES = ("refused", "no answer", "swallowed")
LIVE_WITHIN_MS = 5000
BACKLOG = 6
LIVE_RECORDS = 6
LIVE_EVERY_MS = 400
LIMIT_MS = 150_000
TRAVEL_MS = 2
IDLE_MS = 50  # as often as run() looks
SLOW_MS = 5000


class Identity:
    clinic = CLINIC
    pen = PEN
    broker_username = "pen"
    broker_password = "secret"


class Gateway:
    """Verifies, keeps what comes in order, acknowledges."""

    def __init__(self):
        self.payloads = []
        self.conflicts = 0
        self.repeats = 0
        self.hellos = []
        self.wills = []

    def hear(self, topic, message):
        """Returns what it says: [(topic, message)]."""
        channel = topics.parse(topic)[2]
        epoch, payload, tag = authentication.open_envelope(message)
        assert epoch == KEY.epoch
        authentication.verify(KEY, external(channel), payload, tag)
        said = []
        if channel == topics.WILL:
            will = conversation.decode_will(payload)
            self.wills.append((will.boot, will.connection))
            return []
        if channel == topics.HELLO:
            hello = conversation.decode_hello(payload)
            assert hello.oldest_seq == 1
            self.hellos.append((hello.boot, hello.connection))
            said.append((topics.build(CLINIC, PEN, topics.GRANT), grant_message()))
        else:
            seq = int.from_bytes(payload[-4:], "big")  # badge_record's badge
            if seq <= len(self.payloads):
                self.repeats += 1
                self.conflicts += self.payloads[seq - 1] != payload
            elif seq == len(self.payloads) + 1:
                self.payloads.append(payload)
        ack = conversation.encode_ack(len(self.payloads), 1)
        return [sealed(topics.ACK, ack)] + said


def record(seq):
    return badge_record(seq, badge=b"tag" + seq.to_bytes(4, "big"))


class Side:
    """The broker's end of one connection."""

    def __init__(self, broker):
        self._broker = broker
        self._data = bytearray()
        self.out = bytearray()
        self.client_id = None
        self.will = None
        self.topics = []
        self.is_open = True
        self.unacknowledged = 0

    def feed(self, data):
        self._data += data
        while self.is_open:
            at, length, shift = 1, 0, 0
            while True:
                if at >= len(self._data):
                    return
                length |= (self._data[at] & 127) << shift
                shift += 7
                at += 1
                if self._data[at - 1] < 128:
                    break
            if len(self._data) < at + length:
                return
            first, body = self._data[0], bytes(self._data[at : at + length])
            self._data = self._data[at + length :]
            self._understand(first, body)

    def _understand(self, first, body):
        kind = first >> 4
        if self.client_id is None:
            assert first == 0x10 and body[:7] == b"\x00\x04MQTT\x04", "CONNECT comes first"
            assert body[7] == 0xCE, "user, password, a will at QoS 1, clean session"
            parts, at = [], 10
            while at < len(body):
                end = at + 2 + int.from_bytes(body[at : at + 2], "big")
                parts.append(body[at + 2 : end])
                at = end
            assert at == len(body) and len(parts) == 5
            self._broker.take_over(self, parts[0])
            self.will = (parts[1].decode(), parts[2])
            assert parts[3:] == [b"pen", b"secret"]
            self.out += b"\x20\x02\x00\x00"
        elif first == 0x82:
            at = 2
            while at < len(body):
                end = at + 2 + int.from_bytes(body[at : at + 2], "big")
                self.topics.append(body[at + 2 : end].decode())
                at = end + 1
            self.out += b"\x90\x05" + body[:2] + b"\x01\x01\x01"
        elif first == 0x32:
            end = 2 + int.from_bytes(body[:2], "big")
            self.out += b"\x40\x02" + body[end : end + 2]
            self._broker.route(body[2:end].decode(), body[end + 2 :])
        elif kind == 4:
            self.unacknowledged -= 1
        elif first == 0xC0:
            self.out += b"\xd0\x00"
        else:
            assert first == 0xE0, "nothing else comes from a pen"
            self.will = None
            self.end()

    def publish(self, topic, message):
        if self.is_open and topic in self.topics:
            self.unacknowledged += 1
            text = topic.encode()
            body = len(text).to_bytes(2, "big") + text + b"\x00\x07" + message
            length = len(body)
            head = bytearray([0x32])
            while length > 127:
                head.append(length & 127 | 128)
                length >>= 7
            head.append(length)
            self.out += head + body

    def end(self):
        """The broker sees that the connection is gone."""
        if self.is_open:
            self.is_open = False
            if self.will is not None:
                self._broker.route(self.will[0], self.will[1])


class Broker:
    def __init__(self, gateway):
        self.gateway = gateway
        self.sides = []

    def accept(self):
        side = Side(self)
        self.sides.append(side)
        return side

    def take_over(self, side, client_id):
        side.client_id = client_id
        for other in self.sides:
            if other is not side and other.client_id == client_id:
                other.end()

    def route(self, topic, message):
        for answer in self.gateway.hear(topic, message):
            for side in self.sides:
                side.publish(answer[0], answer[1])


class Wire:
    """A stream, as the network sees it. `up` and `down` hold (when it arrives, bytes)."""

    def __init__(self, lane):
        self.lane = lane
        self.side = None  # until it is connected
        self.up = []
        self.down = []
        self.is_swallowed = False
        self.is_closing = False  # what is on its way arrives, then the end


class Trial:
    """One conversation with one mishap, or with two.

    mishaps: [(byte, fault, outage, how long in ms)], in order. is_fragmented: single bytes arrive.
    """

    def __init__(self, mishaps=(), is_fragmented=False, seed=1):
        self.now_ms = 0
        self.seed = seed
        self.told = []
        self.gateway = Gateway()
        self.broker = Broker(self.gateway)
        folder = MemoryFolder()
        self.journal = Journal(folder, 400)
        self.journal.boot = 1
        self.written = []
        for _ in range(BACKLOG):
            self.write()
        self.uplink = Uplink(
            Identity(),
            KEY,
            self.journal,
            0,
            Limits(folder, KEY, external(topics.GRANT)),
            self.tell,
            None,
            self.heard_grant,
            1,
            lambda: (self.now_ms, None),
        )
        self.connection = Connection(self.uplink, None, None, self.tell, None)
        self.wires = []
        self.attempts = 0
        self.carried = 0
        self._mishaps = list(mishaps)
        self._is_fragmented = is_fragmented
        self._is_busy = False
        self._outage = None
        self._back_ms = -1
        self._resets = []  # wires that are cut when the network comes back
        self._delay_ms = TRAVEL_MS
        self._delay_from_ms = 0
        self.is_slow = False
        self.late_ms = []  # from the network's return until the pen was live again

    def tell(self, event, *pairs):
        self.told.append((self.now_ms, event) + tuple(pairs))

    def heard_grant(self):
        pass

    def chance(self):
        self.seed = (self.seed * 1103515245 + 12345) & 0x7FFFFFFF
        return self.seed / 0x80000000

    def write(self):
        payload = record(self.journal.next_seq)
        self.journal.append(payload)
        self.written.append(payload)

    # ---- the course of things ----

    def run(self):
        """Until everything is committed, live again and quiet. Checks what must hold."""
        next_ms = LIVE_EVERY_MS
        while not self.is_done():
            assert self.now_ms < LIMIT_MS, "not done after %d ms" % self.now_ms
            if self.now_ms >= next_ms and len(self.written) < BACKLOG + LIVE_RECORDS:
                next_ms += LIVE_EVERY_MS
                self.write()
            if self._outage is not None and self.now_ms >= self._back_ms:
                self._come_back()
            self._is_busy = False
            self._supervise()
            for wire in list(self.wires):
                self._serve(wire)
            if self._back_ms >= 0 and self._outage is None and self.is_live():
                self.late_ms.append(self.now_ms - self._back_ms)
                self._back_ms = -1
            self.now_ms += TRAVEL_MS if self._is_busy else IDLE_MS
        self.check()

    def is_done(self):
        return (
            len(self.written) == BACKLOG + LIVE_RECORDS
            and self.uplink.is_all_committed()
            and self._outage is None
            and self._back_ms < 0
        )

    def is_live(self):
        speaking = self.connection._speaking
        return self.uplink.is_ready and any(
            wire.lane is speaking and not wire.is_swallowed for wire in self.wires
        )

    def check(self):
        assert self.gateway.payloads == self.written, "every record once, in order, byte for byte"
        assert self.gateway.conflicts == 0
        assert self.journal.durable_seq == len(self.written)
        assert self.uplink.refused == 0
        connections = [hello[1] for hello in self.gateway.hellos]
        assert connections[0] >= 1 and self.gateway.hellos[-1][1] == max(connections)
        if not self.is_slow:
            assert all(late_ms <= LIVE_WITHIN_MS for late_ms in self.late_ms), self.late_ms

    def _supervise(self):
        lane = self.connection.supervise(self.now_ms, self.chance)
        if lane is not None:
            self.attempts += 1
            self.wires.append(Wire(lane))
        for wire in list(self.wires):
            if wire.lane not in self.connection.lanes:
                self._drop(wire)

    def _serve(self, wire):
        if wire.side is None:
            if self._outage == "refused":
                self.connection.lose(wire.lane, "refused")
            elif self._outage != "no answer":
                wire.side = self.broker.accept()
                wire.is_swallowed = self._outage == "swallowed"
                self.connection.opened(wire.lane, self.now_ms)
                self._is_busy = True
            return
        data = self.connection.outbound(wire.lane, self.now_ms)
        if data:
            wire.up.append((self._arrival_ms(), bytes(data)))
        if wire.side.out:
            wire.down.append((self._arrival_ms(), bytes(wire.side.out)))
            wire.side.out = bytearray()
        if wire.up or wire.down:
            self._is_busy = True
        if wire.is_swallowed:
            wire.up = []
            wire.down = []
        elif self._outage is None or wire.is_closing:
            self._carry(wire)
        if wire in self.wires and not wire.side.is_open and not wire.down:
            self._drop(wire)
            self.connection.lose(wire.lane, "closed by the broker")

    def _arrival_ms(self):
        return self.now_ms + self._delay_ms

    def _carry(self, wire):
        for is_up in (True, False):
            queue = wire.up if is_up else wire.down
            while queue and queue[0][0] <= self.now_ms and wire in self.wires:
                arrives_ms, data = queue.pop(0)
                before = data
                if self._mishaps:
                    before = data[: max(self._mishaps[0][0] - self.carried, 0)]
                self._deliver(wire, is_up, before)
                if wire not in self.wires:
                    return
                if len(before) < len(data) or (self._mishaps and self.carried == self._mishaps[0][0]):
                    if len(before) < len(data):
                        queue.insert(0, (arrives_ms, data[len(before) :]))
                    self._go_wrong(wire)
                    return
        if wire.is_closing and not wire.up and not wire.down:
            self._cut(wire)

    def _deliver(self, wire, is_up, data):
        self.carried += len(data)
        pieces = [data]
        if self._is_fragmented:
            pieces = [data[index : index + 1] for index in range(len(data))]
        for piece in pieces:
            if is_up:
                wire.side.feed(piece)
            elif wire.lane in self.connection.lanes:
                try:
                    self.connection.feed(wire.lane, piece, self.now_ms)
                except mqtt.RemoteError as error:
                    raise AssertionError("the pen did not understand the broker: " + str(error))

    # ---- mishaps ----

    def _go_wrong(self, wire):
        _, fault, outage, length_ms = self._mishaps.pop(0)
        if fault == "slow":
            self.is_slow = True
            self._delay_ms = SLOW_MS
            return
        self._outage = outage
        self._back_ms = self.now_ms + length_ms
        if fault == "reset":
            self._cut(wire)
        elif fault == "close":
            wire.is_closing = True
        elif fault == "stall, then reset":
            self._resets = list(self.wires)
        elif fault == "vanish":
            for one in self.wires:
                one.is_swallowed = True

    def _come_back(self):
        self._outage = None
        self._back_ms = self.now_ms
        for wire in self._resets:
            self._cut(wire)
        self._resets = []

    def _cut(self, wire):
        """Both ends see the end."""
        if wire in self.wires:
            self._drop(wire)
            self.connection.lose(wire.lane, "reset")
            if wire.side is not None:
                wire.side.end()

    def _drop(self, wire):
        """The pen has closed it, or it is gone. The broker learns it if the network can tell."""
        self.wires.remove(wire)
        if wire.side is not None and self._outage is None and not wire.is_swallowed:
            wire.side.end()


def conversation_length():
    """Bytes of an undisturbed conversation, both directions."""
    trial = Trial()
    trial.run()
    assert trial.attempts == 1 and trial.gateway.repeats == 0
    assert trial.gateway.wills == []
    return trial.carried


def mishap(at, kind):
    """The mishap number `kind` at byte `at`: fault, way of the outage and its length vary with it."""
    fault = FAULTS[kind % len(FAULTS)]
    outage = OUTAGES[kind // len(FAULTS) % len(OUTAGES)]
    return (at, fault, outage, (at * 7919 + kind * 104729) % 9000)


KINDS = len(FAULTS) * len(OUTAGES)
