"""Being connected: connect, move bytes both ways, and connect again, until cancelled.

Strategy: the uplink decides what is said and when; this module carries its bytes on a *lane*, one
stream to the broker. Slow is not dead, and dead can not be told from slow: so when the broker has
owed an answer for SUSPECT_MS, a second lane is tried beside the first, a new one every PROBE_MS. If
the first speaks again, the second is given up; if the broker accepts the second first, the
conversation goes on there. A lane is dead when nothing came for mqtt.DEAD_AFTER_MS. Lanes have client
ids of their own, so the broker lets both live. Attempts begin ever more slowly, with chance in it, so
that a clinic's pens do not come back all at once.

| what | after |
|---|---|
| the next attempt, counted from the last one's beginning | 0.125 s, doubling to 1.5 to 3 s |
| an answer is owed, nothing comes: try a second lane | 2.5 s |
| a second lane that the broker has not accepted: try another | 2.5 s |
| nothing comes at all: ask the broker (mqtt.PING_AFTER_MS) | 10 s |
| TCP, TLS or MQTT do not get through, or nothing comes at all: the lane is dead | 25 s |
| the gateway is silent: ask again (uplink.SILENCE_MS) | 1.5 s, or twice an answer's time |

So the pen is live again 3.1 s and what connecting takes after the network's return, at the latest, and
answers may take 10 s. `supervise`, `feed` and `outbound` know no clock and no stream: `run` brings
them. How a stream is opened (streams) is passed in. Whatever goes wrong with one ends it.
"""

import asyncio
import gc
import sys

from needletrail_device import mqtt

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

RETRY_FIRST_MS = 250
RETRY_MAX_MS = 3000
SUSPECT_MS = 2500
PROBE_MS = 2500
SUPERVISE_S = 0.05
IDLE_S = 0.01  # how long to sleep when there is nothing to send
READ_BYTES = 256


def retry_delay_ms(failures: int, chance: float) -> int:
    """How long to wait before connecting again: doubling, and between half and all of it.

    `chance` is 0 to 1, from the owner's randomness.
    """
    delay_ms = min(RETRY_FIRST_MS << min(failures, 4), RETRY_MAX_MS)
    return delay_ms // 2 + int(chance * (delay_ms - delay_ms // 2))


class Lane:
    """One stream to the broker. `client` is None until it is open."""

    def __init__(self, number: int, now_ms: int) -> None:
        self.number = number  # 0 or 1
        self.begun_ms = now_ms
        self.client: "Any" = None
        self.task: "Any" = None
        self.error: "BaseException | None" = None

    def waited_ms(self, now_ms: int) -> int:
        """How long it has been waiting for a sign of life. mqtt.RemoteError if it is dead."""
        client = self.client
        if client is not None:
            client.tick(now_ms)
            return client.waited_ms(now_ms)
        waited_ms = now_ms - self.begun_ms
        if waited_ms >= mqtt.DEAD_AFTER_MS:
            raise mqtt.RemoteError("no connection within %d ms" % waited_ms)
        return waited_ms


class Connection:
    """The uplink's lanes and their tasks.

    open_stream: a coroutine function that gives (reader, writer) of a new stream to the broker.
    look: called when the heap may be at its largest.
    """

    def __init__(
        self,
        uplink: "Any",
        open_stream: "Callable[[], Any]",
        now_ms: "Callable[[], int]",
        tell: "Callable[..., None]",
        look: "Callable[[], None]",
    ) -> None:
        self._uplink = uplink
        self._open_stream = open_stream
        self._now_ms = now_ms
        self._tell = tell
        self._look = look
        self.lanes: "list[Lane]" = []  # two at most, the elder first
        self._speaking: "Lane | None" = None  # the one that the uplink uses
        self._failures = 0
        self._next_ms = 0  # when the next lane may begin; -1 not decided
        self._cause = ""  # the last one told

    # ---- decisions ----

    def supervise(self, now_ms: int, chance: "Callable[[], float]") -> "Lane | None":
        """Give up what is dead. The lane to be opened now, if any."""
        lanes = self.lanes
        waited_ms = 0
        index = len(lanes)
        while index:
            index -= 1
            try:
                waited_ms = lanes[index].waited_ms(now_ms)  # in the end, the elder's
            except mqtt.RemoteError as error:
                self._give_up(lanes[index], str(error))
        is_suspect = waited_ms >= SUSPECT_MS
        if len(lanes) == 2:
            if is_suspect and now_ms - lanes[1].begun_ms < PROBE_MS:
                return None
            self._give_up(lanes[1], "")
        if lanes and not is_suspect:
            if self._uplink.is_ready:
                self._failures = 0
                self._cause = ""
            return None
        if self._next_ms < 0:
            self._next_ms = now_ms + retry_delay_ms(0, chance())
        if now_ms < self._next_ms:
            return None
        self._next_ms = now_ms + retry_delay_ms(self._failures, chance())
        self._failures += 1
        lane = Lane(1 - lanes[0].number if lanes else 0, now_ms)
        lanes.append(lane)
        return lane

    def opened(self, lane: Lane, now_ms: int) -> None:
        """The lane's stream is there."""
        lane.client = self._uplink.connect(now_ms, lane.number)

    def feed(self, lane: Lane, data: bytes, now_ms: int) -> None:
        """Bytes came on a lane. mqtt.RemoteError if they are none of MQTT's."""
        if lane is self._speaking:
            self._uplink.feed(data, now_ms)
        elif lane.client.feed_bytes(data, now_ms):  # accepted: nothing else may come yet
            for other in list(self.lanes):
                if other is not lane:
                    self._give_up(other, "another was quicker" if self._speaking else "")
            self._speaking = lane
            self._uplink.begin(lane.client, now_ms)

    def outbound(self, lane: Lane, now_ms: int) -> bytes:
        """Bytes to be sent on a lane, with one record at most."""
        speaker = self._uplink if lane is self._speaking else lane.client
        return speaker.outbound(now_ms)

    def lose(self, lane: Lane, cause: str) -> None:
        """The lane's stream is gone."""
        if lane not in self.lanes:
            return
        self.lanes.remove(lane)
        if lane is self._speaking:
            self._speaking = None
            self._next_ms = -1
            self._uplink.end()
        if cause and cause != self._cause:
            self._cause = cause
            self._tell("disconnected", ("cause", cause))

    def _give_up(self, lane: Lane, cause: str) -> None:
        self.lose(lane, cause)
        if lane.task is not None:
            lane.task.cancel()

    # ---- tasks ----

    async def run(self, chance: "Callable[[], float]") -> None:
        """Be connected, as far as the network allows, until cancelled."""
        try:
            while True:
                begun = self.supervise(self._now_ms(), chance)
                if begun is not None:
                    begun.task = asyncio.create_task(self._live(begun))
                for lane in self.lanes:
                    if lane.task.done():
                        await lane.task  # a fault of ours: it shall be seen
                await asyncio.sleep(SUPERVISE_S)
        finally:
            for lane in self.lanes:
                lane.task.cancel()

    async def _live(self, lane: Lane) -> None:
        writer = receiving = None
        try:
            reader, writer = await self._open_stream()
            self.opened(lane, self._now_ms())
            receiving = asyncio.create_task(self._receive(lane, reader))
            while lane.error is None:
                data = self.outbound(lane, self._now_ms())
                if data:
                    self._look()
                    writer.write(data)
                    await writer.drain()
                else:
                    await asyncio.sleep(IDLE_S)
            raise lane.error
        except (OSError, ValueError, MemoryError, mqtt.RemoteError) as error:
            # A ValueError is a bad certificate. Were it ours, a new connection is still the best.
            error = lane.error or error  # the first one says more
            cause = str(error).strip() or type(error).__name__
            self.lose(lane, "TLS error " + cause if cause[0] == "-" else cause)
        finally:
            if receiving is not None:
                receiving.cancel()
            if writer is not None:
                await _close(writer)
            gc.collect()

    async def _receive(self, lane: Lane, reader: "Any") -> None:
        try:
            while True:
                data = await reader.read(READ_BYTES)
                if not data:
                    raise OSError("closed by the broker")
                self.feed(lane, data, self._now_ms())
                self._look()
        except Exception as error:  # handed to the task that writes, which knows what to do
            lane.error = error


async def _close(writer: "Any") -> None:
    writer.close()
    try:
        if sys.implementation.name == "micropython":
            await writer.wait_closed()  # streams': it waits for nothing
        else:
            await asyncio.wait_for(writer.wait_closed(), 1)
    except OSError:  # it is gone in any case; a TimeoutError is one, too
        pass
