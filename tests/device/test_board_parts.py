"""The boards' own parts: PIO programs, the counter's reading, which part a pin has, what is refused."""

import sys
import time
from array import array

from chip_fakes import allocated_bytes
from pen_fakes import raises

from needletrail_device.drivers.pio_beat import UndisturbedAdc
from needletrail_device.drivers.pio_counter import PioCounter
from needletrail_device.drivers.skin import AdcSkin, TouchSkin
from needletrail_device.drivers.tachometer import CounterTachometer, PinTachometer

HERE = __file__.rsplit("/", 1)[0]
README = HERE + "/../../device/README.md"
LENT = ("world", "machine", "network", "neopixel", "rp2", "wiring_table", "play_board", "micropython")
BOARDS = ("esp32_s3", "esp32_c3", "pico_w", "pico_2_w")


class StoppedTime:
    """The world's time, standing still: nothing here waits for it."""

    def us(self):
        return 0

    def watch(self):
        pass

    def let_go(self):
        pass


class Bench:
    """A board's file in the pretended world. Afterwards the interpreter is what it was."""

    def __init__(self, board, **rest):
        self._board = board
        self._rest = rest

    def __enter__(self):
        self._before = {name: sys.modules.pop(name, None) for name in LENT}
        self._is_lent = not hasattr(time, "ticks_us")
        if self._is_lent:
            time.ticks_us = StoppedTime().us
        sys.path.insert(0, HERE + "/board_fakes")
        import play_board
        import wiring_table
        import world

        play_board.lend_micropython()
        chip = wiring_table.CHIPS[self._board]
        self.wires = wiring_table.read(README, self._board)
        self.world = world.World(StoppedTime(), chip, self.wires, **self._rest)
        world.set_up(self.world)
        import machine

        machine.settle()
        self.machine = machine
        __import__("boards." + self._board)
        self.board = sys.modules["boards." + self._board]
        return self

    def __exit__(self, *_error):
        self.world.is_over = True
        if self._is_lent:
            del time.ticks_us
        sys.path.pop(0)
        for name in list(sys.modules):
            if name.startswith("boards.") and name != "boards":
                del sys.modules[name]
        for name, module in self._before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        import boards

        for name in ("esp", "pico", "wiring") + BOARDS:
            if hasattr(boards, name):
                delattr(boards, name)

    def strokes(self, count):
        pin = self.machine.Pin(self.wires["tachometer"])
        for _ in range(count):
            pin.drive(0)
            pin.drive(1)


def test_every_board_finds_its_parts_where_the_table_has_them():
    for name in BOARDS:
        with Bench(name) as bench:
            assert name == bench.board.NAME
            dial = bench.board.dial()
            assert dial.fault is None
            parts = bench.board.parts(dial)
            dial.read()
            assert dial.read() == 410
            assert parts.skin.read(0) == 900
            assert parts.battery.measure() in (3798, 3800, 3802)
            assert parts.current.fault is None
            bench.strokes(7)
            assert parts.strokes.count(0) == 7
            assert parts.button.step(0) == 0
            assert bench.world.shown == [], "nothing turns, buzzes or lights by itself"
            parts.set_motor(True)
            assert bench.world.shown == [(0, "motor", 1)]
            if name == "esp32_c3":
                assert parts.charger is None
            else:
                assert parts.charger.value()
                bench.machine.Pin(bench.wires["charging"]).drive(0)
                assert not parts.charger.value()
            assert bench.board.watchdog().timeout <= 8388
            assert not bench.board.wlan().isconnected()


def test_the_table_is_what_the_files_say():
    names = {
        "dial_sda": ("DIAL_SDA", "SDA"),
        "dial_scl": ("DIAL_SCL", "SCL"),
        "current_sda": ("TAGS_SDA", "SDA"),
        "current_scl": ("TAGS_SCL", "SCL"),
    }
    for name in BOARDS:
        with Bench(name) as bench:
            module = sys.modules["boards.pico"] if name[:4] == "pico" else bench.board
            for wire, gpio in bench.wires.items():
                found = [getattr(module, one, None) for one in names.get(wire, (wire.upper(),))]
                assert gpio in found, (name, wire)
            assert len(set(bench.wires.values())) == len(bench.wires) - 2, "one part a pin, but INA219"


def test_a_part_at_another_pin_is_not_there():
    with Bench("pico_w") as bench:
        bench.wires["dial_sda"] = 8
        dial = bench.board.dial()
        assert dial.fault == "bus"
        assert dial.read() == -1


def test_the_pretended_chips_refuse_what_the_real_ones_can_not():
    with Bench("esp32_s3") as bench:
        machine = bench.machine
        for number in (19, 26, 33, 37, 49):  # USB, flash, PSRAM, none
            with raises(ValueError):
                machine.Pin(number)
        with raises(ValueError):  # ADC2 is the radio's
            machine.ADC(machine.Pin(11))
        with raises(ValueError):
            machine.Timer(4)
        with raises(TypeError):
            machine.Pin(14).irq(handler=print, trigger=2, hard=True)
    with Bench("pico_w") as bench:
        machine = bench.machine
        with raises(ValueError):  # the radio's
            machine.Pin(25)
        with raises(ValueError):
            machine.I2C(0, scl=machine.Pin(4), sda=machine.Pin(5))
        with raises(ValueError):
            machine.WDT(timeout=9000)


def test_skin_of_the_s3_is_a_voltage_or_an_electrode():
    with Bench("esp32_s3") as bench:
        assert isinstance(bench.board.parts(bench.board.dial()).skin, AdcSkin)
        bench.board.TOUCH_IDLE_RAW = bench.machine.TouchPad.IDLE_RAW
        skin = bench.board.parts(bench.board.dial()).skin
        assert isinstance(skin, TouchSkin)
        assert skin.read(0) < 1800
        bench.world._rows = [(0, 410, 0, 3000)]
        assert skin.read(20) > 2200


def test_the_s3_counts_in_hardware_if_micropython_can():
    with Bench("esp32_s3") as bench:
        assert isinstance(bench.board.parts(bench.board.dial()).strokes, PinTachometer)
    with Bench("esp32_s3", has_counter=True) as bench:
        strokes = bench.board.parts(bench.board.dial()).strokes
        assert isinstance(strokes, CounterTachometer)
        bench.strokes(200)
        assert strokes.count(1000) == 200
        assert strokes.fault is None


# ---- PIO ----


def test_the_beat_is_the_period_whatever_it_is():
    with Bench("pico_2_w") as bench:
        import rp2

        from boards import pico

        for period_ms in (1, 5, 20, 100):
            machine = rp2.StateMachine(1, pico._beat, freq=pico._BEAT_HZ)
            machine.irq(print, hard=True)
            machine.put(period_ms * (pico._BEAT_HZ // 1000) - pico._BEAT_CYCLES)
            machine._to_interrupt()
            for _ in range(3):
                assert machine._to_interrupt() * 1000 == period_ms * pico._BEAT_HZ
        bench.world.is_over = True


def test_the_timer_calls_until_it_is_ended():
    with Bench("pico_w") as bench:
        timer = bench.board.parts(bench.board.dial()).start_timer(20, print)
        assert timer._machine.cycles == 200
        assert timer._machine._running
        timer.deinit()
        assert not timer._machine._running


def test_the_counter_counts_falling_edges_and_wraps():
    with Bench("pico_w") as bench:
        strokes = bench.board.parts(bench.board.dial()).strokes
        counter = strokes._counter
        assert counter.value() == 0
        pin = bench.machine.Pin(bench.wires["tachometer"])
        pin.drive(0)
        assert counter.value() == 1, "when it falls, not when it rises"
        pin.drive(0)
        pin.drive(1)
        assert counter.value() == 1
        bench.strokes(99)
        assert counter.value() == counter.value() == 100, "reading takes nothing away"
        for before, value in ((0xFFFF, 1), (0x12345, 0x2347), (0xFFFFFFFF, 1)):
            counter._machine._x = -before & 0xFFFFFFFF
            bench.strokes(2)
            assert counter.value() == value, "16 bits of 32"


class Fifo:
    """A state machine that answers without being one."""

    def __init__(self, words):
        self._words = words
        self._at = 0
        self.executed = array("H", [0, 0])

    def exec(self, word):
        self.executed[self._at & 1] = word
        self._at += 1

    def get(self, buffer):
        buffer[0] = self._words[0]
        return buffer


def test_reading_the_counter_allocates_nothing():
    fifo = Fifo(array("H", [0xFFFE]))
    counter = PioCounter(fifo)
    assert counter.value() == 2
    assert list(fifo.executed) == [0xA0C1, 0x8000], "mov(isr, x), push(noblock)"
    assert allocated_bytes(counter.value) == 0


class Converter:
    """An ADC that knows whether interrupts are let in."""

    def __init__(self):
        self.is_open = True
        self.seen = []

    def shut(self):
        self.is_open = False
        return 7

    def let(self, state):
        assert state == 7
        self.is_open = True

    def read_u16(self):
        self.seen.append(self.is_open)
        return 38730


def test_the_battery_is_read_while_interrupts_are_shut_out():
    converter = Converter()
    assert UndisturbedAdc(converter, converter.shut, converter.let).read_u16() == 38730
    assert converter.seen == [False]
    assert converter.is_open
