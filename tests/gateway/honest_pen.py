"""A pen that keeps to the protocol: it seals what a test makes it do, and remembers all of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway_clinic import KEYS, NOW_UTC_MS

from needletrail_protocol import conversation, messages, topics
from needletrail_protocol.authentication import MacKey, external_data, open_envelope, seal

PERIOD_MS = 20
BATCH = 50


@dataclass(frozen=True)
class Sent:
    """A sealed message."""

    topic: str
    message: bytes

    @property
    def payload(self) -> bytes:
        return open_envelope(self.message)[1]


@dataclass
class HonestPen:
    """Every method seals one record (or hello), appends it to `sent`, and returns it."""

    pen_id: str = "pen-01"
    epoch: int = 1
    key: bytes = b""
    clinic: str = "harbor"
    seq: int = 0
    boots: int = 0
    connections: int = 0
    board: str = "esp32-s3"
    grant_utc_ms: int | None = NOW_UTC_MS
    session: int = 0
    t_ms: int = 0
    strokes: int = 0
    is_open: bool = False
    sent: list[Sent] = field(default_factory=list)

    def seal(self, channel: str, payload: bytes, key: bytes | None = None) -> Sent:
        """Any payload under this pen's key, or under another one."""
        topic = topics.build(self.clinic, self.pen_id, channel)
        mac_key = MacKey(key or self.key or KEYS[self.pen_id], self.epoch)
        return Sent(topic, seal(mac_key, external_data(topic, self.pen_id, self.epoch), payload))

    def _record(self, kind: int, *fields: object) -> Sent:
        payload = messages.encode_record(kind, (self._next(), self.t_ms, *fields))
        return self._send(payload)

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    def _send(self, payload: bytes) -> Sent:
        sent = self.seal(topics.RECORD, payload)
        self.sent.append(sent)
        return sent

    def raw(self, payload: bytes) -> Sent:
        """A record whose payload the test made; it takes the next number."""
        self.seq += 1
        return self._send(payload)

    def boot(self, utc_ms: int | None = NOW_UTC_MS) -> Sent:
        self.boots += 1
        self.connections = 0
        self.t_ms = 0
        self.is_open = False
        return self._record(messages.BOOT, self.boots, utc_ms, "test", self.board)

    def open(
        self,
        badge: bytes | None = None,
        cartridge: bytes | None = None,
        cause: int = messages.OPENED_BY_CARTRIDGE,
        lead: Sequence[int] = (),
    ) -> Sent:
        self.session += 1
        self.is_open = True
        self.t_ms += PERIOD_MS
        return self._record(
            messages.OPEN,
            self.session,
            cause,
            badge,
            cartridge,
            list(lead),
            self.strokes,
            self.grant_utc_ms,
        )

    def readings(
        self, depths_um: Sequence[int], contact: bool = True, motor: bool = True
    ) -> list[Sent]:
        """Readings at 50 Hz, a record for each 50 of them."""
        sent = []
        for at in range(0, len(depths_um), BATCH):
            dial = list(depths_um[at : at + BATCH])
            count = len(dial)
            times = [self.t_ms + PERIOD_MS * (index + 1) for index in range(count)]
            before = self.strokes
            strokes = [before + (2 * (index + 1) if motor else 0) for index in range(count)]
            payload = messages.encode_samples(
                self._next(),
                self.session,
                count,
                PERIOD_MS,
                times,
                dial,
                before,
                strokes,
                [contact] * count,
            )
            self.t_ms, self.strokes = times[-1], strokes[-1]
            sent.append(self._send(payload))
        return sent

    def work(self, depth_um: int, ms: int = 1000) -> list[Sent]:
        """Motor on, on skin, at one depth."""
        return self.readings([depth_um] * (ms // PERIOD_MS))

    def rest(self, ms: int = 400, depth_um: int = 0) -> list[Sent]:
        """Motor off, in the air."""
        return self.readings([depth_um] * (ms // PERIOD_MS), contact=False, motor=False)

    def badge(self, badge: bytes) -> Sent:
        return self._record(messages.BADGE, self.session, badge)

    def close(self, cause: int = messages.CLOSED_BY_REMOVAL) -> Sent:
        self.is_open = False
        return self._record(messages.CLOSE, self.session, cause, 0, None, 0)

    def alert_shown(self, code: str) -> Sent:
        return self._record(messages.ALERT_SHOWN, self.session, code)

    def local_breach(self) -> Sent:
        return self._record(messages.LOCAL_BREACH, self.session, 500, 700, None)

    def grant_taken(self, grant_utc_ms: int | None) -> Sent:
        self.grant_utc_ms = grant_utc_ms
        return self._record(messages.GRANT_TAKEN, self.session, grant_utc_ms)

    def fault(self, part: str, fault: str = "no answer", is_over: bool = False) -> Sent:
        return self._record(messages.FAULT, part, fault, int(is_over))

    def not_armed(self, reason: str) -> Sent:
        return self._record(messages.NOT_ARMED, reason)

    def will(self) -> Sent:
        """The last will of the present connection."""
        return self.seal(topics.WILL, conversation.encode_will(self.boots, self.connections))

    def hello(
        self,
        oldest_seq: int | None = None,
        next_seq: int | None = None,
        t_ms: int | None = None,
        utc_ms: int | None = None,
    ) -> Sent:
        """A new connection's hello; by default the journal has been acknowledged whole.

        `t_ms` and `utc_ms` are the pen's time and clock now, if they are to be told.
        """
        self.connections += 1
        following = self.seq + 1 if next_seq is None else next_seq
        oldest = following if oldest_seq is None else oldest_seq
        fields = (oldest, following, self.boots, "test", self.grant_utc_ms)
        fields += (0xCBF43926, self.connections, t_ms, utc_ms)
        payload = conversation.encode_hello(fields)
        sent = self.seal(topics.HELLO, payload)
        self.sent.append(sent)
        return sent

    def lose(self, count: int) -> Sent:
        """Records are lost in the journal before they were sent; the hello that says so."""
        self.seq += count
        return self.hello()

    def records(self) -> list[bytes]:
        """The messages of all records sealed so far."""
        return [sent.message for sent in self.sent if sent.topic.endswith("/record")]
