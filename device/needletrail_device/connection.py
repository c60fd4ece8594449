"""Being connected: connect, move bytes both ways, and connect again, until cancelled.

Strategy: the uplink decides what is said and when; this module only carries its bytes, and waits
longer after each failure, with chance in it, so that a clinic's pens do not come back all at once.
How a stream is opened (Wi-Fi, TLS) is passed in, and so are the clock and chance. Whatever goes wrong
with a stream ends it: a new one is the only repair.
"""

import asyncio
import gc

from needletrail_device import mqtt
from needletrail_device.uplink import retry_delay_ms

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

NETWORK_TIMEOUT_S = 10
IDLE_S = 0.01  # how long to sleep when there is nothing to send
READ_BYTES = 1024


class Connection:
    """The uplink's task.

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

    async def run(self, chance: "Callable[[], float]") -> None:
        """Be connected, as far as the network allows, until cancelled."""
        uplink = self._uplink
        failures = 0
        while True:
            writer = None
            cause = ""
            try:
                reader, writer = await asyncio.wait_for(self._open_stream(), NETWORK_TIMEOUT_S)
                uplink.begin(self._now_ms())
                await self._exchange(reader, writer)
            except (OSError, MemoryError, asyncio.TimeoutError, mqtt.RemoteError) as error:  # noqa: UP041
                cause = str(error) or type(error).__name__
            if uplink.is_ready:
                failures = 0
            uplink.end()
            if writer is not None:
                await _close(writer)
            if failures == 0:
                self._tell("disconnected", ("cause", cause))
            delay_ms = retry_delay_ms(failures, chance())
            failures += 1
            gc.collect()
            await asyncio.sleep(delay_ms / 1000)

    async def _exchange(self, reader: "Any", writer: "Any") -> None:
        failed: "list[BaseException]" = []
        receiving = asyncio.create_task(self._receive(reader, failed))
        try:
            while not failed:
                data = self._uplink.outbound(self._now_ms())
                if data:
                    self._look()
                    writer.write(data)
                    await asyncio.wait_for(writer.drain(), NETWORK_TIMEOUT_S)
                else:
                    await asyncio.sleep(IDLE_S)
        finally:
            receiving.cancel()
        raise failed[0]

    async def _receive(self, reader: "Any", failed: "list[BaseException]") -> None:
        try:
            while True:
                data = await reader.read(READ_BYTES)
                if not data:
                    raise OSError("the broker closed the connection")
                self._uplink.feed(data, self._now_ms())
                self._look()
        except Exception as error:  # handed to the task that writes, which knows what to do
            failed.append(error)


async def _close(writer: "Any") -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), 1)
    except (OSError, asyncio.TimeoutError):  # noqa: UP041  it is gone in any case
        pass
