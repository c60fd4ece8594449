"""The two slots as the firmware sees them: which one runs, whether it is on trial, and new bundles.

A new version goes into the slot that does not run, and is on trial from the next boot. main.py counts
the trial's boots down; `confirm`, called when the gateway has answered in this boot, makes the running
slot the proved one and its version the lowest that is never left again. The order of the writes makes
every cut harmless: the state forgets a pending trial and names the running slot as the one to return
to, then the other slot is emptied, filled, and gets its manifest, then the state begins the trial,
then the bundle is deleted.

The state's format is main.py's, which no update replaces; so it is written out here once more, and
a bundle may rely on the format but not on a function of an older firmware.
"""

import os
import sys
from binascii import crc32
from struct import pack, unpack

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable

BUNDLE_FILE = "update.bundle"
TRIAL_BOOTS = 5
POLL_S = 0.01
_COPIES = ("state.a", "state.b")
_FORMAT = "<IIBBBB"  # serial, highest version confirmed, confirmed slot, trial, boots left, given up


class Updater:
    """`flash`: the flash folder, as main.py has it. `here`: the folder of the firmware that runs.

    `running` is 1 or 2, or 0 for a firmware in no slot; `version` is that slot's, or 0.
    `trial_boots_left`: boots that this firmware may still take to reach the gateway; None if it is
    not on trial. `highest` is the highest version that ever proved itself.
    """

    def __init__(self, flash: str, here: str, board: str) -> None:
        self._flash = flash
        self._slots = flash + "/slots/"
        self._here = here
        self._board = board
        self._serial = self.highest = self._confirmed = self._trial = 0
        self._boots_left = self._given_up = self._stale = 0
        for copy in (0, 1):
            data = _read(self._slots + _COPIES[copy])
            if len(data) == 16 and crc32(data[:-4]).to_bytes(4, "little") == data[-4:]:
                found = unpack(_FORMAT, data[:-4])
                if found[0] > self._serial:
                    self._serial, self.highest, self._confirmed = found[:3]
                    self._trial, self._boots_left, self._given_up = found[3:]
                    self._stale = 1 - copy
        self.running = 0
        if here[:-1] == self._slots:
            self.running = 1 if here[-1] == "a" else 2
        self.version = self._version(self.running)
        self.trial_boots_left = None
        if self.running and self.running == self._trial:
            self.trial_boots_left = self._boots_left
        else:
            self.highest = max(self.highest, self.version)

    def offer(self, progress: "Any" = None) -> "str | None":
        """Install update.bundle. None: restart to begin the trial. Or the reason why it is refused.

        Takes seconds, so not during a session. The bundle is deleted, but for the reason `on_trial`.
        `progress(bytes, of bytes)` is called after each file. OSError if there is no bundle.
        """
        name = self._flash + "/" + BUNDLE_FILE
        os.stat(name)
        from needletrail_device import bundle  # noqa: PLC0415  only when there is one

        with open(name, "rb") as file:
            try:
                reason = self._install(bundle, file, progress)
            except bundle.Refused as error:
                reason = error.args[0]
            except OSError as error:
                reason = "no_space" if error.errno == 28 else "write_failed"
            except MemoryError:
                reason = "no_memory"
        if reason != "on_trial":
            os.remove(name)
        return reason

    def _install(self, bundle: "Any", file: "Any", progress: "Any") -> "str | None":
        mpy_version = getattr(sys.implementation, "_mpy", 6) & 0xFF  # CPython loads none
        key = _read(self._here + "/" + bundle.KEY_FILE)
        found = bundle.Bundle(file, key, self._board, mpy_version)
        if found.version == self.version:
            return "installed"
        if found.version <= self.highest:
            return "downgrade"
        if self.trial_boots_left is not None:
            return "on_trial"
        slot = 2 if self.running == 1 else 1
        place = self._place(slot)
        bundle.make_folder(self._slots[:-1])
        bundle.make_folder(place)
        self._save(self.running, 0, 0)
        try:
            found.unpack(place, progress)
        except Exception:
            bundle.clear(place)  # the journal needs the room
            raise
        self._save(self.running, slot, TRIAL_BOOTS)
        return None

    def confirm(self) -> None:
        """The gateway has answered, so the running firmware has proved itself. Writes only on trial."""
        if self.trial_boots_left is not None:
            self.highest = max(self.highest, self.version)
            self.trial_boots_left = None
            self._save(self.running, 0, 0)

    async def prove(
        self, uplink: "Any", sleep_s: "Callable[[float], Any]", tell: "Callable[..., None]"
    ) -> None:
        """A firmware on trial has proved itself when the gateway has answered."""
        while not uplink.is_ready:
            await sleep_s(POLL_S)
        self.confirm()
        tell("confirmed", ("version", self.version))

    def take_given_up(self) -> int:
        """The version whose trial failed since this was last asked; 0 if none did, or it is gone."""
        version = self._version(self._given_up)
        if self._given_up:
            self._save(self._confirmed, self._trial, self._boots_left)
        return version

    def _place(self, slot: int) -> str:
        return self._slots + ("a" if slot == 1 else "b")

    def _version(self, slot: int) -> int:
        """Of what is in a slot; 0 if that is no slot, or has no manifest."""
        words = _read(self._place(slot) + "/manifest").split(None, 1) if slot else None
        return int(words[0]) if words and words[0].isdigit() else 0

    def _save(self, *numbers: int) -> None:
        self._serial += 1
        self._confirmed, self._trial, self._boots_left = numbers
        self._given_up = 0
        data = pack(_FORMAT, self._serial, self.highest, *numbers, 0)
        data += crc32(data).to_bytes(4, "little")
        for copy in (self._stale, 1 - self._stale):
            with open(self._slots + _COPIES[copy], "wb") as file:
                file.write(data)
                file.flush()


def _read(name: str) -> bytes:
    """All of a small file; nothing if there is none."""
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError:
        return b""
