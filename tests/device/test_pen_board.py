"""pen.json and the virtual board: what a person can get wrong is said with file, line and cause."""

# ruff: noqa: PTH107, PTH123, ARG005
# This file also runs on MicroPython, which lacks what these rules ask for.

import json
import os

from pen_fakes import raises

from boards import virtual
from needletrail_device import config
from needletrail_device.inputs import InputError

PATH = "/tmp/needletrail-%d.csv" % int.from_bytes(os.urandom(6), "big")
HEAD = "# tape: x\n# pen: pen-01\n# start: 2026-07-01T09:30:00Z\n# hz: 50\n"
COLUMNS = "t_ms,dial_counts,strokes,contact_adc,event\n"
GOOD = {
    "clinic": "harbor",
    "pen": "pen-01",
    "epoch": 1,
    "key": "00" * 32,
    "broker": {"host": "127.0.0.1", "port": 1883, "username": None, "password": None},
    "calibration": [[410, 0], [1010, 500]],
    "reading_tolerance_um": 30,
    "board": "virtual",
    "virtual": {"tape": "/x.csv", "speed": 2.5},
}


def changed(place, name, value):
    fields = json.loads(json.dumps(GOOD))
    (fields[place] if place else fields)[name] = value
    return json.dumps(fields)


def test_a_good_pen_json():
    settings = config.load("pen.json", json.dumps(GOOD))
    assert (settings.clinic, settings.pen, settings.epoch) == ("harbor", "pen-01", 1)
    assert settings.key == bytes(32)
    assert (settings.broker_host, settings.broker_port) == ("127.0.0.1", 1883)
    assert settings.broker_username is None
    assert settings.calibration.depth_um(710) == 250
    assert (settings.tape, settings.speed) == ("/x.csv", 2.5)
    assert (settings.wait_ready_s, settings.drain_timeout_s) == (30, 120)


def test_what_pen_json_may_not_say():
    for place, name, value in (
        ("", "clinic", "Harbor"),
        ("", "pen", ""),
        ("", "pen", 1),
        ("", "epoch", 0),
        ("", "epoch", True),
        ("", "epoch", "1"),
        ("", "key", "00"),
        ("", "key", "zz" * 32),
        ("", "broker", []),
        ("broker", "port", 0),
        ("broker", "port", 65536),
        ("broker", "host", None),
        ("broker", "username", 1),
        ("", "calibration", [[1, 2]]),
        ("", "calibration", [[1, 2], [1, 3]]),
        ("", "calibration", [[1, 2], [3]]),
        ("", "calibration", [[1, 2], ["a", "b"]]),
        ("", "reading_tolerance_um", -1),
        ("", "board", None),
        ("", "virtual", None),
        ("virtual", "speed", -1),
        ("virtual", "tape", None),
        ("", "drain_timeout_s", -1),
    ):
        with raises(InputError) as caught:
            config.load("/flash/pen.json", changed(place, name, value))
        text = str(caught.error)
        assert text.startswith("/flash/pen.json: ") and "\n" not in text, text


def test_names_missing_from_pen_json():
    for name in GOOD:
        fields = dict(GOOD)
        del fields[name]
        with raises(InputError) as caught:
            config.load("pen.json", json.dumps(fields))
        assert name in str(caught.error), name


def test_no_json_at_all():
    for text in ("", "{", "[]", "nothing", '{"clinic": '):
        with raises(InputError):
            config.load("pen.json", text)


# ---- tapes ----


class Sleeper:
    def __init__(self):
        self.now_ms_value = 500
        self.slept_s = []

    def now_ms(self):
        return self.now_ms_value

    async def sleep_s(self, seconds):
        self.slept_s.append(seconds)
        self.now_ms_value += int(seconds * 1000)


def finished(coroutine):
    """The result of a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def board(text, speed=0):
    with open(PATH, "w") as file:
        file.write(text)
    try:
        sleeper = Sleeper()
        one = virtual.Board(PATH, speed, sleeper.now_ms, sleeper.sleep_s, lambda *pairs: None)
        one.sleeper = sleeper
        return one
    finally:
        os.remove(PATH)


def test_rows_and_events():
    rows = (
        "0,410,0,877,\n20,411,3,878,badge:d1ff\n40,412,3,879,cartridge:\n60,1,3,0,removed:cartridge\n"
    )
    one = board(HEAD + COLUMNS + rows)
    assert (one.name, one.period_ms) == ("virtual", 20)
    assert one.utc_ms == 1782898200000
    assert finished(one.next())
    assert (one.t_ms, one.counts, one.strokes, one.contact_adc) == (0, 410, 0, 877)
    assert one.take_event() is None
    events = []
    while finished(one.next()):
        events.append(one.take_event())
        assert one.take_event() is None
    assert events == [("badge", b"\xd1\xff"), ("cartridge", b""), ("removed", b"")]


def test_speed_is_in_times_of_real_time():
    rows = "".join(["%d,410,0,877,\n" % t_ms for t_ms in range(1000, 3000, 20)])
    for speed, wanted_ms in ((1, 1980), (10, 198), (0.5, 3960)):
        one = board(HEAD + COLUMNS + rows, speed)
        while finished(one.next()):
            pass
        assert abs(one.sleeper.now_ms_value - 500 - wanted_ms) <= 25
    one = board(HEAD + COLUMNS + rows, 0)
    while finished(one.next()):
        pass
    assert one.sleeper.slept_s == [0] * 4


def test_utc_of_many_starts():
    for start, utc_s in (
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951868799),
        ("2024-03-01T00:00:00Z", 1709251200),
        ("2026-12-31T12:34:56Z", 1798720496),
        ("2100-03-01T00:00:00Z", 4107542400),
    ):
        one = board("# start: " + start + "\n# hz: 100\n" + COLUMNS)
        assert (one.utc_ms, one.period_ms) == (utc_s * 1000, 10), start


BAD_ROWS = (
    ("", "1 fields"),
    ("20,410,0,877", "4 fields"),
    ("20,410,0,877,,", "6 fields"),
    ("0,410,0,877,", "t_ms does not rise"),
    ("20,x,0,877,", "not a whole number"),
    ("20,,0,877,", "not a whole number"),
    ("20,4096,9,877,", "12 bits"),
    ("20,-1,9,877,", "12 bits"),
    ("20,410,9,5000,", "12 bits"),
    ("20,410,4,877,", "backwards"),
    ("20,410,9,877,stroke:1", "unknown event"),
    ("20,410,9,877,removed:badge", "unknown event"),
    ("20,410,9,877,badge:xy", "not hexadecimal"),
    ("20,410,9,877,badge:abc", "not hexadecimal"),
    ("20,410,9,877,badge:" + "00" * 889, "more than 888"),
)


def test_rows_that_no_sensor_could_have_said():
    for row, cause in BAD_ROWS:
        one = board(HEAD + COLUMNS + "0,410,5,877,\n" + row + "\n")
        assert finished(one.next())
        with raises(InputError) as caught:
            finished(one.next())
        text = str(caught.error)
        assert text.startswith(PATH + ", line 7: ") and cause in text, text


def test_heads_that_are_none():
    for head, line in (
        ("", 1),
        ("t_ms\n", 1),
        (HEAD, 5),
        ("# hz: 50\n" + COLUMNS, 2),
        ("# start: 2026-07-01T09:30:00Z\n" + COLUMNS, 2),
        ("# start: 2026-07-01T09:30:00Z\n# hz: 0\n" + COLUMNS, 3),
        ("# start: 2026-13-01T09:30:00Z\n# hz: 50\n" + COLUMNS, 3),
        ("# start: 2026-07-01 09:30:00Z\n# hz: 50\n" + COLUMNS, 3),
    ):
        with raises(InputError) as caught:
            board(head)
        assert (PATH + ", line %d: " % line) in str(caught.error), head


def test_a_tape_that_is_not_there():
    with raises(InputError) as caught:
        virtual.Board("/no/such.csv", 0, None, None, None)
    assert str(caught.error) == "/no/such.csv: cannot be read"
