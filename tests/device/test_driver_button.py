"""Button: one result a press, however it bounces."""

from chip_fakes import Pin, allocated_bytes

from needletrail_device.drivers.button import DEBOUNCE_MS, LONG, LONG_MS, NOTHING, SHORT, Button

UP, DOWN = 1, 0


class Finger:
    """A button over time, stepped every 10 ms."""

    def __init__(self, level=UP, pressed=None):
        self.pin = Pin(level)
        self.button = Button(self.pin, pressed) if pressed is not None else Button(self.pin)
        self.t_ms = 0

    def hold(self, level, milliseconds):
        """What the button says meanwhile."""
        self.pin.level = level
        said = []
        for _ in range(milliseconds // 10):
            result = self.button.step(self.t_ms)
            if result != NOTHING:
                said.append(result)
            self.t_ms += 10
        return said


def test_a_short_press_counts_when_it_ends():
    finger = Finger()
    assert finger.hold(UP, 200) == []
    assert finger.hold(DOWN, 300) == []
    assert finger.hold(UP, 200) == [SHORT]
    assert finger.hold(UP, 1000) == []


def test_a_long_press_counts_once_and_at_once():
    finger = Finger()
    finger.hold(UP, 200)
    assert finger.hold(DOWN, LONG_MS) == []
    assert finger.hold(DOWN, 10) == [LONG]
    assert finger.hold(DOWN, 5000) == []
    assert finger.hold(UP, 500) == []
    assert finger.hold(DOWN, 100) + finger.hold(UP, 100) == [SHORT]


def test_bouncing_makes_one_press():
    finger = Finger()
    finger.hold(UP, 200)
    said = []
    for level in (DOWN, UP, DOWN, UP, DOWN):
        said += finger.hold(level, 10)
    said += finger.hold(DOWN, 200)
    for level in (UP, DOWN, UP, DOWN, UP):
        said += finger.hold(level, 10)
    said += finger.hold(UP, 200)
    assert said == [SHORT]


def test_the_times_are_exact():
    for up_ms, results in ((1129, [NOTHING, SHORT]), (1130, [LONG, NOTHING])):
        pin = Pin(UP)
        button = Button(pin)
        button.step(0)
        button.step(30)
        pin.level = DOWN
        assert [button.step(t_ms) for t_ms in (100, 129, 130)] == [NOTHING] * 3
        said = [button.step(up_ms - 30)]
        pin.level = UP
        button.step(up_ms)
        assert button.step(up_ms + 29) == NOTHING
        said.append(button.step(up_ms + 30))
        assert said == results


def test_a_spike_is_no_press():
    finger = Finger()
    finger.hold(UP, 200)
    assert finger.hold(DOWN, DEBOUNCE_MS) == []
    assert finger.hold(UP, 500) == []


def test_a_button_down_at_power_on_is_no_press():
    finger = Finger(DOWN)
    assert finger.hold(DOWN, 5000) == []
    assert finger.hold(UP, 200) == []
    assert finger.hold(DOWN, 100) + finger.hold(UP, 100) == [SHORT]


def test_a_button_to_the_supply():
    finger = Finger(level=0, pressed=1)
    assert finger.hold(0, 200) == []
    assert finger.hold(1, 100) + finger.hold(0, 100) == [SHORT]


def test_a_step_allocates_nothing():
    finger = Finger()
    finger.hold(UP, 200)
    finger.pin.level = DOWN

    def step():
        finger.t_ms += 10
        finger.button.step(finger.t_ms)

    assert allocated_bytes(step) == 0
