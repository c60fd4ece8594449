"""Load, made in a process of its own so that it costs the measured process nothing.

`RecordLoad` is a number of pens that empty their journals: each keeps a window of records under way
beyond the gateway's last durable acknowledgement, and goes back to it after two silent seconds, as the
firmware does. `LiveLoad` is pens at work, a record a second each. `PlainLoad` sends messages that
nobody but the broker acknowledges. All wait, connected and subscribed, until go() is called.
"""

import selectors
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Self

from needletrail_protocol import conversation, topics
from needletrail_protocol.authentication import open_envelope
from parts import wire

SILENCE_S = 2.0
SILENCES_MOST = 5


@dataclass(frozen=True)
class Journal:
    """What one pen, or one plain device, will send: (topic, message), in order."""

    client_id: str
    topic: str
    down: str
    sealed: list[bytes]


@dataclass
class _Lane:
    link: wire.Connection
    packets: list[bytes]
    sent: int = 0
    acked: int = 0
    out: bytearray = field(default_factory=bytearray)


class _Load:
    """A process that runs `_target(pipe, …)`; see the subclasses."""

    _target: Any = None

    def __init__(self, *arguments: object) -> None:
        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=type(self)._target, args=(theirs, *arguments))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        self._expect("ready")
        return self

    def go(self) -> None:
        """Begin."""
        self._pipe.send("go")

    def result(self, timeout_s: float = 600) -> dict[str, Any]:
        """Wait for the end; what the load counted."""
        if not self._pipe.poll(timeout_s):
            raise TimeoutError("the load did not end")
        found: dict[str, Any] = self._pipe.recv()
        if "error" in found:
            raise RuntimeError(found["error"])
        return found

    def stop(self) -> None:
        """Tell a load that runs for ever to end."""
        self._pipe.send("stop")

    def _expect(self, word: str) -> None:
        if not self._pipe.poll(60):
            raise TimeoutError("the load did not start")
        heard = self._pipe.recv()
        if heard != word:
            raise RuntimeError(str(heard))

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _lanes(host: str, port: int, journals: list[Journal]) -> list[_Lane]:
    lanes = []
    for journal in journals:
        link = wire.Connection(host, port, journal.client_id)
        if journal.down:
            channels = [f"{journal.down}/{channel}" for channel in topics.DOWNWARD]
            link.socket.sendall(wire.subscribe(channels))
            link.await_packet(9)
        packets = [
            wire.publish(journal.topic, number % 65_535 + 1, message)
            for number, message in enumerate(journal.sealed)
        ]
        lanes.append(_Lane(link, packets))
    return lanes


def _run_records(pipe: Pipe, host: str, port: int, journals: list[Journal], window: int) -> None:
    try:
        lanes = _lanes(host, port, journals)
        pipe.send("ready")
        pipe.recv()
        began_s = time.perf_counter()
        counted = _empty(lanes, window)
        pipe.send(counted | {"wall_s": time.perf_counter() - began_s})
    except (OSError, RuntimeError) as error:
        pipe.send({"error": f"{type(error).__name__}: {error}"})


def _empty(lanes: list[_Lane], window: int) -> dict[str, int]:
    counted = {"acks": 0, "alerts": 0, "went_back": 0}
    open_lanes = len(lanes)
    with selectors.DefaultSelector() as selector:
        for lane in lanes:
            selector.register(lane.link.socket, selectors.EVENT_READ, lane)
            _send_window(lane, window)
        while open_lanes:
            ready = selector.select(SILENCE_S)
            if not ready:
                if counted["went_back"] == SILENCES_MOST:
                    raise RuntimeError(f"silence; acknowledged: {[lane.acked for lane in lanes]}")
                counted["went_back"] += 1
                for lane in lanes:
                    lane.sent = lane.acked
                    _send_window(lane, window)
            for key, _ in ready:
                lane = key.data
                was_open = lane.acked < len(lane.packets)
                _hear(lane, counted)
                if was_open and lane.acked >= len(lane.packets):
                    open_lanes -= 1
                _send_window(lane, window)
    return counted


def _hear(lane: _Lane, counted: dict[str, int]) -> None:
    for first, body in lane.link.receive():
        if first >> 4 != 3:  # the broker's PUBACK frees nothing
            continue
        topic, packet_id, message = wire.published(first, body)
        if packet_id:
            lane.out += wire.puback(packet_id)
        if topic.endswith("/ack"):
            seq = conversation.decode_ack(open_envelope(message)[1]).seq
            counted["acks"] += 1
            lane.acked = max(lane.acked, seq)
        elif topic.endswith("/alert"):
            counted["alerts"] += 1


def _send_window(lane: _Lane, window: int) -> None:
    to = min(lane.acked + window, len(lane.packets))
    if to > lane.sent:
        lane.out += b"".join(lane.packets[lane.sent : to])
        lane.sent = to
    if lane.out:
        lane.link.socket.sendall(lane.out)
        lane.out.clear()


class RecordLoad(_Load):
    """Pens that empty their journals: RecordLoad(host, port, journals, window)."""

    _target = staticmethod(_run_records)


def _run_plain(pipe: Pipe, host: str, port: int, journals: list[Journal], window: int) -> None:
    try:
        lanes = _lanes(host, port, journals)
        pipe.send("ready")
        pipe.recv()
        began_s = time.perf_counter()
        open_lanes = len(lanes)
        with selectors.DefaultSelector() as selector:
            for lane in lanes:
                selector.register(lane.link.socket, selectors.EVENT_READ, lane)
                _send_window(lane, window)
            while open_lanes:
                ready = selector.select(SILENCE_S)
                if not ready:
                    raise RuntimeError(f"silence; sent: {[lane.sent for lane in lanes]}")
                for key, _ in ready:
                    lane = key.data
                    was_open = lane.acked < len(lane.packets)
                    lane.acked += sum(1 for first, _ in lane.link.receive() if first >> 4 == 4)
                    if was_open and lane.acked >= len(lane.packets):
                        open_lanes -= 1
                    _send_window(lane, window)
        pipe.send({"wall_s": time.perf_counter() - began_s})
    except (OSError, RuntimeError) as error:
        pipe.send({"error": f"{type(error).__name__}: {error}"})


class PlainLoad(_Load):
    """Devices whose messages only the broker acknowledges: PlainLoad(host, port, journals, window)."""

    _target = staticmethod(_run_plain)


def _run_live(pipe: Pipe, host: str, port: int, journals: list[Journal], period_s: float) -> None:
    """Each pen sends one record a period; the pens are spread over the period."""
    try:
        lanes = _lanes(host, port, journals)
        pipe.send("ready")
        pipe.recv()
        counted = {"acks": 0, "alerts": 0, "went_back": 0}
        sent = 0
        began_s = time.perf_counter()
        step_s = period_s / len(lanes)
        with selectors.DefaultSelector() as selector:
            for lane in lanes:
                selector.register(lane.link.socket, selectors.EVENT_READ, lane)
            while not pipe.poll():
                wait_s = began_s + sent * step_s - time.perf_counter()
                if wait_s <= 0:
                    lane = lanes[sent % len(lanes)]
                    if lane.sent - lane.acked > SILENCE_S / period_s + 1:
                        counted["went_back"] += 1
                        lane.sent = lane.acked
                    _send_window(lane, lane.sent + 1 - lane.acked)
                    sent += 1
                    continue
                for key, _ in selector.select(min(wait_s, 0.1)):
                    _hear(key.data, counted)
                    _send_window(key.data, 0)
        left = sum(lane.sent - lane.acked for lane in lanes)
        over = any(lane.sent >= len(lane.packets) for lane in lanes)
        wall_s = time.perf_counter() - began_s
        pipe.send(counted | {"sent": sent, "left": left, "ran_out": over, "wall_s": wall_s})
    except (OSError, RuntimeError) as error:
        pipe.send({"error": f"{type(error).__name__}: {error}"})


class LiveLoad(_Load):
    """Pens at work, until stop(): LiveLoad(host, port, journals, period_s)."""

    _target = staticmethod(_run_live)
