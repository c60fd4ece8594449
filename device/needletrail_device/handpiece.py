"""The handpiece: the parts of a real pen, joined into what the firmware calls a board.

Strategy: a timer's Sampler fills the ring and feeds the guard, whatever else goes on. `next` hands the
main task one reading after another. When the ring is empty the rest gets its turn, every few
milliseconds: tags, lights, button, battery, the motor's current; and a chip that lost its power is set
up again. While a sensor has no reading, `next` still comes back ten times a second, with `is_reading`
false, so that faults and tags are heard and time goes on.

Each second the sampling is looked at, too: readings that the ring had no room for (LOST), and a timer
that was held up for longer than a reading says anything (LATE), are a fault of "sampling".

The watchdog is fed only while the timer ticks and this loop runs: if either stops, the pen restarts.
A breach is shown from within the timer (`Signals.alarm`), and a hard limit stops the motor there; the
main task takes both over when it comes by.

Not here: pins and buses (boards), what a reading means (recorder).
"""

from needletrail_device.drivers.button import LONG
from needletrail_device.drivers.faults import BUS, LATE, LOST, LOW
from needletrail_device.guard import Guard
from needletrail_device.sampling import Ring, Sampler
from needletrail_protocol.measure import READING_HOLD_MS

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

NAP_S = 0.005
READINGS_A_TURN = 25  # of a backlog in the ring, before others get their turn
BLIND_MS = 100
SECOND_MS = 1000
CURRENT_MS = 20  # ina219: a conversion takes 17 ms
TURNING_MS = 100
BREACH_AGAIN_MS = 1500  # a breach that lasts is shown again
OLD_MS = 1 << 29  # restart an idle pen: sampling's times stay small integers


def _nothing() -> None:
    pass


class Parts:
    """What a board's file has built. None: this board has no such part.

    start_timer(period_ms, tick): begin calling tick; what it returns is kept, and has deinit().
    charger: a Pin that is low while the battery is being charged.
    """

    dial: "Any" = None
    strokes: "Any" = None
    skin: "Any" = None
    tags: "Any" = None
    signals: "Any" = None
    start_timer: "Any" = None
    period_ms = 20
    current: "Any" = None
    battery: "Any" = None
    button: "Any" = None
    set_motor: "Callable[[bool], Any] | None" = None
    charger: "Any" = None


class Handpiece:
    """After `next`: is_reading, t_ms, counts, strokes, contact_adc; take_event and faults.

    feed: the watchdog's. time_ns: UTC in nanoseconds since 1970, or None while the clock is not set.
    The owner sets is_online, is_open (a session) and is_armed (one may begin), which lights show.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        ticks_ms: "Callable[[], int]",
        ticks_diff: "Callable[[int, int], int]",
        sleep_s: "Callable[[float], Any]",
        feed: "Callable[[], object]",
        time_ns: "Callable[[], int | None]",
    ) -> None:
        self.name = name
        self.period_ms = parts.period_ms
        self._parts = parts
        self._sleep_s = sleep_s
        self._feed = feed
        self._time_ns = time_ns
        self._ring = Ring()
        self._is_busy = False  # the dial is being set up: the timer keeps off its bus
        self._ticks_ms = ticks_ms
        self._ticks_diff = ticks_diff
        self._sampler = Sampler(
            self._ring, self._read_dial, parts.strokes.count, parts.skin.read, ticks_ms, ticks_diff
        )
        self.set_motor = parts.set_motor
        self.guard = Guard(self._breach_begins, _nothing)
        self._sampler.guard = self.guard
        self.t_ms = self.counts = self.strokes = self.contact_adc = 0
        self.is_reading = False
        self.is_online = self.is_open = self.is_armed = False
        self._event: "Any" = None
        self._timer: "Any" = None
        self._ready = 0  # readings since others had their turn
        self._seen_strokes = 0
        self._fed_ms = self._second_ms = self._current_ms = self._turned_ms = 0
        self._is_alarm = False  # the timer saw a breach begin
        self._breach_ms = 0  # when a breach was last shown
        self.fault: "str | None" = None  # of the sampling itself
        self._lost = 0  # readings that the ring had no room for, as far as they were told
        self.utc_ms = self.vitals()[1]
        self.faults = [("dial", parts.dial), ("skin", parts.skin), ("strokes", parts.strokes)]
        self.faults.append(("sampling", self))
        others = (("tags", parts.tags), ("current", parts.current), ("battery", parts.battery))
        for part, driver in others:
            if driver is not None:
                self.faults.append((part, driver))

    def vitals(self) -> "tuple[int, int | None, int | None]":
        """(ms since power-on, UTC in ms or None), at one moment; the battery's charge in %, or None."""
        sampler = self._sampler
        last = None
        while last != sampler.last:  # else a tick came in between
            last = sampler.last
            time_ns = self._time_ns()
            t_ms = sampler.t_ms + self._ticks_diff(self._ticks_ms(), last)
        battery = self._parts.battery
        percent = battery.percent if battery is not None and battery.percent >= 0 else None
        return t_ms, None if time_ns is None else time_ns // 1000000, percent

    def start(self) -> None:
        """Begin to take readings."""
        start_timer = self._parts.start_timer
        self._parts.start_timer = None  # the last of the board's file that was needed (loading.py)
        self._timer = start_timer(self.period_ms, self._sampler.tick)

    def stop(self) -> None:
        """Take no more readings; the motor is off."""
        self._timer.deinit()
        if self.set_motor is not None:
            self.set_motor(False)

    # ---- in the timer ----

    def _read_dial(self) -> int:
        return -1 if self._is_busy else self._parts.dial.read()

    def _breach_begins(self) -> None:
        if self.guard.is_hard and self.set_motor is not None:
            self.set_motor(False)
        self._is_alarm = True
        self._parts.signals.alarm()

    # ---- in the main task ----

    async def next(self) -> bool:
        """Wait for the next reading, or for news. False: the pen is to restart."""
        ring = self._ring
        while True:
            if self._ready < READINGS_A_TURN and ring.take():
                self._ready += 1
                self.t_ms = ring.t_ms
                self.counts = ring.counts
                self.strokes = ring.strokes
                self.contact_adc = ring.contact_adc
                self.is_reading = True
                return True
            is_behind = self._ready == READINGS_A_TURN
            self._ready = 0
            await self._sleep_s(0 if is_behind else NAP_S)
            now_ms = self._sampler.t_ms
            self._look(now_ms)
            if self._is_end(now_ms):
                return False
            if now_ms - self.t_ms >= BLIND_MS and not is_behind and not ring.is_waiting():
                self.t_ms = now_ms
                self.is_reading = False
                return True

    def take_event(self) -> "tuple[str, bytes] | None":
        """What a tag did: ("badge" or "cartridge", NDEF message) or ("removed", b""); then None."""
        return self._parts.tags.take_event()

    def show(self, what: str) -> None:
        """Light and buzz: a name of signals.TABLE, one with "_over" behind it, or an alert's code."""
        signals = self._parts.signals
        if what[-5:] == "_over":
            signals.clear(what[:-5], self._sampler.t_ms)
        else:
            signals.show(what, self._sampler.t_ms)

    def _look(self, now_ms: int) -> None:
        """Everything that is not a reading."""
        parts = self._parts
        signals = parts.signals
        if now_ms != self._fed_ms:
            self._fed_ms = now_ms
            self._feed()
        parts.tags.step(now_ms)
        is_lasting = self.guard.is_breach and now_ms - self._breach_ms >= BREACH_AGAIN_MS
        if self._is_alarm or is_lasting:
            self._is_alarm = False
            self._breach_ms = now_ms
            signals.show("breach", now_ms)
        if self._sampler.strokes != self._seen_strokes:
            self._seen_strokes = self._sampler.strokes
            self._turned_ms = now_ms
        if parts.current is not None and now_ms - self._current_ms >= CURRENT_MS:
            self._current_ms = now_ms
            parts.current.opinion(now_ms, now_ms - self._turned_ms < TURNING_MS)
        if now_ms - self._second_ms >= SECOND_MS:
            self._second_ms = now_ms
            self._each_second(now_ms)
        signals.tick(now_ms)

    def _each_second(self, now_ms: int) -> None:
        parts = self._parts
        sampler = self._sampler
        lost = self._ring.lost
        self.fault = None
        if lost != self._lost:
            self._lost = lost
            self.fault = LOST
        elif sampler.longest_ms > READING_HOLD_MS:
            self.fault = LATE
        sampler.longest_ms = 0
        if parts.dial.fault == BUS:
            self._is_busy = True
            parts.dial.configure()
            self._is_busy = False
        if parts.current is not None and parts.current.fault == BUS:
            parts.current.configure()
        is_low = False
        if parts.battery is not None:
            parts.battery.measure()
            is_low = parts.battery.fault == LOW
        self._set("low_battery", is_low, now_ms)
        self._set("charging", parts.charger is not None and not parts.charger.value(), now_ms)
        self._set("offline", not self.is_online, now_ms)
        self._set("armed", self.is_open, now_ms)
        self._set("ready", self.is_armed, now_ms)

    def _set(self, name: str, is_on: bool, now_ms: int) -> None:
        if is_on:
            self._parts.signals.show(name, now_ms)
        else:
            self._parts.signals.clear(name, now_ms)

    def _is_end(self, now_ms: int) -> bool:
        """A long press, or a pen that has been on for days: when no session runs, it restarts."""
        button = self._parts.button
        if button is not None and button.step(now_ms) == LONG:
            return True
        return now_ms >= OLD_MS and not self.is_open
