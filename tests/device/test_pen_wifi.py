"""Wi-Fi: joined once, tried anew when it is slow, and the clock set before the first stream."""

import asyncio

from needletrail_device import wifi


class Radio:
    """A network.WLAN as MicroPython documents it, whose access point answers after `needed` polls."""

    def __init__(self, needed):
        self.needed = needed
        self.calls = []
        self.is_active = False

    def active(self, is_on):
        self.is_active = is_on

    def connect(self, *arguments):
        assert self.is_active
        self.calls.append(arguments)

    def disconnect(self):
        self.calls.append("disconnect")

    def isconnected(self):
        self.needed -= 1
        return self.needed < 0


class Bench:
    """A Wifi whose time passes only while it sleeps."""

    def __init__(self, needed, password="password", ask_time=None):
        self.now_ms = 0
        self.radio = Radio(needed)
        self.wifi = wifi.Wifi(self.radio, "clinic", password, self.now, self.sleep, ask_time)

    def now(self):
        return self.now_ms

    async def sleep(self, nap_s):
        self.now_ms += int(nap_s * 1000)

    def join(self):
        asyncio.run(self.wifi.join())


def test_a_network_that_is_there_is_not_joined_again():
    bench = Bench(0)
    bench.join()
    assert bench.radio.calls == []
    assert not bench.now_ms


def test_it_waits_for_an_address():
    bench = Bench(20)
    bench.join()
    assert bench.radio.calls == [("clinic", "password")]
    assert bench.now_ms == 2000


def test_an_open_network_has_no_password():
    bench = Bench(1, "")
    bench.join()
    assert bench.radio.calls == [("clinic",)]


def test_an_attempt_that_brings_nothing_is_begun_anew():
    bench = Bench(320)
    bench.join()
    attempt = ("clinic", "password")
    assert bench.radio.calls == [attempt, "disconnect", attempt, "disconnect", attempt]
    assert 2 * wifi.ATTEMPT_MS < bench.now_ms < 3 * wifi.ATTEMPT_MS


def test_after_a_loss_it_joins_at_once():
    bench = Bench(3)
    bench.join()
    bench.radio.needed = 3
    bench.radio.calls.clear()
    bench.join()
    assert bench.radio.calls == [("clinic", "password")]


def test_the_clock_is_asked_for_until_it_was_set_once():
    answers = [OSError(110), OverflowError(), None]
    asked = []

    def ask_time():
        asked.append(1)
        error = answers.pop(0)
        if error is not None:
            raise error

    bench = Bench(0, ask_time=ask_time)
    for _ in range(5):
        bench.join()
    assert len(asked) == 3
