"""Light and buzz: the most urgent is seen, a breach at once, nothing waits."""

from chip_fakes import Pin, Pixels, Pwm, allocated_bytes

from needletrail_device.drivers.haptic import Haptic
from needletrail_device.drivers.led import DARK, Led, PinLamp, PixelLamp
from needletrail_device.drivers.signals import NAMES, Signals, look
from needletrail_device.drivers.steps import Steps

TABLE = [(_name,) + look(_index) for _index, _name in enumerate(NAMES)]
ROWS = {}
for _row in TABLE:
    ROWS[_row[0]] = _row


class Show:
    """Signals on a pixel and a PWM, over time."""

    def __init__(self):
        self.pixels = Pixels()
        self.motor = Pwm()
        self.signals = Signals(Led(PixelLamp(self.pixels)), Haptic(self.motor, 40_000))
        self.now_ms = 0

    def show(self, name):
        self.signals.show(name, self.now_ms)

    def clear(self, name):
        self.signals.clear(name, self.now_ms)

    def run(self, milliseconds):
        """Tick every 10 ms; (light, buzz) after each."""
        seen = []
        for _ in range(milliseconds // 10):
            self.now_ms += 10
            self.signals.tick(self.now_ms)
            seen.append((self.pixels.seen, self.motor.duty))
        return seen

    def colours(self, milliseconds):
        return {light for light, _ in self.run(milliseconds)} - {DARK}


# ---- steps ----


def switched(steps, ticks_ms, is_endless=False):
    """What is on after each tick, and how often it was switched."""
    states = [None]
    player = Steps(states.append)
    player.play(bytes([step_ms // 10 for step_ms in steps]), 0, is_endless)
    seen = []
    for now_ms in ticks_ms:
        player.tick(now_ms)
        seen.append(states[-1])
    return seen, len(states) - 2, player


def test_steps_begin_within_the_call():
    states = []
    Steps(states.append).play(b"\x0a\x05", 7)
    assert states == [True]


def test_steps_follow_the_clock_and_end_off():
    seen, switches, player = switched((100, 50, 30), range(0, 240, 10))
    assert seen == [True] * 10 + [False] * 5 + [True] * 3 + [False] * 6
    assert switches == 3
    assert not player.is_playing


def test_a_late_tick_skips_what_is_over():
    seen, _, player = switched((100, 50, 30), (149, 179))
    assert seen == [False, True]
    assert switched((100, 50, 30), (5000,))[0] == [False]
    seen, _, player = switched((100, 50), (1025, 1110), True)
    assert seen == [False, True]
    assert player.is_playing


def test_endless_steps_do_not_drift():
    seen, switches, _ = switched((100, 100), range(7, 20_007, 13), True)
    assert switches == 2 * 20_007 // 200
    assert abs(seen.count(True) - len(seen) // 2) <= 2


def test_no_steps_stay_on():
    seen, switches, player = switched((), (10, 100_000))
    assert seen == [True, True]
    assert switches == 0
    assert player.is_playing


# ---- haptic motor and light ----


def test_the_motor_is_off_until_it_is_to_buzz():
    for output, level in ((Pin(1), 1), (Pwm(), 1234)):
        haptic = Haptic(output, 1234)
        assert (output.duty if level > 1 else output.level) == 0
        haptic.play(b"\x0a", 0)
        assert (output.duty if level > 1 else output.level) == level
        haptic.tick(100)
        assert (output.duty if level > 1 else output.level) == 0


def test_a_buzz_is_as_strong_as_it_can_be_if_nobody_says():
    output = Pwm()
    Haptic(output).play(b"\x0a", 0)
    assert output.duty == 65535


def test_three_pins_make_a_colour():
    for is_low in (False, True):
        pins = Pin(), Pin(), Pin()
        led = Led(PinLamp(*pins, is_low) if is_low else PinLamp(*pins))
        on, off = (0, 1) if is_low else (1, 0)
        assert [pin.level for pin in pins] == [off, off, off]
        led.show(b"\x50\x00\x03", b"", 0)
        assert [pin.level for pin in pins] == [on, off, on]
        led.stop()
        assert [pin.level for pin in pins] == [off, off, off]


def test_a_light_blinks_in_its_colour():
    pixels = Pixels()
    led = Led(PixelLamp(pixels))
    assert pixels.seen == DARK
    led.show(b"\x01\x02\x03", b"\x0a\x1e", 1000)
    seen = []
    for now_ms in range(1000, 1800, 100):
        led.tick(now_ms)
        seen.append(pixels.seen)
    assert seen == [b"\x01\x02\x03", DARK, DARK, DARK] * 2


# ---- signals ----


def test_a_breach_shines_and_buzzes_within_the_call():
    for before in [None] + [row[0] for row in TABLE[1:]]:
        show = Show()
        if before:
            show.show(before)
        show.show("breach")
        assert show.pixels.seen == ROWS["breach"][2]
        assert show.motor.duty == 40_000
        show.run(100)
        show.now_ms += 5
        show.show("breach")
        assert show.motor.duty == 40_000


def test_the_table_is_what_the_readme_says():
    """Seconds, colour, blink and buzz in milliseconds; README.md has them in words."""
    red, yellow, violet = b"\x50\x00\x00", b"\x50\x32\x00", b"\x3c\x00\x50"
    fast, even, seldom = [100, 100], [400, 400], [100, 1900]
    table = [
        ("breach", 3, red, fast, [300, 100, 300, 100, 300]),
        ("alert", 5, red, even, [200, 150, 200]),
        ("refused", 3, red, [], [800]),
        ("fault", 0, yellow, fast, [100, 100, 100]),
        ("journal_full", 0, violet, [], [800]),
        ("journal_warning", 0, violet, even, [100]),
        ("low_battery", 0, yellow, seldom, [100]),
        ("offline", 0, b"\x00\x00\x50", seldom, []),
        ("charging", 0, yellow, [], []),
        ("armed", 0, b"\x00\x3c\x00", [], [100]),
        ("ready", 0, b"\x1e\x1e\x1e", seldom, []),
    ]
    found = []
    for name, hold_s, colour, blink, buzz in TABLE:
        found.append((name, hold_s, colour, [10 * n for n in blink], [10 * n for n in buzz]))
    assert found == table


def test_each_signal_can_be_told_from_each_other():
    seen = [(row[2], row[3]) for row in TABLE]
    assert len(set(seen)) == len(seen) == len(ROWS)
    for name, _, colour, blink, _ in TABLE:
        show = Show()
        show.show(name)
        lights = [light for light, _ in show.run(2000)]
        assert colour in lights
        assert (DARK in lights) == bool(blink), name


def test_the_most_urgent_is_seen_whatever_the_order():
    for first in range(len(TABLE)):
        for second in range(len(TABLE)):
            show = Show()
            show.show(TABLE[first][0])
            show.show(TABLE[second][0])
            assert show.pixels.seen == TABLE[min(first, second)][2]


def test_a_breach_wins_over_a_fault_and_a_fault_over_the_network():
    show = Show()
    show.show("offline")
    assert show.colours(2000) == {ROWS["offline"][2]}
    show.show("fault")
    assert show.colours(2000) == {ROWS["fault"][2]}
    show.show("breach")
    assert show.colours(2990) == {ROWS["breach"][2]}
    assert show.colours(2000) == {ROWS["fault"][2]}
    show.clear("fault")
    assert show.colours(2000) == {ROWS["offline"][2]}
    show.clear("offline")
    assert show.colours(2000) == set()


def test_a_breach_that_goes_on_is_shown_until_3_s_after_its_last():
    show = Show()
    for _ in range(50):
        show.show("breach")
        assert show.colours(200) == {ROWS["breach"][2]}
    assert show.colours(2790) == {ROWS["breach"][2]}
    assert show.colours(500) == set()


def test_a_breach_that_goes_on_keeps_its_rhythm():
    once, often = Show(), Show()
    once.show("breach")
    seen = []
    for _ in range(100):
        often.show("breach")
        seen += often.run(10)
    assert seen == once.run(1000)
    assert {buzz for _, buzz in seen} == {0, 40_000}


def test_an_unknown_name_is_an_alert():
    show = Show()
    show.show("CARTRIDGE_RECALLED")
    known = Show()
    known.show("alert")
    assert show.motor.duty == 40_000
    assert show.run(4990) == known.run(4990)
    assert show.pixels.seen == ROWS["alert"][2]
    assert show.colours(500) == set()


def test_a_signal_that_stays_buzzes_once():
    show = Show()
    show.show("fault")
    assert [buzz for _, buzz in show.run(300)].count(40_000) > 0
    show.show("fault")
    assert [buzz for _, buzz in show.run(500)].count(40_000) == 0
    show.clear("fault")
    show.show("fault")
    assert show.motor.duty == 40_000


def test_a_less_urgent_buzz_does_not_cut_a_breach_short():
    plain, mixed = Show(), Show()
    plain.show("breach")
    mixed.show("breach")
    for name in ("armed", "fault", "refused", "DEPTH_EXCEEDED", "low_battery"):
        mixed.show(name)
    assert [buzz for _, buzz in mixed.run(2000)] == [buzz for _, buzz in plain.run(2000)]


def test_a_signal_without_a_buzz_leaves_the_motor_alone():
    show = Show()
    show.show("offline")
    show.show("ready")
    assert {buzz for _, buzz in show.run(3000)} == {0}


def test_nothing_is_shown_at_power_on():
    show = Show()
    assert show.pixels.seen == DARK
    assert show.motor.duty == 0
    assert show.colours(100) == set()


def test_a_tick_allocates_nothing():
    led = Led(PinLamp(Pin(), Pin(), Pin()))
    signals = Signals(led, Haptic(Pin()))
    signals.show("fault", 0)
    signals.show("armed", 0)
    now_ms = [0]

    def tick():
        now_ms[0] += 20
        signals.show("armed", now_ms[0])  # as each second says
        signals.tick(now_ms[0])

    assert allocated_bytes(tick) == 0
