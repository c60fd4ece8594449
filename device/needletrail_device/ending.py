"""The end of a power-on: what is left is delivered, and everything is closed (loading.py)."""

import asyncio
import sys

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

EXIT_DONE, EXIT_UNDELIVERED = 0, 3
IDLE_S = 0.01  # how long to sleep when there is nothing to do
LINGER_MS = 300  # after the last acknowledgement: an alert may still be on its way


async def end(pen: "Any", network: "Any", tell: "Callable[..., None]") -> int:
    """The exit code. network: the connection's task."""
    is_drained = await _drain(pen)
    if network.done():
        await network  # it never ends by itself: show what went wrong
    pen.uplink.disconnect()
    await asyncio.sleep(2 * IDLE_S)
    network.cancel()
    try:
        await network
    except asyncio.CancelledError:
        pass
    await asyncio.sleep(2 * IDLE_S)  # its lanes end, too
    pen.journal.close()
    pen.heap.look()
    if not is_drained:
        tell("undelivered", ("records", pen.backlog()))
        sys.stderr.write("no acknowledgement for too long; what is left stays in flash\n")
        return EXIT_UNDELIVERED
    if hasattr(pen.board, "lateness"):
        tell("sampled", ("late_ms", pen.board.lateness()))
    tell("done", ("records", pen.recorder.written), ("heap_peak_bytes", pen.heap.peak_bytes))
    return EXIT_DONE


async def _drain(pen: "Any") -> bool:
    """Wait until everything is committed. False: no progress for too long."""
    timeout_ms = int(pen.config.drain_timeout_s * 1000)
    quiet_ms = progress_ms = pen.clock.now_ms()
    state = None
    while True:
        now_ms = pen.clock.now_ms()
        now_state = (pen.journal.durable_seq, pen.journal.next_seq)
        if now_state != state:
            state = now_state
            progress_ms = now_ms
        if not pen.uplink.is_all_committed():
            quiet_ms = now_ms
        elif now_ms - quiet_ms >= LINGER_MS:
            return True
        if now_ms - progress_ms >= max(timeout_ms, LINGER_MS):
            return False
        pen.feed()
        await asyncio.sleep(IDLE_S)
