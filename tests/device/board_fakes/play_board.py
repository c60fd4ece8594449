"""The whole firmware with a real board's file, in the pretended world.

`micropython play_board.py SETTINGS.json`. The settings: protocol, device, tests (folders), flash, chip,
wires, tape, go, faults, has_counter, report. Exit as main.py does; then `report` says what was seen
outside. The world's time and what `micropython` has on a board are put into place before anything asks;
but asyncio sleeps by the real time.
"""

# ruff: noqa: PTH123
# This file also runs on MicroPython, which lacks what this rule asks for.

import asyncio
import json
import sys
import time

_ASYNCIO = asyncio.sleep  # now: before time is lent
GC_THRESHOLD_BYTES = 512 * 1024
TICKS_MASK = (1 << 30) - 1


class Proxy:
    """A built-in module with other things in it."""

    def __init__(self, module):
        for name in dir(module):
            if name[0] != "_":
                setattr(self, name, getattr(module, name))


def lend_time(world):
    """The ticks of the world's time. CPython's module is changed: it has no ticks of its own."""
    if hasattr(time, "ticks_us"):
        passing = world.Time(time.ticks_us, time.ticks_diff)
        lent = sys.modules["time"] = Proxy(time)
    else:
        passing = world.Time(lambda: time.monotonic_ns() // 1000, lambda now, before: now - before)
        lent = time
        lent.ticks_diff = lambda one, other: ((one - other + (1 << 29)) & TICKS_MASK) - (1 << 29)
    lent.ticks_us = lambda: passing.us() & TICKS_MASK
    lent.ticks_ms = lambda: passing.us() // 1000 & TICKS_MASK
    return passing


def lend_micropython():
    """What a board has in `micropython` and a computer does not."""
    try:
        import micropython
    except ImportError:
        micropython = None
    proxy = sys.modules["micropython"] = Proxy(micropython)
    proxy.alloc_emergency_exception_buf = lambda _bytes: None


def main():
    with open(sys.argv[1]) as file:
        settings = json.loads(file.read())
    fakes = __file__.rsplit("/", 1)[0]
    sys.path[:0] = [fakes, settings["device"], settings["protocol"], settings["tests"]]
    import world

    passing = lend_time(world)
    lend_micropython()
    one = world.World(
        passing,
        settings["chip"],
        settings["wires"],
        settings["tape"],
        settings["go"],
        settings["faults"],
        settings["has_counter"],
    )
    world.set_up(one)
    # All of them now: the firmware switches assertions off, in what is compiled from then on.
    for name in ("machine", "neopixel", "network", "rp2"):
        __import__(name)
    sys.modules["machine"].settle()
    sys.argv[1:] = [settings["flash"]]
    import firmware

    # The garbage is mostly the pretended world's, which is no reason to collect it all the time.
    firmware.GC_THRESHOLD_BYTES = GC_THRESHOLD_BYTES
    code = firmware.main()
    one.report(settings["report"])
    return code


if __name__ == "__main__":
    sys.exit(main())
