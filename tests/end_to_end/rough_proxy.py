"""A TCP proxy between a pen and its broker that does to their bytes what a bad network does.

Strategy: one thread with an event loop for each proxy. Bytes are counted over both directions and all
connections; when the count reaches the next mishap's byte, that mishap happens there, in the middle
of a packet or not. After its outage the network is back. `begins` and `returns` say when that was, in
seconds of time.monotonic().
"""

import asyncio
import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

RESET, CLOSE, STALL, STALL_RESET, VANISH, DELAY = (
    *("reset", "close", "stall", "stall, then reset", "vanish", "delay"),
)
FAULTS = (RESET, CLOSE, STALL, STALL_RESET, VANISH, DELAY)


@dataclass(frozen=True)
class Mishap:
    """After `gap` more bytes: what happens, and for how long the network is away then.

    With DELAY every byte takes `outage_s` longer in either direction, for `slow_s` seconds, or for
    `outage_s` if that is not said.
    is_swallowing: while it is away, connections are accepted and their bytes vanish; else refused.
    is_patient: its bytes are counted only once the pen was heard after the mishap before.
    """

    gap: int
    fault: str
    outage_s: float
    is_swallowing: bool = False
    slow_s: float | None = None
    is_patient: bool = False


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    pen: asyncio.StreamWriter
    broker: asyncio.StreamWriter | None = None
    is_vanished: bool = False
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


class SilentPort:
    """A port at which connections are neither accepted nor refused: its queue is full (listen(2))."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port: int = self._listening.getsockname()[1]
        self._waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self._waiting.append(one)

    def close(self) -> None:
        for one in (self._listening, *self._waiting):
            one.close()


class RoughProxy:
    """`with RoughProxy(port, mishaps) as proxy:` listens on `proxy.port` until the end.

    heard_s: when the gateway last heard the pen, for mishaps that are patient.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        broker_port: int,
        mishaps: Iterator[Mishap],
        *,
        is_fragmented: Callable[[], bool] = lambda: False,
        heard_s: Callable[[], float] = time.monotonic,
        port: int = 0,
    ) -> None:
        self._heard_s = heard_s
        self._broker_port = broker_port
        self._mishaps = mishaps
        self._is_fragmented = is_fragmented
        self.port = port
        self.happened: list[Mishap] = []
        self.begins: list[float] = []
        self.returns: list[float] = []
        self.carried = 0
        self.is_gone_for_ever = False  # swallow everything from now on, new connections too
        self._next: Mishap | None = None
        self._next_at: int | None = None
        self._away: Mishap | None = None
        self._delay_s = 0.0
        self._links: list[_Link] = []
        self._back = asyncio.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "RoughProxy":
        self._thread.start()
        assert self._is_listening.wait(10)
        return self

    def __exit__(self, *rest: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def is_exhausted(self) -> bool:
        """True if all mishaps have happened and the network is there."""
        return self._next is None and self._away is None

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._back.set()
        self._plan()
        server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._is_listening.set()
        await self._stop.wait()
        server.close()
        for link in list(self._links):
            self._cut(link, is_reset=True)

    def _plan(self) -> None:
        self._next = next(self._mishaps, None)
        self._next_at = None

    def _left(self) -> float:
        """Bytes that may still pass before the next mishap."""
        if self._next is None:
            return math.inf
        if self._next_at is None:
            if self._next.is_patient and self.returns and self._heard_s() <= self.returns[-1]:
                return math.inf
            self._next_at = self.carried + self._next.gap
        return self._next_at - self.carried

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _at_once(writer)
        link = _Link(writer)
        self._links.append(link)
        away = self._away
        is_away = away is not None and away.fault not in (STALL, DELAY)
        if away is not None and is_away and not away.is_swallowing:
            self._cut(link, is_reset=True)
            return
        link.is_vanished = is_away or self.is_gone_for_ever
        link.tasks.append(asyncio.create_task(self._serve_link(link, reader)))

    async def _serve_link(self, link: _Link, reader: asyncio.StreamReader) -> None:
        try:
            if not link.is_vanished:
                back, link.broker = await asyncio.open_connection(self.host, self._broker_port)
                _at_once(link.broker)
                link.tasks.append(asyncio.create_task(self._pump(link, back, link.pen)))
            await self._pump(link, reader, link.broker)
        except OSError:
            self._cut(link, is_reset=True)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None
    ) -> None:
        """Pass on what one side sends, each piece when it is due, in order."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        link.tasks.append(asyncio.create_task(self._deliver(link, held, writer)))
        try:
            while data := await reader.read(4096):
                held.put_nowait((time.monotonic() + self._delay_s, data))
            held.put_nowait((time.monotonic() + self._delay_s, b""))
        except OSError:
            self._cut(link, is_reset=True)

    async def _deliver(
        self,
        link: _Link,
        held: "asyncio.Queue[tuple[float, bytes]]",
        writer: asyncio.StreamWriter | None,
    ) -> None:
        try:
            while True:
                due_s, data = await held.get()
                await asyncio.sleep(max(due_s - time.monotonic(), 0))
                if not data:
                    break
                while data:
                    data = await self._carry(link, writer, data)
            self._cut(link, is_reset=False)
        except OSError:
            self._cut(link, is_reset=True)

    async def _carry(self, link: _Link, writer: asyncio.StreamWriter | None, data: bytes) -> bytes:
        """Pass on what comes before the next mishap. Returns the rest."""
        if self._away is not None and self._away.fault in (STALL, STALL_RESET):
            await self._back.wait()
        if link.is_vanished or self.is_gone_for_ever or writer is None:
            return b""
        left = self._left()
        count = int(min(len(data), left))
        if self._is_fragmented():
            count = min(count, 1)
        if count:
            writer.write(data[:count])
            await writer.drain()
            self.carried += count
            left -= count
        if self._next is not None and left <= 0 and self._away is None:
            self._go_wrong(link, self._next)
        return data[count:]

    def _go_wrong(self, link: _Link, mishap: Mishap) -> None:
        self.happened.append(mishap)
        self.begins.append(time.monotonic())
        self._next = None
        self._away = mishap
        self._back.clear()
        assert self._loop is not None
        if mishap.fault == DELAY:  # it is over when the last bytes that were delayed have arrived
            self._delay_s = mishap.outage_s
            slow_s = mishap.outage_s if mishap.slow_s is None else mishap.slow_s
            self._loop.call_later(slow_s, self._be_quick)
            self._loop.call_later(slow_s + mishap.outage_s, self._come_back)
            return
        self._loop.call_later(mishap.outage_s, self._come_back)
        if mishap.fault == RESET:
            self._cut(link, is_reset=True)
        elif mishap.fault == CLOSE:
            self._cut(link, is_reset=False)
        elif mishap.fault == VANISH:
            for one in self._links:
                one.is_vanished = True

    def _be_quick(self) -> None:
        self._delay_s = 0.0

    def _come_back(self) -> None:
        mishap = self._away
        self._away = None
        if mishap is not None and mishap.fault == STALL_RESET:
            for link in list(self._links):
                self._cut(link, is_reset=True)
        self.returns.append(time.monotonic())
        self._back.set()
        self._plan()

    def _cut(self, link: _Link, is_reset: bool) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        for writer in (link.pen, link.broker):
            if writer is None:
                continue
            if is_reset:
                with contextlib.suppress(OSError):
                    _linger(writer)
            writer.close()
        ours = asyncio.current_task()
        for task in link.tasks:
            if task is not ours:
                task.cancel()


def _at_once(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _linger(writer: asyncio.StreamWriter) -> None:
    """Closing sends a reset."""
    option = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
