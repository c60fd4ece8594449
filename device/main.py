"""Power-on: choose which firmware runs, and run it. `main.py FLASH_DIR` on a computer.

A pen holds its firmware in two slots, `slots/a` and `slots/b`. `slots/state.a` and `slots/state.b` are
two copies of one record: which slot has proved itself, which one is on trial, and how many boots the
trial has left. A boot takes one off *before* it runs the trial, so a firmware that hangs, or never
reaches the gateway, uses its boots up, and the proved slot runs again. A slot runs only if every file
has the SHA-256 that its `manifest` says. With no slot, as on a maker's bare copy and on a computer,
the firmware beside this file runs.

No update replaces this file: a bundle's paths all lie within a slot. Everything that may need to change
is in the slots; what can not is here, and in the format of the state, which update.py writes too.
Returning ends in SystemExit, which on a board is a soft reset: the next boot.
"""

import gc
import sys
from binascii import crc32, hexlify
from hashlib import sha256
from struct import pack, unpack

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

COPIES = ("state.a", "state.b")
FORMAT = "<IIBBBB"  # serial, highest version confirmed, confirmed slot, trial, boots left, given up
SIZE = 16  # with the CRC-32 of the rest at its end, little endian
FOLDERS = ("", "a", "b")  # of the slots; number 0 is this file's own folder


def load(slots: str) -> "tuple[tuple[int, ...] | None, int]":
    """(the newest good copy of the state, number of the other copy, which is to be written first)."""
    state = None
    stale = 0
    for copy in (0, 1):
        data = b""
        try:
            with open(slots + COPIES[copy], "rb") as file:
                data = file.read()
        except OSError:
            pass
        if len(data) == SIZE and crc32(data[:-4]).to_bytes(4, "little") == data[-4:]:
            found = unpack(FORMAT, data[:-4])
            if state is None or found[0] > state[0]:
                state = found
                stale = 1 - copy
    return state, stale


def save(slots: str, stale: int, *state: int) -> None:
    """Write both copies, the stale one first: at any moment one of them is whole."""
    data = pack(FORMAT, *state)
    data += crc32(data).to_bytes(4, "little")
    for copy in (stale, 1 - stale):
        with open(slots + COPIES[copy], "wb") as file:
            file.write(data)
            file.flush()


def is_whole(place: str) -> bool:
    """True if the slot has a manifest, and each file in it has its SHA-256."""
    buffer = memoryview(bytearray(512))
    files = 0
    try:
        with open(place + "/manifest", "rb") as manifest:
            manifest.readline()  # the version
            for line in manifest:
                digest, path = line.split()
                found = sha256()
                with open(place + "/" + path.decode(), "rb") as file:
                    while count := file.readinto(buffer):
                        found.update(buffer[:count])
                if hexlify(found.digest()) != digest:
                    return False
                files += 1
    except (OSError, ValueError):
        return False
    return files > 0


def show(error: Exception) -> None:
    """The traceback, on standard error."""
    if hasattr(sys, "print_exception"):
        sys.print_exception(error, sys.stderr)
    else:
        sys.excepthook(type(error), error, error.__traceback__)


def start(place: str, here: str) -> "object | None":
    """The module `firmware` of a folder, or None if it can not be imported."""
    gc.collect()
    modules = list(sys.modules)
    path = sys.path[:]
    # No firmware may borrow modules from another: a mixture of two versions was never tested.
    sys.path[:] = [place] + [one for one in path if one not in ("", here)]
    try:
        return __import__("firmware")
    except Exception as error:  # whatever it is, this firmware can not run: another may
        show(error)
    for name in list(sys.modules):
        if name not in modules:
            del sys.modules[name]
    sys.path[:] = path
    return None


def boot(flash: str, here: str) -> "object | None":
    """The firmware that this power-on runs, imported; None if none can be."""
    slots = flash + "/slots/"
    state, stale = load(slots)
    serial, highest, confirmed, trial, boots_left, given_up = state or (0, 0, 1, 0, 0, 0)
    tried = []
    for slot in (trial or confirmed, confirmed, 1, 2, 0):
        if slot in tried:
            continue
        tried.append(slot)
        is_trial = slot > 0 and slot == trial
        place = slots + FOLDERS[slot] if slot else here
        firmware = None
        if (boots_left or not is_trial) and (not slot or is_whole(place)):
            if is_trial:
                serial += 1
                save(slots, stale, serial, highest, confirmed, trial, boots_left - 1, given_up)
            firmware = start(place, here)
        if firmware is not None:
            return firmware
        if is_trial:
            save(slots, stale, serial + 1, highest, confirmed, 0, 0, trial)
    return None


def run(firmware: "Any") -> int:
    """The exit code of the firmware; 1 if it crashes, or if none could be started."""
    try:
        return 1 if firmware is None else firmware.main()
    except Exception as error:  # a crash is a boot that proved nothing
        show(error)
        return 1


def main() -> int:
    """The exit code. The firmware has the heap for itself: what has found it is deleted."""
    global load, save, is_whole, start, boot  # noqa: PLW0603
    own_path = globals().get("__file__", "")
    here = own_path.rsplit("/", 1)[0] if "/" in own_path else ""
    firmware = boot(sys.argv[1] if len(sys.argv) > 1 else "", here)
    del load, save, is_whole, start, boot
    gc.collect()
    return run(firmware)


if __name__ == "__main__":
    sys.exit(main())
