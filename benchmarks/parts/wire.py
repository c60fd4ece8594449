"""MQTT 3.1.1 packets as bytes, for loads that are made beforehand and cost little to send."""

import socket


def remaining_length(length: int) -> bytes:
    out = bytearray()
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(out)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def connect(client_id: str) -> bytes:
    """CONNECT, clean session, keep-alive of ten minutes."""
    body = _text("MQTT") + b"\x04\x02" + (600).to_bytes(2, "big") + _text(client_id)
    return b"\x10" + remaining_length(len(body)) + body


def subscribe(topics: list[str]) -> bytes:
    body = b"\x00\x01" + b"".join(_text(topic) + b"\x01" for topic in topics)
    return b"\x82" + remaining_length(len(body)) + body


def publish(topic: str, packet_id: int, message: bytes) -> bytes:
    """PUBLISH with QoS 1."""
    body = _text(topic) + packet_id.to_bytes(2, "big") + message
    return b"\x32" + remaining_length(len(body)) + body


def puback(packet_id: bytes) -> bytes:
    return b"\x40\x02" + packet_id


class Connection:
    """A socket to the broker that hands out whole packets."""

    def __init__(self, host: str, port: int, client_id: str) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in = bytearray()
        self.socket.sendall(connect(client_id))
        self.await_packet(2)

    def await_packet(self, kind: int) -> None:
        """Wait for a CONNACK (2) or SUBACK (9)."""
        while True:
            for found, _ in self.receive():
                if found >> 4 == kind:
                    return

    def receive(self) -> list[tuple[int, bytes]]:
        """(first byte, body) of the packets that are there; blocks until something is."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._in += data
        packets = []
        at = 0
        buffer = self._in
        while len(buffer) - at >= 2:
            length = shift = 0
            head = at + 1
            while head < len(buffer):
                digit = buffer[head]
                head += 1
                length |= (digit & 0x7F) << shift
                shift += 7
                if digit < 0x80:
                    break
            else:
                break
            if len(buffer) - head < length:
                break
            packets.append((buffer[at], bytes(buffer[head : head + length])))
            at = head + length
        del buffer[:at]
        return packets


def published(first: int, body: bytes) -> tuple[str, bytes, bytes]:
    """(topic, packet id, message) of a PUBLISH; the packet id is empty with QoS 0."""
    end = 2 + int.from_bytes(body[:2], "big")
    id_end = end + 2 if first & 0x06 else end
    return body[2:end].decode(), body[end:id_end], body[id_end:]
