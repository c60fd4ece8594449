"""The firmware's composition root: `main()` is one power-on.

The only file that knows of sockets, processes and clocks. An update that lies in flash comes first,
while the heap is empty. Then two tasks: the sampler hears the board and never waits for the network;
the connection's task connects, moves bytes, and connects again. Everything is built here, passed in.

Exit: 0 all records committed, 2 a file that a person must mend, 3 the records could not be delivered in
time (they stay in flash for the next run), 4 an update was installed: start again. On a board whatever
ends here starts anew.
"""

# ruff: noqa: PLC0415
# A module is imported when its turn comes: the order decides how much heap compiling needs.

import asyncio
import gc
import json
import os
import random
import sys

from needletrail_device.clock import Clock
from needletrail_device.loading import forget

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

LOW = "low"  # drivers.faults: a battery that is low has not failed
EXIT_INPUT, EXIT_RESTART = 2, 4  # ending has the others
GC_THRESHOLD_BYTES = 4096
COMPUTERS = ("linux", "darwin", "win32")  # where somebody types a command


def _here() -> str:
    """The folder of this file."""
    return __file__.rsplit("/", 1)[0] if "/" in __file__ else "."


def _add_paths() -> None:
    here = _here()
    if "/slots/" in here:
        return  # main.py has put the slot first, and nothing else may be borrowed
    protocol = os.getenv("NEEDLETRAIL_PROTOCOL") or here + "/../protocol"
    for path in (protocol, here):
        if path not in sys.path:
            sys.path.insert(0, path)


class Heap:
    """The largest heap seen, on MicroPython; CPython has no such figure."""

    def __init__(self) -> None:
        self.peak_bytes: "int | None" = None
        if hasattr(gc, "mem_alloc"):
            from micropython import opt_level

            self.peak_bytes = 0
            gc.threshold(GC_THRESHOLD_BYTES)
            opt_level(3)  # code without line numbers takes less of the heap

    def look(self) -> None:
        """Remember the figure, if it is the largest."""
        if self.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes, gc.mem_alloc())


def tell(event: str, *pairs: "tuple[str, Any]") -> None:
    """One JSON object on a line of standard output."""
    line = '{"event": ' + json.dumps(event)
    for name, value in pairs:
        line += ", " + json.dumps(name) + ": " + json.dumps(value)
    sys.stdout.write(line + "}\n")
    sys.stdout.flush()


class Pen:
    """What one power-on works with. assembly builds it, in order.

    feed: the watchdog's. context: of TLS, or None. wifi: None on a computer.
    """

    config: "Any"
    board: "Any"
    journal: "Any"
    limits: "Any"
    recorder: "Any"
    uplink: "Any"
    connection: "Any"
    context: "Any"
    wifi: "Any"

    feed: "Callable[[], object]"

    def __init__(self, clock: "Any", heap: Heap) -> None:
        self.clock = clock
        self.heap = heap

    async def open_stream(self) -> "tuple[Any, Any]":
        """A stream to the broker; OSError if there is none."""
        from needletrail_device.streams import open_stream

        if self.wifi is not None:
            await self.wifi.join()
        config = self.config
        return await open_stream(config.broker_host, config.broker_port, self.context)

    def backlog(self) -> int:
        """Records that the gateway has not committed."""
        return self.journal.next_seq - 1 - self.journal.durable_seq

    # ---- sampling ----

    async def sample(self, network: "Any") -> None:
        """Hear the board until it is over, or until the network's task has crashed and nobody works."""
        board = self.board
        recorder = self.recorder
        journal = self.journal
        written = recorder.written
        is_first = True
        board.start()
        while await board.next():
            t_ms = board.t_ms
            if is_first:
                recorder.begin(board.strokes)
                is_first = False
            event = board.take_event()
            while event is not None:
                self._hear(t_ms, event[0], event[1])
                event = board.take_event()
            for part, driver in board.faults:
                fault = driver.fault
                recorder.fault(t_ms, part, None if fault == LOW else fault)
            if board.is_reading:
                recorder.reading(t_ms, board.counts, board.strokes, board.contact_adc)
            board.is_online = self.uplink.is_online()
            board.is_open = journal.open_session != 0
            board.is_armed = not recorder.not_armed
            if recorder.written != written:
                written = recorder.written
                self.heap.look()
            if network.done() and not board.is_open:
                break
        recorder.power_off()
        board.stop()

    def _hear(self, t_ms: int, name: str, tag: bytes) -> None:
        if name == "badge":
            self.recorder.badge_read(t_ms, tag)
        elif name == "cartridge":
            self.recorder.cartridge_arrived(t_ms, tag)
        else:
            self.recorder.cartridge_removed(t_ms)


def _assemble(pen: Pen, flash: str) -> bool:
    """Build what a power-on needs; False: an update was installed.

    The modules for it are forgotten when this has returned; so it keeps them in no other frame.
    """
    from needletrail_device import assembly

    return assembly.build(pen, flash, _here(), tell)


async def power_on(flash: str) -> int:
    """One power-on, from boot to power off."""
    pen = Pen(Clock(), Heap())
    is_built = _assemble(pen, flash)
    forget("needletrail_device.assembly", "needletrail_device.update")
    if not is_built:
        return EXIT_RESTART
    forget("boards." + pen.config.board)
    network = asyncio.create_task(pen.connection.run(random.random))
    if hasattr(pen.board, "wait_ready"):
        await pen.board.wait_ready(pen.config.wait_ready_s, pen.uplink, pen.limits)
    await pen.sample(network)
    from needletrail_device import ending

    code = await ending.end(pen, network, tell)
    forget("needletrail_device.ending")
    return code


def main() -> int:
    """The exit code."""
    _add_paths()
    if len(sys.argv) != 2 and sys.platform in COMPUTERS:
        sys.stderr.write("usage: main.py FLASH_DIR\n")
        return EXIT_INPUT
    random.seed(int.from_bytes(os.urandom(4), "big"))
    from needletrail_device.inputs import InputError

    try:
        return asyncio.run(power_on(sys.argv[1] if len(sys.argv) == 2 else ""))
    except InputError as error:
        sys.stderr.write(str(error) + "\n")
        return EXIT_INPUT
