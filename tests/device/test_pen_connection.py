"""Lanes and their tasks: when one is tried, given up and closed. Streams are in memory."""

import asyncio

from pen_fakes import raises

from needletrail_device import connection, mqtt
from needletrail_device.connection import Connection, retry_delay_ms
from needletrail_device.uplink import SILENCE_MS

CONNACK = b"\x20\x02\x00\x00"


class Client:
    """What a lane asks of a client."""

    def __init__(self, now_ms):
        self.quiet_ms = now_ms
        self.is_dead = False

    def tick(self, now_ms):
        if self.is_dead:
            raise mqtt.RemoteError("dead")

    def waited_ms(self, now_ms):
        return now_ms - self.quiet_ms

    def outbound(self, now_ms):
        return b"c"

    def feed_bytes(self, data, now_ms):
        self.quiet_ms = now_ms
        return [("connected",)] if data == CONNACK else []


class Uplink:
    """What a connection asks of the uplink."""

    def __init__(self):
        self.is_ready = False
        self.client = None
        self.lanes = []
        self.fed = b""
        self.fault = None

    def connect(self, now_ms, lane):
        self.lanes.append(lane)
        return Client(now_ms)

    def begin(self, client, now_ms):
        self.client = client

    def end(self):
        self.client = None
        self.is_ready = False

    def feed(self, data, now_ms):
        self.fed += data
        if self.fault is not None:
            raise self.fault

    def outbound(self, now_ms):
        return b""


class Bench:
    def __init__(self):
        self.told = []
        self.uplink = Uplink()
        self.connection = Connection(self.uplink, None, None, self.tell, None)
        self.lanes = self.connection.lanes

    def tell(self, event, *pairs):
        self.told.append(pairs[0][1])

    def supervise(self, now_ms):
        return self.connection.supervise(now_ms, lambda: 0.5)

    def speaking(self):
        lane = self.supervise(0)
        self.connection.opened(lane, 0)
        self.connection.feed(lane, CONNACK, 0)
        self.uplink.is_ready = True
        return lane


def test_the_wait_before_connecting_again_doubles_with_jitter():
    assert retry_delay_ms(0, 0.0) == connection.RETRY_FIRST_MS // 2
    assert retry_delay_ms(0, 0.999) < connection.RETRY_FIRST_MS
    assert retry_delay_ms(2, 0.0) == 2 * connection.RETRY_FIRST_MS
    for failures in range(5, 1000, 90):
        assert retry_delay_ms(failures, 0.0) == connection.RETRY_MAX_MS // 2
        assert retry_delay_ms(failures, 0.999) < connection.RETRY_MAX_MS


def test_live_again_within_five_seconds_by_the_constants():
    connecting_ms = 1500  # TLS on a slow microcontroller, and the gateway's answer
    pause_ms = max(connection.RETRY_MAX_MS, connection.PROBE_MS)
    supervise_ms = 2 * int(connection.SUPERVISE_S * 1000)
    assert pause_ms + supervise_ms + connecting_ms <= 5000
    assert connection.SUSPECT_MS + SILENCE_MS + supervise_ms + 500 <= 5000, "a hello was not answered"
    assert mqtt.DEAD_AFTER_MS + supervise_ms <= 30_000, "half-open connections are found in 30 s"
    assert mqtt.DEAD_AFTER_MS > mqtt.PING_AFTER_MS + 10_000, "a ping's answer may take 10 s"


def test_attempts_that_fail_come_ever_more_slowly():
    bench = Bench()
    begun_ms = []
    for now_ms in range(0, 30_000, 10):
        lane = bench.supervise(now_ms)
        if lane is not None:
            begun_ms.append(now_ms)
            bench.connection.lose(lane, "refused")
            bench.connection.lose(lane, "twice")
    gaps = [begun_ms[index + 1] - begun_ms[index] for index in range(len(begun_ms) - 1)]
    assert begun_ms[0] == 0 and gaps == sorted(gaps)
    assert gaps[0] < 250 and gaps[-1] == 2250
    assert bench.told == ["refused"], "told once"


def test_a_quiet_lane_gets_a_second_one_beside_it_and_keeps_its_place_when_it_speaks():
    bench = Bench()
    elder = bench.speaking()
    assert bench.supervise(connection.SUSPECT_MS - 1) is None
    second = bench.supervise(connection.SUSPECT_MS)
    assert second is not None and bench.lanes == [elder, second]
    bench.connection.opened(second, 3100)
    assert bench.uplink.lanes == [0, 1], "the broker shall let both live"
    assert bench.connection.outbound(elder, 3100) == b""
    assert bench.connection.outbound(second, 3100) == b"c"
    third = None
    for now_ms in range(3000, 6100, 50):
        third = third or bench.supervise(now_ms)
    assert bench.lanes == [elder, third] and third is not second
    bench.connection.feed(elder, b"x", 6200)
    elder.client.quiet_ms = 6200
    assert bench.supervise(6250) is None
    assert bench.lanes == [elder]
    assert bench.uplink.client is elder.client and bench.uplink.fed == b"x"
    assert bench.told == []


def test_the_lane_that_the_broker_accepts_first_is_the_one():
    bench = Bench()
    elder = bench.speaking()
    second = bench.supervise(4000)
    bench.connection.opened(second, 4000)
    bench.connection.feed(second, b"\x20", 4001)
    assert bench.uplink.client is elder.client
    bench.connection.feed(second, CONNACK, 4002)
    assert bench.uplink.client is second.client and bench.lanes == [second]
    assert bench.told == ["another was quicker"]


def test_an_attempt_may_win_before_an_older_one_without_a_word():
    bench = Bench()
    elder = bench.supervise(0)
    second = bench.supervise(connection.SUSPECT_MS)
    bench.connection.opened(elder, 3001)
    bench.connection.opened(second, 3001)
    bench.connection.feed(elder, CONNACK, 3002)
    assert bench.lanes == [elder] and bench.told == []


def test_dead_lanes_are_given_up_whether_open_or_not():
    bench = Bench()
    lane = bench.speaking()
    lane.client.is_dead = True
    assert bench.supervise(100) is None, "not at once"
    assert bench.told == ["dead"] and bench.uplink.client is None and bench.lanes == []
    assert bench.supervise(100 + connection.RETRY_FIRST_MS) is not None
    bench = Bench()
    first = bench.supervise(0)
    for now_ms in range(0, mqtt.DEAD_AFTER_MS + 1, 50):
        assert first in bench.lanes, "not before its time"
        bench.supervise(now_ms)
    assert bench.told == ["no connection within %d ms" % mqtt.DEAD_AFTER_MS]
    assert first not in bench.lanes


# ---- tasks ----


class Stream:
    """Reader and writer: what the broker says, and what it heard. `says` holds bytes or errors."""

    def __init__(self, says, breaks=None):
        self.says = says
        self.heard = b""
        self.is_closed = False
        self._breaks = breaks

    async def read(self, count):
        while not self.says:
            await asyncio.sleep(0.01)
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def write(self, data):
        self.heard += data

    async def drain(self):
        await asyncio.sleep(0)
        if self._breaks is not None:
            raise self._breaks

    def close(self):
        self.is_closed = True

    async def wait_closed(self):
        raise OSError("gone already")


class Tasks(Bench):
    """A connection whose streams come from a list; an error in it is an attempt that fails."""

    def __init__(self, streams):
        Bench.__init__(self)
        self.streams = list(streams)
        self.now_ms = 0
        self.looks = 0
        self.connection = Connection(self.uplink, self.open_stream, self.clock, self.tell, self.look)

    async def open_stream(self):
        if not self.streams:
            await asyncio.sleep(60)
        stream = self.streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        return stream, stream

    def clock(self):
        self.now_ms += 100  # at each look: time is not what is tested here
        return self.now_ms

    def look(self):
        self.looks += 1

    async def until(self, condition):
        running = asyncio.create_task(self.connection.run(lambda: 0.0))
        try:
            for _ in range(500):
                if condition() or running.done():
                    break
                await asyncio.sleep(0.01)
            if running.done():
                await running
            assert condition(), self.told
        finally:
            running.cancel()
            await asyncio.sleep(0.05)


def test_bytes_go_both_ways_until_cancelled():
    stream = Stream([CONNACK, b"hello"])
    bench = Tasks([stream])
    asyncio.run(bench.until(lambda: bench.uplink.fed == b"hello"))
    assert stream.heard[:1] == b"c" and stream.is_closed and bench.looks > 1


def test_whatever_ends_a_stream_is_told_and_a_new_one_is_opened():
    streams = [
        OSError("no way"),
        MemoryError(),
        Stream([b""]),
        Stream([mqtt.RemoteError("nonsense")]),
        Stream([], OSError("broken")),
        Stream([CONNACK]),
    ]
    bench = Tasks(streams)
    asyncio.run(bench.until(lambda: bench.uplink.client is not None))
    assert bench.told == [
        "no way",
        "MemoryError",
        "closed by the broker",
        "nonsense",
        "broken",
    ]
    assert all(stream.is_closed for stream in streams[2:])


def test_a_fault_of_ours_is_seen():
    bench = Tasks([Stream([CONNACK, b"x"])])
    bench.uplink.fault = KeyError("ours")
    with raises(KeyError):
        asyncio.run(bench.until(lambda: False))


def test_a_lane_that_is_given_up_is_closed():
    elder = Stream([CONNACK])
    second = Stream([])
    bench = Tasks([elder, second])

    def is_given_up():
        if second.heard and not elder.says:
            elder.says.append(b"alive")
        return second.is_closed

    asyncio.run(bench.until(is_given_up))
    assert b"alive" in bench.uplink.fed, "the first one speaks on"
    assert bench.uplink.lanes[:2] == [0, 1]
