"""The uplink: records go up in order, and are let go only when the gateway has committed them.

Strategy: go-back-n over MQTT. On each connection the uplink subscribes, says `hello`, and waits for
the gateway's `ack`, which tells where to go on. Then up to WINDOW records are under way beyond the
last acknowledged one. An acknowledgement that does not advance while records are under way, or two
seconds of silence, sends the window again from its beginning; repeated silence waits longer, and
after the second one asks by another `hello`. Nothing but a verified `ack` frees a record.

If a record is damaged in flash, what is before it is sent first; a new `hello` with the next readable
record as `oldest_seq` then tells the gateway about the gap.

What comes down is verified before it is looked at: what fails is counted in `refused` and ignored.
Bytes in, bytes out, time passed in: sockets and tasks are main's. Not here: what a record says.
"""

from needletrail_device import FIRMWARE, mqtt
from needletrail_device.envelope import unseal
from needletrail_protocol import authentication, conversation, topics
from needletrail_protocol.errors import ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

WINDOW = 16
OUTBOUND_MAX = 2048  # stop making messages while this much waits for the network
UNACKNOWLEDGED_MAX = 64  # publishes that the broker has not even received
SILENCE_MS = 2000
SILENCE_MAX_MS = 8000
GO_BACK_EVERY_MS = 200  # an acknowledgement repeated within this time sends nothing again
ALERTS_REMEMBERED = 32

RETRY_FIRST_MS = 250
RETRY_MAX_MS = 4000


def retry_delay_ms(failures: int, chance: float) -> int:
    """How long to wait before connecting again: doubling, and between half and all of it.

    `chance` is 0 to 1, from the owner's randomness.
    """
    delay_ms = RETRY_FIRST_MS
    for _ in range(failures):
        if delay_ms >= RETRY_MAX_MS:
            break
        delay_ms *= 2
    delay_ms = min(delay_ms, RETRY_MAX_MS)
    return delay_ms // 2 + int(chance * (delay_ms - delay_ms // 2))


class Uplink:
    """The pen's side of the conversation with the gateway, over any number of connections.

    identity: an object with clinic, pen, broker_username, broker_password.
    maybe_sent_seq: records up to here may have been sent by an earlier power-on.
    tell: called with an event's name and pairs for whoever watches the pen.
    on_alert: called with each new verified alert.
    on_grant: called when a newer grant is in force.

    `is_ready`: the gateway has answered this connection's hello. `is_grant_heard`: it has sent a
    grant on this connection, newer or not.
    """

    def __init__(
        self,
        identity: "Any",
        key: "Any",
        journal: "Any",
        maybe_sent_seq: int,
        limits: "Any",
        tell: "Callable[..., None]",
        on_alert: "Callable[[Any], None]",
        on_grant: "Callable[[], None]",
    ) -> None:
        self._identity = identity
        self._key = key
        self._journal = journal
        self._limits = limits
        self._tell = tell
        self._on_alert = on_alert
        self._on_grant = on_grant
        self._topics: "dict[str, str]" = {}
        self._external: "dict[str, bytes]" = {}
        for channel in topics.CHANNELS:
            topic = topics.build(identity.clinic, identity.pen, channel)
            self._topics[channel] = topic
            self._external[channel] = authentication.external_data(topic, identity.pen, key.epoch)
        self._client: "Any" = None
        self._alerts: "list[tuple[int, str]]" = []
        self._sent_high = maybe_sent_seq  # no ack above this can be true
        self._connection_high = 0  # the highest record sent on this connection
        self._repeats = 0  # records sent again, whose answers do not advance
        self.is_ready = self.is_grant_heard = self._is_told_ready = False
        self.refused = 0
        self.acked_seq = 0  # where the gateway stands, by its answer on this connection
        self._next_seq = 1  # the next record to send
        self._progress_ms = 0
        self._silences = 0
        self._gap_ms = self._go_back_ms = self._repeat_ms = -SILENCE_MS

    # ---- a connection's life ----

    def begin(self, now_ms: int) -> None:
        """A connection to the broker is there."""
        identity = self._identity
        self._client = mqtt.Client(
            identity.clinic + "." + identity.pen,
            identity.broker_username,
            identity.broker_password,
            now_ms,
        )
        self.is_ready = self.is_grant_heard = self._is_told_ready = False
        self._connection_high = self._repeats = self._silences = 0
        self._progress_ms = now_ms

    def end(self) -> None:
        """The connection is gone, for whatever reason."""
        self._client = None
        self.is_ready = self.is_grant_heard = False

    def disconnect(self) -> None:
        """Take leave of the broker; fetch the bytes with outbound."""
        if self._client is not None and self._client.is_connected:
            self.is_ready = False
            self._client.disconnect()

    def feed(self, data: bytes, now_ms: int) -> None:
        """Bytes from the broker. mqtt.RemoteError if they are none of MQTT's."""
        if self._client is None:
            raise ValueError("no connection")
        for event in self._client.feed_bytes(data, now_ms):
            if event[0] == mqtt.CONNECTED:
                self._tell("connected")
                self._client.subscribe([self._topics[channel] for channel in topics.DOWNWARD])
                self._say_hello(self._journal.oldest_seq(), now_ms)
            elif event[0] == mqtt.MESSAGE:
                self._hear(event[1], event[2], now_ms)

    def outbound(self, now_ms: int) -> bytes:
        """Bytes for the broker. mqtt.RemoteError if the connection is dead."""
        client = self._client
        if client is None:
            return b""
        client.tick(now_ms)
        if client.is_connected:
            self._listen_to_silence(now_ms)
        while self.is_ready and self._may_send(client) and self._send_next(now_ms):
            pass
        return client.take_outbound(now_ms)

    def is_all_committed(self) -> bool:
        """True if the gateway has acknowledged every record of the journal."""
        return self._journal.durable_seq == self._journal.next_seq - 1

    # ---- up ----

    def _publish(self, channel: str, payload: bytes) -> None:
        sealed = authentication.seal(self._key, self._external[channel], payload)
        self._client.publish(self._topics[channel], sealed)

    def _say_hello(self, oldest_seq: int, now_ms: int) -> None:
        journal = self._journal
        self.is_ready = False
        self._progress_ms = now_ms
        fields = (
            oldest_seq,
            journal.next_seq,
            journal.boot,
            FIRMWARE,
            self._limits.issued_utc_ms,
        )
        self._publish(topics.HELLO, conversation.encode_hello(fields))

    def _may_send(self, client: "Any") -> bool:
        return (
            self._next_seq < self._journal.next_seq
            and self._next_seq <= self.acked_seq + WINDOW
            and client.outbound_length() < OUTBOUND_MAX
            and client.unacknowledged < UNACKNOWLEDGED_MAX
        )

    def _send_next(self, now_ms: int) -> bool:
        """Send the next record. False if that has to wait: the record is damaged in flash."""
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
            self._next_seq = seq + 1
            self._publish(topics.RECORD, found[1])
            return True
        if self.acked_seq == seq - 1 and now_ms - self._gap_ms >= SILENCE_MS:
            readable_seq = journal.next_seq if found is None else found[0]
            self._gap_ms = now_ms
            self._sent_high = max(self._sent_high, readable_seq - 1)
            self._say_hello(readable_seq, now_ms)
        return False

    def _listen_to_silence(self, now_ms: int) -> None:
        if self.is_ready and self._next_seq == self.acked_seq + 1:
            return  # nothing is under way
        patience_ms = min(SILENCE_MS << min(self._silences, 4), SILENCE_MAX_MS)
        if now_ms - self._progress_ms < patience_ms:
            return
        self._silences += 1
        if self.is_ready and self._silences == 1:
            self._progress_ms = now_ms
            self._next_seq = self.acked_seq + 1
        else:
            self._say_hello(self._journal.oldest_seq(), now_ms)

    # ---- down ----

    def _hear(self, topic: str, message: bytes, now_ms: int) -> None:
        try:
            if topic == self._topics[topics.ACK]:
                self._hear_ack(self._unseal(topics.ACK, message), now_ms)
            elif topic == self._topics[topics.GRANT]:
                if self._limits.offer(message):
                    self._on_grant()
                self.is_grant_heard = True
            elif topic == self._topics[topics.ALERT]:
                self._hear_alert(self._unseal(topics.ALERT, message))
            else:
                self.refused += 1
        except ProtocolError as error:
            self.refused += 1
            self._tell("refused", ("reason", error.reason))

    def _unseal(self, channel: str, message: bytes) -> bytes:
        return unseal(self._key, self._external[channel], message)

    def _hear_ack(self, payload: bytes, now_ms: int) -> None:
        seq = conversation.decode_ack(payload).seq
        if seq > self._sent_high:
            self.refused += 1
            if seq >= self._journal.next_seq:  # the gateway has what this flash has lost
                self._tell("ack_beyond_journal", ("seq", seq), ("next", self._journal.next_seq))
            return
        self._journal.acknowledge(seq)
        if not self.is_ready:
            self.is_ready = True
            self.acked_seq = seq
            self._next_seq = seq + 1
            self._repeats = 0
            self._progress_ms = now_ms
            if not self._is_told_ready:
                self._is_told_ready = True
                self._tell("ready")
        elif seq > self.acked_seq:
            self.acked_seq = seq
            self._next_seq = max(self._next_seq, seq + 1)
            self._progress_ms = now_ms
            self._silences = 0
        elif seq == self.acked_seq and self._next_seq > seq + 1:
            if self._repeats and now_ms - self._repeat_ms < SILENCE_MS:
                self._repeats -= 1  # the answer to something that was sent twice
            elif now_ms - self._go_back_ms >= GO_BACK_EVERY_MS:
                self._go_back_ms = now_ms
                self._next_seq = seq + 1

    def _hear_alert(self, payload: bytes) -> None:
        alert = conversation.decode_alert(payload)
        name = (alert.session, alert.code)
        if name in self._alerts:
            return
        if len(self._alerts) == ALERTS_REMEMBERED:
            self._alerts.pop(0)
        self._alerts.append(name)
        self._on_alert(alert)
