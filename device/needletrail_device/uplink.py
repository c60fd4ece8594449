"""The uplink: records go up in order, and are let go only when the gateway has committed them.

Strategy: go-back-n over MQTT. On each connection the uplink subscribes, says `hello`, and waits for
the gateway's `grant`, by which it has heard the hello, and for its `ack`, which tells where to go on.
Then up to WINDOW records are under way beyond the last acknowledged one. Silence asks by another
`hello`, ever more slowly, and repeats no record: within a connection all comes in order, so what the
gateway says next tells whether anything was lost. Only if it still stands where it stood, the window
is sent again. How long silence is depends on how long answers have taken: slow is not lost. Nothing
but a verified `ack` frees a record. When nothing is under way, a `hello` every five minutes says that
the pen is well; one without an answer is silence like any other.

A breach need not wait behind a backlog: a copy of its record goes ahead of it, as `urgent`, and the
record itself follows in its turn.

If a record is damaged in flash, what is before it is sent first; a new `hello` with the next readable
record as `oldest_seq` then tells the gateway about the gap.

What comes down is verified before it is looked at: what fails is counted in `refused` and ignored.
`outbound` makes one record at most, so that whoever calls it is never kept for long, and what comes
down (an alert) never waits for more than one record of a backlog. Bytes in, bytes out, time passed
in: sockets and tasks are connection's. Not here: what a record says.
"""

from needletrail_device import FIRMWARE, mqtt
from needletrail_device.envelope import Sealer, unseal
from needletrail_protocol import authentication, conversation, topics
from needletrail_protocol.errors import ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

WINDOW = 16
UNACKNOWLEDGED_MAX = 64  # publishes that the broker has not even received
SILENCE_MS = 1500  # or twice what an answer took, if that is more
SILENCE_MAX_MS = 8000
HELLO_AGAIN_MS = 300_000  # so that the gateway knows that a pen at rest is well
ANSWER_MAX_MS = 12_000  # if an answer took longer, the network was not why
ACKS_ALONE = 5  # a gateway that can not make a grant takes records all the same
ALERTS_REMEMBERED = 32


class Uplink:
    """The pen's side of the conversation with the gateway, over any number of connections.

    identity: an object with clinic, pen, broker_username, broker_password.
    maybe_sent_seq: records up to here may have been sent by an earlier power-on.
    tell: called with an event's name and pairs for whoever watches the pen.
    on_alert: called with session and code of each new verified alert.
    on_grant: called when a newer grant is in force.
    config_crc: CRC-32 of pen.json's bytes. vitals: gives (ms since boot, UTC in ms, the
    battery's charge in %), each or None.

    `is_ready`: the gateway has answered this connection's hello. `is_grant_heard`: it has sent a
    grant on this connection, newer or not; it does for each hello. `connection` counts attempts
    since boot.
    """

    def __init__(
        self,
        identity: "Any",
        key: "Any",
        journal: "Any",
        maybe_sent_seq: int,
        limits: "Any",
        tell: "Callable[..., None]",
        on_alert: "Callable[[int, str], None]",
        on_grant: "Callable[[], None]",
        config_crc: int = 0,
        vitals: "Callable[[], tuple[int | None, int | None, int | None]] | None" = None,
    ) -> None:
        self._identity = identity
        self._key = key
        self._journal = journal
        self._limits = limits
        self._tell = tell
        self._on_alert = on_alert
        self._on_grant = on_grant
        self._config_crc = config_crc
        self._vitals = vitals
        self._prefix = topics.build(identity.clinic, identity.pen, topics.ACK)[: -len(topics.ACK)]
        self._external: "dict[str, bytes]" = {}  # of the channels that are used all the time
        for channel in (topics.RECORD, topics.ACK):
            self._external[channel] = self._make_external(channel)
        self._sealer = Sealer(key)
        self._client: "Any" = None
        self._alerts: "list[tuple[int, str]]" = []
        self._sent_high = maybe_sent_seq  # no ack above this can be true
        self._connection_high = 0  # the highest record sent on this connection
        self._urged_seq = 0  # the record of which a copy went ahead on this connection
        self._repeats = 0  # what was sent again, whose answers do not advance
        self._acks = 0  # heard before records could be sent
        self.is_ready = self.is_grant_heard = False
        self.connection = 0
        self.refused = 0
        self.acked_seq = 0  # where the gateway stands, by its answer on this connection
        self._next_seq = 1  # the next record to send
        self._progress_ms = 0
        self._silences = 0
        self._gap_ms = self._go_back_ms = self._repeat_ms = -SILENCE_MS
        self._patience_ms = SILENCE_MS  # twice what an answer takes here
        self._timed_seq = 0  # the record whose answer is awaited to know that; -1 a hello, 0 none
        self._timed_ms = 0

    # ---- a connection's life ----

    def connect(self, now_ms: int, lane: int = 0) -> "Any":
        """A client for a stream that was opened: its CONNECT waits to be sent.

        `lane` tells clients apart that are there at the same time, so that the broker does not end
        one for the other.
        """
        identity = self._identity
        name = identity.clinic + "." + identity.pen
        if lane:
            name += "." + str(lane + 1)
        self.connection += 1
        payload = conversation.encode_will(self._journal.boot, self.connection)
        message = bytearray(self._sealer.length(payload))
        self._sealer.seal(message, 0, self._make_external(topics.WILL), payload)
        will = (self._prefix + topics.WILL, bytes(message))
        client = mqtt.Client(name, identity.broker_username, identity.broker_password, now_ms, will)
        client.number = self.connection
        return client

    def begin(self, client: "Any", now_ms: int) -> None:
        """The broker has accepted this client: the conversation goes on with it."""
        self._client = client
        self.is_ready = self.is_grant_heard = False
        self._connection_high = self._repeats = self._silences = 0
        self._timed_seq = self._urged_seq = self._acks = 0
        self._tell("connected")
        client.subscribe([self._prefix + channel for channel in topics.DOWNWARD])
        self._say_hello(self._journal.oldest_seq(), now_ms)

    def end(self) -> None:
        """The connection is gone, for whatever reason."""
        self._client = None
        self.is_ready = self.is_grant_heard = False

    def disconnect(self) -> None:
        """Take leave of the broker; fetch the bytes with outbound."""
        if self._client is not None:
            self.is_ready = False
            self._client.disconnect()

    def feed(self, data: bytes, now_ms: int) -> None:
        """Bytes from the broker. mqtt.RemoteError if they are none of MQTT's."""
        if self._client is None:
            raise ValueError("no connection")
        for event in self._client.feed_bytes(data, now_ms):
            if event[0] == mqtt.MESSAGE:
                self._hear(event[1], event[2], now_ms)

    def outbound(self, now_ms: int) -> bytes:
        """Bytes for the broker, with one record at most."""
        client = self._client
        if client is None:
            return b""
        self._listen_to_silence(now_ms)
        if self.is_ready and len(client.awaited) < UNACKNOWLEDGED_MAX:
            urgent = self._journal.urgent
            if urgent is not None and urgent[0] > max(self._next_seq, self._urged_seq):
                self._urged_seq = urgent[0]
                self._publish(topics.URGENT, urgent[1])
            elif self._next_seq < self._journal.next_seq and self._next_seq <= self.acked_seq + WINDOW:
                self._send_next(now_ms)
        return client.outbound(now_ms)

    def is_online(self) -> bool:
        """True if the gateway answers, as far as it was asked."""
        return self.is_ready and self._silences < 2

    def is_all_committed(self) -> bool:
        """True if the gateway has acknowledged every record of the journal."""
        return self._journal.durable_seq == self._journal.next_seq - 1

    # ---- up ----

    def _make_external(self, channel: str) -> bytes:
        return authentication.external_data(self._prefix + channel, self._identity.pen, self._key.epoch)

    def _publish(self, channel: str, payload: bytes) -> None:
        external = self._external.get(channel) or self._make_external(channel)
        client = self._client
        at = client.publish(self._prefix + channel, self._sealer.length(payload))
        self._sealer.seal(client.out, at, external, payload)

    def _say_hello(self, oldest_seq: int, now_ms: int) -> None:
        journal = self._journal
        self._progress_ms = now_ms
        self._repeats += 1
        self._repeat_ms = now_ms
        if self._acks and not self.is_ready:
            self._timed_seq = 0  # nobody has heard the ones before
        self._time(-1, now_ms)
        fields = (
            oldest_seq,
            journal.next_seq,
            journal.boot,
            FIRMWARE,
            self._limits.issued_utc_ms,
            self._config_crc,
            self._client.number,
        ) + (self._vitals() if self._vitals else (None, None, None))
        self._publish(topics.HELLO, conversation.encode_hello(fields))

    def _send_next(self, now_ms: int) -> None:
        """Send the next record, unless it is damaged in flash: then tell the gateway, in time."""
        journal = self._journal
        seq = self._next_seq
        found = journal.read(seq)
        if found is not None and found[0] == seq:
            if seq == self.acked_seq + 1:
                self._progress_ms = now_ms
            if seq <= self._connection_high:
                self._repeats += 1
                self._repeat_ms = now_ms
            else:
                self._connection_high = seq
                self._sent_high = max(self._sent_high, seq)
                self._time(seq, now_ms)
            self._next_seq = seq + 1
            self._publish(topics.RECORD, found[1])
        elif self.acked_seq == seq - 1 and now_ms - self._gap_ms >= self._patience_ms:
            readable_seq = journal.next_seq if found is None else found[0]
            self._gap_ms = now_ms
            self._sent_high = max(self._sent_high, readable_seq - 1)
            self._say_hello(readable_seq, now_ms)

    def _listen_to_silence(self, now_ms: int) -> None:
        if self.is_ready and self._next_seq == self.acked_seq + 1 and self._timed_seq >= 0:
            if now_ms - self._repeat_ms >= HELLO_AGAIN_MS:
                self._say_hello(self._journal.oldest_seq(), now_ms)
            return  # nothing is under way
        longest_ms = max(self._patience_ms, SILENCE_MAX_MS)
        if now_ms - self._progress_ms >= min(self._patience_ms << min(self._silences, 3), longest_ms):
            self._silences += 1
            self._say_hello(self._journal.oldest_seq(), now_ms)

    def _time(self, seq: int, now_ms: int) -> None:
        """Measure how long the answer to this takes, if nothing is being measured."""
        if not self._timed_seq:
            self._timed_seq = seq
            self._timed_ms = now_ms

    # ---- down ----

    def _hear(self, topic: str, message: bytes, now_ms: int) -> None:
        try:
            if topic == self._prefix + topics.ACK:
                payload = unseal(self._key, self._external[topics.ACK], message)
                self._hear_ack(conversation.ack_fields(payload)[0], now_ms)
            elif topic == self._prefix + topics.GRANT:
                self.is_grant_heard = True  # a grant that can not be used is an answer all the same
                self._begin_records(now_ms)
                if self._limits.offer(message):
                    self._on_grant()
            elif topic == self._prefix + topics.ALERT:
                payload = unseal(self._key, self._make_external(topics.ALERT), message)
                self._hear_alert(conversation.alert_fields(payload))
            else:
                self.refused += 1
        except ProtocolError as error:
            self.refused += 1
            self._tell("refused", ("reason", error.reason))

    def _hear_ack(self, seq: int, now_ms: int) -> None:
        if seq > self._sent_high:
            self.refused += 1
            if seq >= self._journal.next_seq:  # the gateway has what this flash has lost
                self._tell("ack_beyond_journal", ("seq", seq), ("next", self._journal.next_seq))
            return
        self._journal.acknowledge(seq)
        if not self.is_ready:
            self.acked_seq = seq
            self._next_seq = seq + 1
            self._acks += 1
            self._silences = 0  # the gateway is there; if it has not heard the hello: soon again
            self._begin_records(now_ms)
            return
        if self._timed_seq and seq >= self._timed_seq:
            self._measure(now_ms)
        if seq > self.acked_seq:
            self.acked_seq = seq
            self._next_seq = max(self._next_seq, seq + 1)
            self._progress_ms = now_ms
            self._silences = 0
        elif self._silences:  # the answer to what was asked, and all that went before it is lost
            self._go_back(seq, now_ms)
        elif seq == self.acked_seq and self._next_seq > seq + 1:
            if self._repeats and now_ms - self._repeat_ms < self._patience_ms:
                self._repeats -= 1  # the answer to something that was sent twice
            elif now_ms - self._go_back_ms >= self._patience_ms // 2:
                self._go_back(seq, now_ms)

    def _begin_records(self, now_ms: int) -> None:
        """Records may be sent when the hello was answered, by ack and grant; or by acks alone."""
        is_answered = self._acks and self.is_grant_heard or self._acks == ACKS_ALONE
        if is_answered and not self.is_ready:
            self.is_ready = True
            self._measure(now_ms)
            self._repeats -= 1  # this was the answer to one hello
            self._silences = 0
            self._progress_ms = now_ms
            self._tell("ready")

    def _measure(self, now_ms: int) -> None:
        self._patience_ms = max(2 * min(now_ms - self._timed_ms, ANSWER_MAX_MS), SILENCE_MS)
        self._timed_seq = 0

    def _go_back(self, seq: int, now_ms: int) -> None:
        """What was sent after `seq` is lost: send it again."""
        self.acked_seq = seq
        self._next_seq = seq + 1
        self._silences = self._timed_seq = self._urged_seq = 0
        self._go_back_ms = self._progress_ms = now_ms

    def _hear_alert(self, alert: "list[Any]") -> None:
        name = (alert[0], alert[1])
        if name in self._alerts:
            return
        if len(self._alerts) == ALERTS_REMEMBERED:
            self._alerts.pop(0)
        self._alerts.append(name)
        self._on_alert(name[0], name[1])
