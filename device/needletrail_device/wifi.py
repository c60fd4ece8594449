"""Wi-Fi: joined when a stream is to be opened, and joined again when it was lost.

Strategy: `join` returns when there is an address. It only asks and sleeps, so whoever waits too long
cancels it (connection does, after 25 s). MicroPython's ports differ in what they do by themselves
after a loss: some try for ever, some never. So an attempt that has brought nothing for ATTEMPT_MS is
ended and begun anew. The radio's interface is passed in.

A pen without a clock is no reason to wait: records are pinned by the gateway. But TLS checks dates, so
with a time server in pen.json the clock is set once, before the first stream. `ask_time` blocks for a
second at most; it is MicroPython's ntptime.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

ATTEMPT_MS = 15_000
POLL_S = 0.1


class Wifi:
    """wlan: a network.WLAN in station mode. ask_time: None, or sets the clock (OSError: it can not)."""

    def __init__(
        self,
        wlan: "Any",
        ssid: str,
        password: str,
        now_ms: "Callable[[], int]",
        sleep_s: "Callable[[float], Any]",
        ask_time: "Callable[[], object] | None" = None,
    ) -> None:
        self._wlan = wlan
        self._ssid = ssid
        self._password = password
        self._now_ms = now_ms
        self._sleep_s = sleep_s
        self._ask_time = ask_time
        self._begun_ms = -1  # of the attempt that runs

    async def join(self) -> None:
        """Return when the pen has an address. OSError if the radio refuses."""
        wlan = self._wlan
        while not wlan.isconnected():
            now_ms = self._now_ms()
            if self._begun_ms < 0 or now_ms - self._begun_ms >= ATTEMPT_MS:
                self._begin(now_ms)
            await self._sleep_s(POLL_S)
        self._begun_ms = -1
        if self._ask_time is not None:
            try:
                self._ask_time()
                self._ask_time = None
            except (OSError, OverflowError):
                pass  # the next stream asks again

    def _begin(self, now_ms: int) -> None:
        wlan = self._wlan
        if self._begun_ms < 0:
            wlan.active(True)
        else:
            wlan.disconnect()
        self._begun_ms = now_ms
        if self._password:
            wlan.connect(self._ssid, self._password)
        else:
            wlan.connect(self._ssid)
