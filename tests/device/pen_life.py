"""The life of a pen's firmware on a flash whose power can be cut: boots, bundles, trials, roll-backs.

main.py, update.py and bundle.py are the real ones. Only `import firmware` is replaced: what stands in a
slot's firmware.mpy says how that firmware behaves, and it starts only if *every* byte of the slot is
one that was signed. For both interpreters.
"""

# This file also runs on MicroPython, which lacks what these rules ask for.

from pen_flash import (
    BOARD,
    HEIR,
    MAKER,
    Inserted,
    PowerCut,
    bundle_of,
    firmware_files,
    flash_with,
    slot_of,
    state_of,
)

import main
from needletrail_device import bundle, update

NAME = "/flash/update.bundle"
HERE = "/here"
BOOTS_MAX = 40

GOOD, MUTE, CRASHES, BROKEN = "good", "mute", "crashes", "broken"
BEHAVIOUR = {0: GOOD, 1: GOOD, 2: GOOD, 3: MUTE, 4: BROKEN, 5: CRASHES, 6: GOOD, 7: GOOD}
FILES = {}
BUNDLES = {}
for _version in BEHAVIOUR:
    if _version:
        FILES[_version] = firmware_files("firmware %d" % _version)
        BUNDLES[_version] = bundle_of(FILES[_version], _version)
TAMPERED = BUNDLES[6][:-1] + b"?"
FOREIGN = bundle_of(FILES[6], 6, HEIR)
BARE = {"/here/update.key": MAKER.modulus}


class Life:
    """Boots on one flash. `proved` is the highest version that was ever confirmed here."""

    def __init__(self, flash, proved=0):
        self.flash = flash
        self.proved = proved
        self.running = None
        self.reasons = []
        self.starts = 0
        self.shown = []

    def _version_at(self, place):
        """The version of a slot, of which every byte must be right. No step: the test looks itself."""
        if place == HERE:
            return 0
        found = {}
        for path in self.flash.files:
            if path.startswith(place + "/") and not path.endswith("/manifest"):
                found[path[len(place) + 1 :]] = self.flash.files[path]
        for version, files in FILES.items():
            if found == files:
                return version
        raise AssertionError("what main.py started is no firmware that was signed")

    def _start(self, place, here):
        assert here == HERE
        version = self._version_at(place)
        if BEHAVIOUR[version] == BROKEN:
            return None
        assert version >= self.proved, "the version went back"
        self.starts += 1
        return Firmware(self, place, version)

    def boot(self):
        """One power-on, until its firmware returns or PowerCut."""
        own = main.start, main.show
        main.start = self._start
        main.show = self.shown.append
        try:
            with Inserted(self.flash, main, update, bundle):
                starts = self.starts
                main.run(main.boot("/flash", HERE))
                assert self.starts == starts + 1, "no firmware was started"
        finally:
            main.start, main.show = own

    def settle(self):
        """Boot until a boot changes nothing. The number of boots."""
        for boots in range(1, BOOTS_MAX):
            files = dict(self.flash.files)
            self.boot()
            if self.flash.files == files:
                return boots
        raise AssertionError("it never comes to rest")

    def cut_after(self, steps):
        """Boot until the power is cut after so many steps. False if it came to rest before."""
        self.flash.steps_left = steps
        try:
            self.settle()
        except PowerCut:
            self.flash.power_on()
            return True
        self.flash.power_on()
        return False


class Firmware:
    """A firmware: takes a bundle if there is one, and reaches the gateway if it is good."""

    def __init__(self, life, place, version):
        self._life = life
        self._place = place
        self._version = version

    def main(self):
        life = self._life
        life.running = self._version
        if BEHAVIOUR[self._version] == CRASHES:
            raise ValueError("a defect")
        updater = update.Updater("/flash", self._place, BOARD)
        assert updater.version == self._version
        updater.take_given_up()
        if self._offer(updater):
            return 0
        if BEHAVIOUR[self._version] == GOOD:
            updater.confirm()
            life.proved = max(life.proved, self._version)
            self._offer(updater)
        return 0

    def _offer(self, updater):
        """True if a new version waits for its trial."""
        if NAME not in self._life.flash.files:
            return False
        reason = updater.offer()
        self._life.reasons.append(reason)
        return reason is None


def pen_with(data, version=None):
    """A life on a flash with this bundle; the version is proved in slot a, None is a bare copy."""
    if version is None:
        flash = flash_with(BARE)
    else:
        flash = flash_with(slot_of(FILES[version], version, "a"), state=state_of(9, version, 1))
    flash.put(NAME, data)
    return Life(flash, version or 0)


def fallen_back_with(data):
    """The same, but what was proved last is in slot b, and damaged; so slot a runs again."""
    slots = slot_of(FILES[2], 2, "a"), slot_of(FILES[2], 2, "b")
    flash = flash_with(*slots, state=state_of(9, 2, 2))
    flash.put("/flash/slots/b/firmware.mpy", b"damaged")
    flash.put(NAME, data)
    return Life(flash, 2)


# Name, how it begins, the version that runs in the end.
STAGES = (
    ("the first bundle", lambda: pen_with(BUNDLES[1]), 1),
    ("an update", lambda: pen_with(BUNDLES[2], 1), 2),
    ("a trial that never reaches the gateway", lambda: pen_with(BUNDLES[3], 2), 2),
    ("a trial that can not be imported", lambda: pen_with(BUNDLES[4], 2), 2),
    ("a trial that crashes", lambda: pen_with(BUNDLES[5], 2), 2),
    ("a mute trial after a fall-back", lambda: fallen_back_with(BUNDLES[3]), 2),
    ("a tampered bundle", lambda: pen_with(TAMPERED, 2), 2),
    ("a bundle of a stranger", lambda: pen_with(FOREIGN, 2), 2),
    ("a downgrade", lambda: pen_with(BUNDLES[1], 2), 2),
)


def assert_at_rest(life, version):
    """It runs that version, has proved it, remembers that, holds no bundle, and nothing is on trial."""
    assert life.running == version
    assert life.proved == version
    assert NAME not in life.flash.files
    with Inserted(life.flash, main):
        state = main.load("/flash/slots/")[0]
    assert (state[1] if state else 0) == version
    assert not state or state[3:5] == (0, 0)


def assert_can_be_updated(life):
    """A further bundle is installed to its end."""
    life.flash.put(NAME, BUNDLES[7])
    life.settle()
    assert_at_rest(life, 7)


def cut_everywhere(stage, survives):
    """Cut the power once at each step of a stage. The number of cuts."""
    _, begin, version = stage
    whole = begin()
    cuts = 0
    while True:
        life = Life(whole.flash.copy(survives), whole.proved)
        if not life.cut_after(cuts):
            assert_at_rest(life, version)
            return cuts
        cuts += 1
        life.settle()
        assert_at_rest(life, version)
        assert_can_be_updated(life)
