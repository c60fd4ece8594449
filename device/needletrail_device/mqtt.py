"""MQTT 3.1.1 (OASIS standard) for one pen: bytes in, events out; bytes out on request.

Strategy: `Client` is one connection's life and no longer. The owner reports what came from the
network with `feed_bytes`, fetches what is to be sent with `take_outbound`, and says what time it is.
A packet is collected in one buffer of its own size, however the network cut it, and understood when
it is whole; its length is bounded before the buffer is made. We trust the broker with nothing: what
it may not send raises RemoteError, and the owner drops the connection. Misuse raises ValueError.

Sessions are clean and TCP loses nothing within a connection, so a publish is never repeated here;
the uplink repeats whatever the gateway has not acknowledged.

Does not do: sockets, clocks, TLS, QoS 2, retained messages, wills, persistent sessions.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

PACKET_MAX = 4608  # authentication.MAX_MESSAGE_LENGTH, a topic and change
KEEPALIVE_S = 30
PING_AFTER_MS = 10_000  # this long without a byte sent or received: ask whether it is alive
DEAD_AFTER_MS = 20_000  # this long without a byte received: it is not

# Events: the first item of the tuples that feed_bytes returns.
CONNECTED = "connected"  # ("connected",)
SUBSCRIBED = "subscribed"  # ("subscribed",)
MESSAGE = "message"  # ("message", topic, payload)

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP = 2, 3, 4, 9, 13


class RemoteError(Exception):
    """The broker did something that this side does not accept; the connection is to be dropped."""


class Client:
    """One connection. `unacknowledged` counts publishes without their PUBACK."""

    def __init__(
        self, client_id: str, username: "str | None", password: "str | None", now_ms: int
    ) -> None:
        self.is_connected = False
        self._out = bytearray()
        self._sent_ms = self._received_ms = now_ms
        self._packet_id = 0
        self._awaited: "set[int]" = set()  # packet ids of publishes
        self._subscribe_id = 0
        self._subscribe_count = 0
        self._header = -1  # first byte of the packet that is coming in, -1 before it
        self._length = self._length_bytes = 0
        self._body = bytearray()
        self._filled = -1  # bytes of the body so far, -1 while the length is coming
        flags = 0x02
        body = _text(client_id)
        if username is not None:
            flags |= 0x80
            body += _text(username)
            if password is not None:
                flags |= 0x40
                body += _text(password)
        head = _text("MQTT") + bytes((4, flags, KEEPALIVE_S >> 8, KEEPALIVE_S & 255))
        self._send(0x10, head + body)

    # ---- out ----

    @property
    def unacknowledged(self) -> int:
        """Publishes that the broker has not acknowledged."""
        return len(self._awaited)

    def publish(self, topic: str, payload: bytes) -> int:
        """Send at QoS 1. Returns the packet id."""
        packet_id = self._next_id()
        self._awaited.add(packet_id)
        self._send(0x32, _text(topic) + packet_id.to_bytes(2, "big") + payload)
        return packet_id

    def subscribe(self, topics: "list[str]") -> None:
        """Ask for these topics at QoS 1."""
        if self._subscribe_count:
            raise ValueError("one subscription at a time")
        self._subscribe_id = self._next_id()
        self._subscribe_count = len(topics)
        body = self._subscribe_id.to_bytes(2, "big")
        for topic in topics:
            body += _text(topic) + b"\x01"
        self._send(0x82, body)

    def disconnect(self) -> None:
        """Say good-bye."""
        self._send(0xE0, b"")

    def tick(self, now_ms: int) -> None:
        """Keep the connection alive; RemoteError if nothing came for DEAD_AFTER_MS."""
        silent_ms = now_ms - self._received_ms
        if silent_ms >= DEAD_AFTER_MS or (not self.is_connected and silent_ms >= PING_AFTER_MS):
            raise RemoteError("nothing came from the broker for %d ms" % silent_ms)
        if (
            self.is_connected
            and max(silent_ms, now_ms - self._sent_ms) >= PING_AFTER_MS
            and now_ms - self._sent_ms >= PING_AFTER_MS // 2
        ):
            self._send(0xC0, b"")
            self._sent_ms = now_ms

    def outbound_length(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._out)

    def take_outbound(self, now_ms: int) -> bytes:
        """What is to be sent now; it is forgotten here."""
        if not self._out:
            return b""
        data = self._out
        self._out = bytearray()
        self._sent_ms = now_ms
        return data

    def _next_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 0xFFFF + 1
            if self._packet_id not in self._awaited:
                return self._packet_id

    def _send(self, first: int, body: bytes) -> None:
        self._out.append(first)
        length = len(body)
        while length > 0x7F:
            self._out.append((length & 0x7F) | 0x80)
            length >>= 7
        self._out.append(length)
        self._out.extend(body)

    # ---- in ----

    def feed_bytes(self, data: bytes, now_ms: int) -> "list[tuple[Any, ...]]":
        """What the bytes that came mean: a list of events. RemoteError if they may not come."""
        events: "list[tuple[Any, ...]]" = []
        if data:
            self._received_ms = now_ms
        at = 0
        end = len(data)
        while at < end:
            if self._filled < 0:
                self._feed_head(data[at])
                at += 1
            else:
                taken = min(end - at, self._length - self._filled)
                self._body[self._filled : self._filled + taken] = data[at : at + taken]
                self._filled += taken
                at += taken
            if self._filled == self._length:
                header, body = self._header, self._body
                self._header = self._filled = -1
                self._body = bytearray()
                self._length = self._length_bytes = 0
                event = self._understand(header, body)
                if event is not None:
                    events.append(event)
        return events

    def _feed_head(self, byte: int) -> None:
        if self._header < 0:
            self._header = byte
            return
        self._length |= (byte & 0x7F) << (7 * self._length_bytes)
        self._length_bytes += 1
        if byte & 0x80:
            if self._length_bytes == 4:
                raise RemoteError("a packet's length has more than four bytes")
            return
        if self._length > PACKET_MAX:
            raise RemoteError("a packet of %d bytes" % self._length)
        self._body = bytearray(self._length)
        self._filled = 0

    def _understand(self, header: int, body: bytearray) -> "tuple[Any, ...] | None":
        kind = header >> 4
        if kind == _CONNACK:
            return self._connack(header, body)
        if not self.is_connected:
            raise _unasked(kind)
        if kind == _PUBLISH:
            return self._publish(header, body)
        if header & 15:
            raise _unasked(kind)
        if kind == _PUBACK:
            packet_id = int.from_bytes(body, "big")
            if len(body) != 2 or packet_id not in self._awaited:
                raise _unasked(_PUBACK)
            self._awaited.remove(packet_id)
            return None
        if kind == _SUBACK:
            return self._suback(body)
        if kind == _PINGRESP and not body:
            return None
        raise _unasked(kind)

    def _connack(self, header: int, body: bytearray) -> "tuple[Any, ...]":
        if self.is_connected or header & 15 or len(body) != 2:
            raise _unasked(_CONNACK)
        if body[1]:
            raise RemoteError("connection refused: code %d" % body[1])  # table 3.1
        if body[0]:
            raise _unasked(_CONNACK)
        self.is_connected = True
        return (CONNECTED,)

    def _suback(self, body: bytearray) -> "tuple[Any, ...]":
        if (
            not self._subscribe_count
            or len(body) != 2 + self._subscribe_count
            or int.from_bytes(body[:2], "big") != self._subscribe_id
        ):
            raise _unasked(_SUBACK)
        self._subscribe_count = 0
        for code in body[2:]:
            if code > 1:
                raise RemoteError("a subscription was refused: code %d" % code)
        return (SUBSCRIBED,)

    def _publish(self, header: int, body: bytearray) -> "tuple[Any, ...]":
        qos = header >> 1 & 3
        if qos > 1:
            raise _unasked(_PUBLISH)
        at = 2 + int.from_bytes(body[:2], "big")
        if len(body) < 2 or at == 2 or at + 2 * qos > len(body):
            raise _unasked(_PUBLISH)
        topic = ""
        try:
            topic = body[2:at].decode()
        except UnicodeError:
            pass
        if not topic:
            raise _unasked(_PUBLISH)
        if qos:
            if body[at : at + 2] == b"\x00\x00":
                raise _unasked(_PUBLISH)
            self._send(0x40, body[at : at + 2])
            at += 2
        return (MESSAGE, topic, bytes(memoryview(body)[at:]))


def _unasked(kind: int) -> RemoteError:
    """One text for them all: a pen's heap has no room for many."""
    return RemoteError("a packet of type %d that is malformed or not expected" % kind)


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ValueError("a text of %d bytes" % len(data))
    return len(data).to_bytes(2, "big") + data
