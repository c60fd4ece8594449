"""The campaign of cuts: where a story is cut, and what became of it.

Every byte of every program is cut clean and torn, and reordered where an earlier operation was not yet
synced; so is every sync. Erases are cut clean, half-erased and reordered at every 16th byte, another
16th in each story, so that 16 stories have cut at every byte. Pairs are a cut and a second one in the
power-on after it, drawn by chance: an operation first, then a byte, then a kind, so that short
operations have their share.

A place is (operation, byte, kind). `story_of` numbers the stories: geometry, segment size and seed
follow from the number, so (seed, story, place) is all it takes to see a failure again.
"""

from torture import filesystem, flash, verdict, workload
from torture.flash import CLEAN, ERASE, HALF_ERASED, PROGRAM, REORDERED, SYNC, TORN

ERASE_STRIDE = 16
SEGMENTS_MAX_BYTES = (400, 1200, 4000)
STEPS = 40
UNSEEN_STEPS = (0, 60, 250)
SECONDS_A_FIRST = 8  # so many second cuts share one first cut


def story_of(seed, number):
    """Story `number` of a seed."""
    return workload.tell(
        seed * 1000003 + number,
        number % 3,
        SEGMENTS_MAX_BYTES[number // 3 % 3],
        STEPS,
        UNSEEN_STEPS[number // 9 % 3],
    )


def kinds_of(log, index):
    """The ways in which this operation can be cut."""
    what = log[index][0]
    is_alone = not filesystem.MAY_REORDER or flash.first_unsynced(log, index) == index
    if what == SYNC:
        return () if is_alone else (REORDERED,)
    return (CLEAN, TORN if what == PROGRAM else HALF_ERASED) + (() if is_alone else (REORDERED,))


def places_of(story, number):
    """Every place of a story, in order."""
    for index in range(len(story.log)):
        kinds = kinds_of(story.log, index)
        if not kinds:
            continue
        length = flash.length_of(story.log[index])
        is_erase = story.log[index][0] == ERASE
        for k in range(
            number % ERASE_STRIDE if is_erase else 0, length, ERASE_STRIDE if is_erase else 1
        ):
            for kind in kinds:
                yield index, k, kind


def some_place(log, dice):
    """A place by chance."""
    kinds = ()
    index = 0
    while not kinds:
        index = dice.below(len(log))
        kinds = kinds_of(log, index)
    return index, dice.below(flash.length_of(log[index])), kinds[dice.below(len(kinds))]


class Cutter:
    """Images of a story's cuts, made fast when the places come in order."""

    def __init__(self, story, seed):
        self._story = story
        self._seed = seed
        self._at = -1
        self._image = bytearray()
        self._synced = b""
        self._expected = None

    def cut(self, place):
        """(the image after the cut, what may be found there)."""
        index, k, kind = place
        log = self._story.log
        if index < self._at or self._at < 0:
            self._at = 0
            self._image = bytearray(self._story.image)
            self._synced = bytes(self._image)
            self._expected = None
        while self._at < index:
            if log[self._at][0] == SYNC:
                self._synced = bytes(self._image)
            else:
                flash.apply(self._image, log[self._at])
            self._at += 1
            self._expected = None
        if self._expected is None:
            self._expected = verdict.expect(self._story, index)
        before = self._synced if kind == REORDERED else self._image
        chance = b"%d %d %d %d" % (self._seed, index, k, kind)
        return flash.cut(before, log, index, k, kind, chance), self._expected


def judge(story, cutter, place, log=None):
    """Cut there, power on and judge. Raises verdict.Finding."""
    image, expected = cutter.cut(place)
    before = bytes(image) if log is not None else b""
    notes, records = verdict.boot_and_judge(
        image, expected, story.geometry, story.segment_max_bytes, log
    )
    if log is None:
        return None
    return verdict.continued(story, before, log, notes, records, expected)


def run_cuts(seed, number, part, parts, findings):
    """Every `parts`-th place of a story, from `part` on. Returns how many of each kind."""
    story = story_of(seed, number)
    cutter = Cutter(story, seed)
    counts = [0, 0, 0, 0]
    for position, place in enumerate(places_of(story, number)):
        if position % parts == part:
            counts[place[2]] += 1
            try:
                judge(story, cutter, place)
            except verdict.Finding as finding:
                findings.append((number, place, None, str(finding)))
    return counts


def run_pairs(seed, number, part, firsts, findings):
    """`firsts` first cuts by chance, each with SECONDS_A_FIRST second ones.

    Returns how many pairs of each kind of second cut.
    """
    story = story_of(seed, number)
    cutter = Cutter(story, seed)
    dice = workload.Dice(seed * 7919 + number * 104729 + part)
    counts = [0, 0, 0, 0]
    for place in sorted([some_place(story.log, dice) for _ in range(firsts)]):
        try:
            after = judge(story, cutter, place, [])
        except verdict.Finding as finding:
            findings.append((number, place, None, str(finding)))
            continue
        second_cutter = Cutter(after, seed)
        for second in sorted([some_place(after.log, dice) for _ in range(SECONDS_A_FIRST)]):
            counts[second[2]] += 1
            try:
                judge(after, second_cutter, second)
            except verdict.Finding as finding:
                findings.append((number, place, second, str(finding)))
    return counts
