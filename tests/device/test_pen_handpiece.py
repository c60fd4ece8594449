"""The handpiece: readings one after another, the other parts in between, and nothing that hangs."""

import asyncio

from chip_fakes import I2C, Adc, As5600, Counter, Pin, allocated_bytes
from pen_fakes import raises

from needletrail_device.drivers.as5600 import Dial
from needletrail_device.drivers.battery import Battery
from needletrail_device.drivers.button import Button
from needletrail_device.drivers.haptic import Haptic
from needletrail_device.drivers.led import Led, PinLamp
from needletrail_device.drivers.signals import Signals
from needletrail_device.drivers.skin import AdcSkin
from needletrail_device.drivers.tachometer import CounterTachometer
from needletrail_device.handpiece import BLIND_MS, OLD_MS, READINGS_A_TURN, Handpiece, Parts
from needletrail_device.sampling import RING_READINGS
from needletrail_protocol.measure import READING_HOLD_MS

AIR, SKIN, DEEP = 400, 3000, 2000


class Tags:
    """A reader of tags whose events a test puts in."""

    fault = None

    def __init__(self):
        self.events = []
        self.steps = 0

    def step(self, now_ms):
        self.steps += 1

    def take_event(self):
        return self.events.pop(0) if self.events else None


class Timer:
    """Ticks every 20 ms of the bench's time."""

    def __init__(self, period_ms, tick):
        self.period_ms = period_ms
        self.tick = tick
        self.is_on = True

    def deinit(self):
        self.is_on = False


class Bench:
    """A handpiece of real drivers over chips in memory; its time passes while it sleeps."""

    def __init__(self, at_ms=0, has_battery=False):
        self.now_ms = at_ms
        self.is_held_up = False
        self.feeds = 0
        self.chip = As5600(1000)
        self.bus = I2C(self.chip)
        self.counter = Counter()
        self.adc = Adc(AIR)
        self.red, self.buzz, self.motor = Pin(), Pin(), []
        self.key = Pin(1)
        self.battery = Adc(2000)
        parts = Parts()
        parts.dial = Dial(self.bus)
        parts.dial.configure()
        parts.strokes = CounterTachometer(self.counter)
        parts.skin = AdcSkin(self.adc)
        parts.tags = Tags()
        parts.button = Button(self.key)
        parts.signals = Signals(Led(PinLamp(self.red, Pin(), Pin())), Haptic(self.buzz))
        parts.set_motor = self.motor.append
        parts.start_timer = self.start_timer
        if has_battery:
            parts.battery = Battery(self.battery)
        self.parts = parts
        self.pen = Handpiece(
            "bench", parts, self.ticks, self.difference, self.sleep, self.feed, self.time_ns
        )
        self.utc_ns = None
        self.pen.start()

    def start_timer(self, period_ms, tick):
        self.timer = Timer(period_ms, tick)
        return self.timer

    def ticks(self):
        return self.now_ms

    def difference(self, now, before):
        return now - before

    def feed(self):
        self.feeds += 1

    def time_ns(self):
        return getattr(self, "utc_ns", None)

    async def sleep(self, nap_s):
        self.pass_ms(round(nap_s * 1000))

    def pass_ms(self, milliseconds):
        for _ in range(milliseconds):
            self.now_ms += 1
            if self.timer.is_on and not self.is_held_up and self.now_ms % 20 == 0:
                self.timer.tick(None)

    def next(self):
        return asyncio.run(self.pen.next())

    def run(self, times):
        return [self.next() and self.pen.t_ms for _ in range(times)]


def test_readings_come_in_order_with_their_own_times():
    bench = Bench()
    assert bench.run(5) == [20, 40, 60, 80, 100]
    bench.counter.pulse(3)
    bench.next()
    pen = bench.pen
    assert pen.is_reading
    assert (pen.counts, pen.strokes) == (1000, 3)


def test_what_waits_in_the_ring_is_not_lost_and_others_get_their_turn():
    bench = Bench()
    bench.pass_ms(2000)
    steps = bench.parts.tags.steps
    assert bench.run(100) == list(range(20, 2001, 20))
    assert bench.parts.tags.steps - steps == (100 - 1) // READINGS_A_TURN


def test_without_a_reading_it_still_comes_back():
    bench = Bench()
    bench.run(5)
    bench.chip.is_silent = True
    before_ms = bench.pen.t_ms
    assert bench.next()
    assert not bench.pen.is_reading
    assert BLIND_MS <= bench.pen.t_ms - before_ms <= BLIND_MS + 25
    assert dict(bench.pen.faults)["dial"].fault == "bus"


def test_a_chip_that_comes_back_is_set_up_and_read_again():
    bench = Bench()
    bench.run(5)
    bench.chip.is_silent = True
    bench.run(20)
    bench.chip.power_up()
    bench.chip.is_silent = False
    bench.run(20)
    assert bench.next()
    assert bench.pen.is_reading
    assert dict(bench.pen.faults)["dial"].fault is None


def test_tags_are_heard_with_and_without_readings():
    bench = Bench()
    bench.run(3)
    for is_silent in (False, True):
        bench.chip.is_silent = is_silent
        bench.parts.tags.events.append(("badge", b"x"))
        assert bench.next()
        assert bench.pen.is_reading != is_silent
        assert bench.pen.take_event() == ("badge", b"x")
        assert bench.pen.take_event() is None


def test_the_watchdog_is_fed_only_while_the_timer_ticks():
    bench = Bench()
    bench.run(10)
    assert bench.feeds
    bench.is_held_up = True
    feeds = bench.feeds

    async def wait():
        task = asyncio.create_task(bench.pen.next())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with raises(asyncio.CancelledError):
            await task

    async def sleep(nap_s):
        bench.pass_ms(round(nap_s * 1000))
        await asyncio.sleep(0)

    bench.pen._sleep_s = sleep
    asyncio.run(wait())
    assert bench.feeds <= feeds + 1


def breach(bench, is_hard):
    """Beyond the limit on skin while the motor turns, without a turn of the main task."""
    guard = bench.pen.guard
    guard.over_counts = DEEP - 1
    guard.is_hard = is_hard
    bench.chip.angle = DEEP
    bench.adc.counts = SKIN
    for _ in range(30):
        bench.counter.pulse(2)
        bench.pass_ms(20)


def test_a_breach_is_shown_while_the_main_task_is_held_up():
    bench = Bench()
    bench.run(5)
    breach(bench, False)
    assert (bench.red.level, bench.buzz.level) == (1, 1)
    assert bench.motor == []


def test_a_hard_limit_stops_the_motor_in_the_timer():
    bench = Bench()
    bench.run(5)
    breach(bench, True)
    assert bench.motor == [False]
    assert bench.pen.guard.has_stopped


def test_a_breach_is_shown_for_3_s_after_its_end_also_if_it_was_over_before_anyone_looked():
    bench = Bench()
    bench.run(5)
    breach(bench, False)
    bench.adc.counts = AIR
    for _ in range(30):
        bench.pass_ms(20)
    assert not bench.pen.guard.is_breach
    ends_ms = bench.now_ms + 3000
    seen = set()
    while bench.pen.t_ms < ends_ms - 100:
        bench.next()
        seen.add(bench.red.level)
    assert seen == {0, 1}, "it blinks"
    while bench.pen.t_ms < ends_ms + 200:
        bench.next()
    assert (bench.red.level, bench.buzz.level) == (0, 0)


def test_a_breach_that_lasts_is_shown_as_long():
    bench = Bench()
    bench.run(5)
    breach(bench, False)
    from_ms = bench.now_ms
    dark = 0
    while bench.now_ms < from_ms + 10_000:
        bench.counter.pulse(2)
        bench.next()
        dark = 0 if bench.red.level else dark + 1
        assert dark < 10


def test_words_go_to_the_lights():
    bench = Bench()
    bench.pen.show("refused")
    assert (bench.red.level, bench.buzz.level) == (1, 1)
    bench.pen.show("refused_over")
    bench.run(60)
    assert (bench.red.level, bench.buzz.level) == (0, 0)


def test_only_a_low_battery_has_a_light():
    for cell, fault, levels in ((2000, "low", {0, 1}), (2600, None, {0})):
        bench = Bench(has_battery=True)
        bench.battery.counts = cell
        bench.run(300)
        assert dict(bench.pen.faults)["battery"].fault == fault
        seen = set()
        for _ in range(120):
            bench.next()
            seen.add(bench.red.level)
        assert seen == levels, "it blinks now and then, or never"


def test_a_long_press_ends_it():
    bench = Bench()
    bench.run(10)
    bench.key.level = 0
    while bench.next():
        assert bench.now_ms < 2000
    bench.pen.stop()
    assert not bench.timer.is_on
    assert bench.motor == [False]


def test_an_old_pen_restarts_when_no_session_runs():
    bench = Bench()
    bench.run(3)
    bench.now_ms += OLD_MS
    bench.now_ms -= bench.now_ms % 20
    bench.pen.is_open = True
    assert bench.next()
    assert bench.next()
    bench.pen.is_open = False
    while bench.next():
        assert bench.now_ms < OLD_MS + 1000


def test_the_clock_is_both_at_once():
    bench = Bench(at_ms=5000)
    assert bench.pen.utc_ms is None
    assert bench.pen.vitals() == (0, None, None)
    bench.run(3)
    bench.pass_ms(7)
    bench.utc_ns = 1_800_000_000_123_456_789
    t_ms, utc_ms, _ = bench.pen.vitals()
    assert t_ms == bench.now_ms - 5000
    assert utc_ms == 1_800_000_000_123


def test_a_turn_without_news_allocates_nothing():
    bench = Bench(has_battery=True)
    bench.run(200)
    sampler = bench.pen._sampler

    def tick():
        sampler.tick(None)
        bench.pen._ring.take()

    assert allocated_bytes(tick) == 0


# ---- the sampling itself ----


def sampling(bench):
    """What the main task hears of the sampling, second by second, until it is well again."""
    return {part: driver for part, driver in bench.pen.faults}["sampling"].fault


def test_a_timer_that_is_held_up_is_a_fault_for_a_second():
    bench = Bench()
    bench.run(60)
    assert sampling(bench) is None
    bench.is_held_up = True
    bench.pass_ms(READING_HOLD_MS + 40)
    bench.is_held_up = False
    seen = []
    for _ in range(150):
        bench.next()
        seen.append(sampling(bench))
    assert seen[-1] is None
    assert 45 <= seen.count("late") <= 52
    assert set(seen) == {None, "late"}


def test_a_timer_that_is_held_up_by_a_flash_write_is_none():
    bench = Bench()
    for _ in range(20):
        bench.run(5)
        bench.is_held_up = True
        bench.pass_ms(READING_HOLD_MS - 40)
        bench.is_held_up = False
        assert sampling(bench) is None


def test_readings_without_room_are_a_fault():
    bench = Bench()
    bench.run(60)
    bench.pass_ms(20 * RING_READINGS + 200)  # the main task is away
    seen = []
    for _ in range(RING_READINGS + 150):
        bench.next()
        seen.append(sampling(bench))
    assert bench.pen._ring.lost > 0
    assert seen[-1] is None
    assert set(seen) == {None, "lost"}
    lost = bench.pen._ring.lost
    bench.run(100)
    assert sampling(bench) is None and bench.pen._ring.lost == lost


def test_the_vitals_say_how_full_the_battery_is():
    bench = Bench(has_battery=True)
    assert bench.pen.vitals()[2] is None, "nobody has measured it yet"
    bench.run(60)
    assert 0 <= bench.pen.vitals()[2] <= 100
    assert bench.pen.vitals()[2] == bench.parts.battery.percent
    assert Bench().pen.vitals()[2] is None, "there is none"
