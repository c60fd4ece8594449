"""Ring and sampler: what the timer does to a reading, and that it allocates nothing for it."""

from needletrail_device.guard import Guard
from needletrail_device.sampling import Ring, Sampler

TICKS_PERIOD = 1 << 30  # MicroPython's ticks_ms begins anew there


class Board:
    """Sensors and a clock, as a test wants them."""

    def __init__(self, ticks=0):
        self.ticks = ticks
        self.counts = 900
        self.strokes = 0
        self.adc = 3000
        self.asked_ms = []
        self.ring = Ring(8)
        self.sampler = Sampler(
            self.ring, self.read_dial, self.count, self.read_skin, self.ticks_ms, self.ticks_diff
        )

    def ticks_ms(self):
        return self.ticks

    def ticks_diff(self, now, before):
        half = TICKS_PERIOD // 2
        return (now - before + half) % TICKS_PERIOD - half

    def read_dial(self):
        return self.counts

    def count(self, t_ms):
        self.asked_ms.append(t_ms)
        return self.strokes

    def read_skin(self, t_ms):
        return self.adc

    def tick(self, after_ms=20):
        self.ticks = (self.ticks + after_ms) % TICKS_PERIOD
        self.sampler.tick(None)

    def taken(self):
        found = []
        while self.ring.take():
            found.append((self.ring.t_ms, self.ring.counts, self.ring.strokes, self.ring.contact_adc))
        return found


def test_readings_come_out_as_they_went_in():
    ring = Ring(4)
    expected = []
    for number in range(50):
        assert not ring.is_waiting()
        for part in range(number % 4):
            reading = (20 * number + part, number, 7 * number, part)
            ring.put(*reading)
            expected.append(reading)
        while ring.take():
            assert (ring.t_ms, ring.counts, ring.strokes, ring.contact_adc) == expected.pop(0)
    assert not expected and ring.lost == 0


def test_a_full_ring_loses_the_newest_and_counts_them():
    ring = Ring(4)
    for number in range(6):
        ring.put(number, number, number, number)
    assert ring.lost == 3
    assert ring.is_waiting()
    assert ring.take() and ring.t_ms == 0
    ring.put(9, 9, 9, 9)
    found = []
    while ring.take():
        found.append(ring.t_ms)
    assert found == [1, 2, 9]
    assert ring.lost == 3


def test_the_ring_holds_times_and_strokes_of_any_size():
    ring = Ring(4)
    t_ms = strokes = 0
    for number in range(300):
        expected = []
        for _ in range(number % 3 + 1):
            t_ms += 1 + number * 217 % 0x10000 if expected else number * 3_000_017 % (1 << 21)
            strokes += number * 211 % 0x10000 if expected else number * 1_000_003 % (1 << 20)
            expected.append((t_ms, number * 13 % 4096, strokes, number * 7 % 4096))
            ring.put(*expected[-1])
        while ring.take():
            assert (ring.t_ms, ring.counts, ring.strokes, ring.contact_adc) == expected.pop(0)
        assert not expected
    assert ring.lost == 0


def test_what_the_ring_can_not_say_behind_a_reading_is_lost_and_not_another():
    for step in ((0x10000, 0), (0, 0x10000), (5, -1)):
        ring = Ring(8)
        ring.put(100, 1, 100, 1)
        ring.put(100 + step[0], 2, 100 + step[1], 2)
        ring.put(120, 3, 110, 3)
        assert ring.lost == 1
        assert ring.take() and (ring.t_ms, ring.counts) == (100, 1)
        assert ring.take() and (ring.t_ms, ring.counts, ring.strokes) == (120, 3, 110)
        assert not ring.take()
        ring.put(1 << 29, 4, 1 << 29, 4)  # the ring is empty: anything can be said
        assert ring.take() and (ring.t_ms, ring.strokes) == (1 << 29, 1 << 29)


def test_a_late_tick_bears_its_own_time():
    board = Board()
    for after_ms in (20, 20, 67, 13, 20):
        board.tick(after_ms)
    assert [t_ms for t_ms, _, _, _ in board.taken()] == [20, 40, 107, 120, 140]
    assert board.asked_ms == [20, 40, 107, 120, 140]
    assert board.sampler.longest_ms == 67


def test_ticks_that_were_queued_read_nothing():
    board = Board()
    for after_ms in (20, 93, 1, 0, 1, 2, 3, 20):
        board.tick(after_ms)
    assert [t_ms for t_ms, _, _, _ in board.taken()] == [20, 113, 140]
    assert board.asked_ms == [20, 113, 140]
    assert board.sampler.longest_ms == 93


def test_a_tick_less_than_half_a_period_after_another_reads_nothing():
    board = Board()
    for after_ms in (20, 30, 10, 31, 9, 20):
        board.tick(after_ms)
    assert [t_ms for t_ms, _, _, _ in board.taken()] == [20, 50, 60, 91, 120]


def test_the_wait_for_the_first_tick_is_no_delay():
    board = Board()
    board.tick(5000)
    assert board.sampler.longest_ms == 0
    board.tick()
    assert board.sampler.longest_ms == 20
    assert board.sampler.t_ms == 5020


def test_the_ports_clock_begins_anew():
    board = Board(TICKS_PERIOD - 30)
    for _ in range(4):
        board.tick()
    assert [t_ms for t_ms, _, _, _ in board.taken()] == [20, 40, 60, 80]
    assert board.sampler.longest_ms == 20


def test_what_is_not_known_is_a_hole():
    board = Board()
    board.tick()
    for name in ("counts", "strokes", "adc"):
        known = getattr(board, name)
        setattr(board, name, -1)
        board.tick()
        setattr(board, name, known)
    board.tick()
    assert [t_ms for t_ms, _, _, _ in board.taken()] == [20, 100]
    assert board.ring.lost == 0


def test_the_guard_sees_every_reading_although_the_ring_is_full():
    seen = []

    class Eye:
        def step(self, t_ms, counts, strokes, contact_adc):
            seen.append((t_ms, counts, strokes, contact_adc))

    board = Board()
    board.sampler.guard = Eye()
    for number in range(20):
        board.strokes = number
        board.counts = -1 if number == 5 else 900
        board.tick()
    assert board.ring.lost == 20 - 7 - 1
    assert seen == [(20 * n + 20, 900, n, 3000) for n in range(20) if n != 5]


def test_a_tick_allocates_nothing():
    """On MicroPython the heap is locked, as in a hard interrupt: any allocation is a MemoryError."""
    told = [0, 0]

    def begins():
        told[0] += 1

    def ends():
        told[1] += 1

    class Still(Board):
        def count(self, t_ms):
            return self.strokes

    board = Still()
    board.sampler.guard = Guard(begins, ends)
    board.sampler.guard.over_counts = 1000
    try:
        from micropython import heap_lock, heap_unlock
    except ImportError:
        heap_lock = heap_unlock = dir  # CPython has no such thing; there it must only work
    for turn in range(40):
        board.counts = 1200 if 10 <= turn < 30 else 900
        heap_lock()
        try:
            for _ in range(6):
                board.strokes += 2
                board.tick()
        finally:
            heap_unlock()
        while board.ring.take():
            pass
    assert told == [1, 1]
    assert board.ring.lost == 0
    assert board.sampler.t_ms == 40 * 6 * 20
