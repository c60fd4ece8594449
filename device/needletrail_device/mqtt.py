"""MQTT 3.1.1 (OASIS standard) for one pen: bytes in, events out; bytes out on request.

Strategy: `Client` is one connection's life and no longer. The owner reports what came from the
network with `feed_bytes`, fetches what is to be sent with `outbound`, and says what time it is.
A packet is collected in one buffer of its own size, however the network cut it, and understood when
it is whole; its length is bounded before the buffer is made. What goes out is written once, into the
buffer that is sent. We trust the broker with nothing: what it may not send raises RemoteError, and
the owner drops the connection. Misuse raises ValueError.

Sessions are clean and TCP loses nothing within a connection, so a publish is never repeated here;
the uplink repeats whatever the gateway has not acknowledged.

Does not do: sockets, clocks, TLS, QoS 2, retained messages, persistent sessions.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

PACKET_MAX = 4608  # authentication.MAX_MESSAGE_LENGTH, a topic and change
KEEPALIVE_S = 30
PING_AFTER_MS = 10_000  # this long without a byte sent or received: ask whether it is alive
DEAD_AFTER_MS = 25_000  # this long without a byte received: it is not. An answer may take 10 s

# Events: the first item of the tuples that feed_bytes returns.
CONNECTED = "connected"  # ("connected",)
SUBSCRIBED = "subscribed"  # ("subscribed",)
MESSAGE = "message"  # ("message", topic, payload)

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP = 2, 3, 4, 9, 13


class RemoteError(Exception):
    """The broker did something that this side does not accept; the connection is to be dropped."""


class Client:
    """One connection. `out` waits to be sent; `awaited` holds the ids of publishes without a PUBACK.

    will: (topic, message) that the broker publishes if this connection ends without a good-bye.
    """

    def __init__(
        self,
        client_id: str,
        username: "str | None",
        password: "str | None",
        now_ms: int,
        will: "tuple[str, bytes] | None" = None,
    ) -> None:
        self.is_connected = False
        self.out = bytearray()
        self._sent_ms = self._received_ms = self._asked_ms = now_ms
        self._is_pinged = False
        self._packet_id = 0
        self.awaited: "set[int]" = set()
        self._subscribe_id = 0
        self._subscribe_count = 0
        self._header = -1  # first byte of the packet that is coming in, -1 before it
        self._length = self._length_bytes = 0
        self._body = bytearray()
        self._filled = -1  # bytes of the body so far, -1 while the length is coming
        flags = 0x02
        body = _text(client_id)
        if will is not None:
            flags |= 0x0C  # QoS 1, not retained
            body += _text(will[0]) + _text(will[1])
        if username is not None:
            flags |= 0x80
            body += _text(username)
            if password is not None:
                flags |= 0x40
                body += _text(password)
        self._send(0x10, _text("MQTT") + bytes((4, flags, 0, KEEPALIVE_S)) + body)

    # ---- out ----

    def publish(self, topic: str, length: int) -> int:
        """Begin a message of `length` bytes at QoS 1.

        Returns where it begins in `out`, which has room for it: the caller writes it there, at once.
        """
        packet_id = self._next_id()
        self.awaited.add(packet_id)
        self._send(0x32, _text(topic) + packet_id.to_bytes(2, "big"), length)
        head = self.out
        self.out = bytearray(len(head) + length)
        self.out[: len(head)] = head
        return len(head)

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
        if self.is_connected and not self._is_pinged and not self._subscribe_count and not self.awaited:
            self._asked_ms = now_ms  # nothing is owed
        silent_ms = now_ms - self._received_ms
        if silent_ms >= DEAD_AFTER_MS:
            raise RemoteError("broker silent for %d ms" % silent_ms)
        if self.is_connected and (
            now_ms - self._sent_ms >= PING_AFTER_MS
            or (silent_ms >= PING_AFTER_MS and not self._is_pinged)
        ):
            self._is_pinged = True
            self._sent_ms = now_ms
            self._send(0xC0, b"")

    def waited_ms(self, now_ms: int) -> int:
        """For how long the broker has owed an answer and said nothing, as of the last tick."""
        return now_ms - max(self._asked_ms, self._received_ms)

    def outbound(self, now_ms: int) -> bytes:
        """What is to be sent now; it is forgotten here."""
        data = self.out
        if not data:
            return b""
        self.out = bytearray()
        self._sent_ms = now_ms
        return data

    def _next_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 0xFFFF + 1
            if self._packet_id not in self.awaited:
                return self._packet_id

    def _send(self, first: int, body: bytes, more: int = 0) -> None:
        """A packet, but for the last `more` bytes of it (section 2.2)."""
        length = len(body) + more
        self.out.append(first)
        while length > 0x7F:
            self.out.append((length & 0x7F) | 0x80)
            length >>= 7
        self.out.append(length)
        self.out.extend(body)

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
        if byte & 0x80 and self._length_bytes < 4:
            return
        if self._length > PACKET_MAX or byte & 0x80:
            raise RemoteError("a packet of %d bytes" % self._length)
        self._body = bytearray(self._length)
        self._filled = 0

    def _understand(self, header: int, body: bytearray) -> "tuple[Any, ...] | None":
        kind = header >> 4
        if self.is_connected == (kind == _CONNACK):
            raise _unasked(kind)
        if kind == _PUBLISH:
            return self._publish(header, body)
        if header & 15:
            raise _unasked(kind)
        ident = int.from_bytes(body[:2], "big")
        if kind == _PUBACK and len(body) == 2 and ident in self.awaited:
            self.awaited.remove(ident)
            return None
        if kind == _PINGRESP and not body:
            self._is_pinged = False
            return None
        if kind == _CONNACK and len(body) == 2:
            if ident & 0xFF:
                raise RemoteError("connection refused: code %d" % body[1])  # table 3.1
            if not ident:
                self.is_connected = True
                return (CONNECTED,)
        count = self._subscribe_count
        if kind == _SUBACK and count and len(body) == 2 + count and ident == self._subscribe_id:
            if max(body[2:]) > 1:
                raise RemoteError("subscription refused: code %d" % max(body[2:]))
            self._subscribe_count = 0
            return (SUBSCRIBED,)
        raise _unasked(kind)

    def _publish(self, header: int, body: bytearray) -> "tuple[Any, ...]":
        qos = header >> 1 & 3
        at = 2 + int.from_bytes(body[:2], "big")
        topic = ""
        if qos < 2 < at <= len(body) - 2 * qos:
            try:
                topic = body[2:at].decode()
            except UnicodeError:
                pass
        ident = bytes(body[at : at + 2 * qos])
        if not topic or ident == b"\x00\x00":
            raise _unasked(_PUBLISH)
        if qos:
            self._send(0x40, ident)
        return (MESSAGE, topic, memoryview(body)[at + 2 * qos :])


def _unasked(kind: int) -> RemoteError:
    """One text for them all: a pen's heap has no room for many."""
    return RemoteError("unexpected packet type %d" % kind)


def _text(text: "str | bytes") -> bytes:
    """A string, or a will's message, with its length before it (section 1.5.3)."""
    data = text if isinstance(text, bytes) else text.encode()
    if len(data) > 0xFFFF:
        raise ValueError("a text of %d bytes" % len(data))
    return len(data).to_bytes(2, "big") + data
