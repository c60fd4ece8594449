"""A gateway that only takes records in: for tests in which the real one is not the point.

It verifies, keeps what comes in order, and acknowledges, by the rules of protocol/README.md; it
judges nothing. It can lose and delay its acknowledgements. CPython only.
"""

# ruff: noqa: ARG005
# paho calls with more than is needed here.

import threading
import time
from collections.abc import Callable

import paho.mqtt.client as paho

from needletrail_protocol import authentication, conversation, messages, topics
from needletrail_protocol.readings import Readings, decode_record
from needletrail_protocol.tables import Message

FAR_FUTURE_UTC_MS = 4_000_000_000_000


class StandIn:
    """One pen's gateway. `payloads` are the committed records' payloads, by seq from 1 on."""

    def __init__(
        self,
        host: str,
        port: int,
        key: bytes,
        *,
        clinic: str = "harbor",
        pen: str = "pen-01",
        epoch: int = 1,
        permits: tuple[tuple[str, int], ...] = (),
        nobody_um: int = 0,
        alert_after: Callable[[Message], str | None] = lambda record: None,
        lose_ack: Callable[[int], bool] = lambda nth: False,
        ack_delay_s: float = 0.0,
    ) -> None:
        self.clinic, self.pen = clinic, pen
        self.key = authentication.MacKey(key, epoch)
        self.payloads: list[bytes] = []
        self.hellos: list[Message] = []
        self.wills: list[Message] = []
        self.repeats = 0
        self.conflicts: list[int] = []
        self.gaps = 0
        self.acks = 0
        self.committed = threading.Condition()
        self._permits, self._nobody_um = permits, nobody_um
        self._alert_after, self._lose_ack, self._ack_delay_s = alert_after, lose_ack, ack_delay_s
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *rest: self._subscribed.set()
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._subscribed.wait(10), "the stand-in could not subscribe"

    def records(self) -> list[Message]:
        return [decode_record(payload) for payload in self.payloads]

    def wait_for(self, count: int, timeout_s: float = 60) -> None:
        with self.committed:
            assert self.committed.wait_for(lambda: len(self.payloads) >= count, timeout_s)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *rest: object) -> None:
        for channel in topics.UPWARD:
            client.subscribe(topics.build(self.clinic, self.pen, channel), qos=1)

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        _, pen, channel = topics.parse(message.topic)
        epoch, payload, tag = authentication.open_envelope(message.payload)
        external = authentication.external_data(message.topic, pen, epoch)
        authentication.verify(self.key, external, payload, tag)
        if channel == topics.HELLO:
            hello = conversation.decode_hello(payload)
            self.hellos.append(hello)
            while len(self.payloads) < hello.oldest_seq - 1:
                self.payloads.append(b"")  # a gap
            self._ack(may_lose=False)
            grant = (1_000, FAR_FUTURE_UTC_MS, "stand-in", self._nobody_um, list(self._permits), 0)
            self.send(topics.GRANT, conversation.encode_grant(grant))
            return
        if channel == topics.WILL:
            self.wills.append(conversation.decode_will(payload))
            return
        record = decode_record(payload)
        if record.kind == messages.SAMPLES:
            Readings(record)
        if record.seq <= len(self.payloads):
            self.repeats += 1
            if self.payloads[record.seq - 1] != payload:
                self.conflicts.append(record.seq)
        elif record.seq > len(self.payloads) + 1:
            self.gaps += 1
        else:
            with self.committed:
                self.payloads.append(payload)
                self.committed.notify_all()
            code = self._alert_after(record)
            if code is not None:
                alert = (record.session, code, record.t_ms, None, None)
                self.send(topics.ALERT, conversation.encode_alert(alert))
        self._ack()

    def _ack(self, may_lose: bool = True) -> None:
        self.acks += 1
        if may_lose and self._lose_ack(self.acks):
            return
        if self._ack_delay_s:
            time.sleep(self._ack_delay_s)
        utc_ms = int(time.time() * 1000)
        self.send(topics.ACK, conversation.encode_ack(len(self.payloads), utc_ms))

    def send(self, channel: str, payload: bytes) -> None:
        topic = topics.build(self.clinic, self.pen, channel)
        external = authentication.external_data(topic, self.pen, self.key.epoch)
        self._client.publish(topic, authentication.seal(self.key, external, payload), qos=1)
