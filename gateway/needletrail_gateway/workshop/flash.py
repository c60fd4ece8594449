"""Putting firmware and pen.json onto a pen by cable, and making sure that they arrived.

First the pen is looked at, and nothing is changed before all that can be known to be wrong was found:
another kind of board, an old MicroPython, too little room, records of another pen. Then the slots are
emptied and filled, the state and main.py last, and every file is read back by its SHA-256. Records
(`epoch-*`) are never touched, unless erasing them was asked for.

`plan` is pure: the same look at a pen gives the same commands. A dry run is the plan for an empty pen.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from needletrail_gateway.workshop.build import Built, flash_files, read_build
from needletrail_gateway.workshop.enrolment import keys_of_pen
from needletrail_gateway.workshop.errors import ToolError, WorkshopError
from needletrail_gateway.workshop.pen_file import FILE, read_pen
from needletrail_gateway.workshop.port import Command, Port

MICROPYTHON_LEAST = (1, 25)
PLATFORMS = {"esp32": "esp32", "pico": "rp2", "virtual": "linux"}  # by the beginning of a board's name
_SLOWEST_BYTES_S = 500  # a serial line with all that mpremote says around the bytes
_FLASH_BLOCK_BYTES = 4096
CALIBRATION_DAYS = 365  # after which a dial is to be measured again

LOOK = """
import json, os, sys
def size(path):
    if os.stat(path)[0] & 0x4000:
        return sum(size(path + "/" + name) for name in os.listdir(path))
    return os.stat(path)[6]
names = os.listdir()
pen = {}
try:
    with open("pen.json") as file:
        found = json.load(file)
    pen = {name: found.get(name) for name in ("clinic", "pen", "epoch")}
except (OSError, ValueError):
    pass
room = os.statvfs(os.getcwd())
print(json.dumps({
    "version": list(sys.implementation.version[:3]),
    "mpy": getattr(sys.implementation, "_mpy", 0) & 0xFF,
    "platform": sys.platform,
    "machine": getattr(sys.implementation, "_machine", ""),
    "names": names,
    "slots_bytes": size("slots") if "slots" in names else 0,
    "free_bytes": room[1] * room[4],
    "pen": pen,
}))
"""

HASHES = """
import hashlib, json
found = {}
for path in json.loads(PATHS):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(512):
            digest.update(part)
    found[path] = "".join("%02x" % byte for byte in digest.digest())
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Found:
    """What is on a pen."""

    version: list[int] = field(default_factory=lambda: [*MICROPYTHON_LEAST, 0])
    mpy: int = 0
    platform: str = ""
    machine: str = ""
    names: list[str] = field(default_factory=list)
    slots_bytes: int = 0
    free_bytes: int = 0
    pen: dict[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> list[str]:
        """The folders with records."""
        return sorted(name for name in self.names if name.startswith("epoch-"))


@dataclass(frozen=True)
class Load:
    """What is to go onto a pen: content by path on the pen, in order, and where each comes from."""

    built: Built
    files: dict[str, bytes]
    origins: dict[str, Path]
    pen: dict[str, Any] | None

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))


def read_load(folder: Path, pen_json: Path | None) -> Load:
    """A built folder and a pen.json, with its certificate; WorkshopError if they do not fit."""
    built = read_build(folder)
    image = flash_files(folder)
    files: dict[str, bytes] = {}
    origins = {path: folder / path for path in image}
    pen = None
    if pen_json is not None:
        pen = read_pen(pen_json)
        if pen["board"] != built.board:
            raise WorkshopError(
                f"{pen_json} is for the board {pen['board']}, {folder} was built for {built.board}."
            )
        own = {FILE: pen_json}
        ca = pen["broker"].get("ca")
        if ca is not None:
            own = {str(ca): pen_json.with_name(str(ca)), **own}
        for path, origin in own.items():
            try:
                files[path] = origin.read_bytes()
            except OSError as error:
                raise WorkshopError(f"{origin}: can not be read: {error.strerror}.") from error
        origins |= own
    return Load(built, {**files, **image}, origins, pen)


def look(port: Port) -> Found:
    """What is on the pen; ToolError if nothing answers there."""
    said = port.ask(LOOK).strip().splitlines()
    try:
        return Found(**json.loads(said[-1]))
    except (IndexError, ValueError, TypeError) as error:
        raise ToolError(f"the pen at {port.name} answers, but not as expected: {said[-1:]}.") from error


def check(found: Found, load: Load, now: datetime, *, is_erasing: bool) -> list[str]:
    """Warnings about putting this onto that pen; WorkshopError if it must not be done."""
    built = load.built
    if tuple(found.version[:2]) < MICROPYTHON_LEAST:
        raise WorkshopError(
            f"the pen runs MicroPython {'.'.join(map(str, found.version))}; it needs "
            f"{'.'.join(map(str, MICROPYTHON_LEAST))} or newer. Install that first "
            "(docs/how-to/make-a-pen.md)."
        )
    if found.mpy != built.mpy_version:
        raise WorkshopError(
            f"the pen's MicroPython loads .mpy version {found.mpy}, this firmware has version "
            f"{built.mpy_version}. Build it with the mpy-cross of that MicroPython."
        )
    if not fits(built.board, found.platform, found.machine):
        raise WorkshopError(
            f"this is firmware for {built.board}; the pen's board says that it is {found.machine!r} "
            f"({found.platform}). Build for that board, or take another port."
        )
    blocks = sum(-(-len(data) // _FLASH_BLOCK_BYTES) for data in load.files.values())
    room = found.free_bytes + found.slots_bytes
    if room < blocks * _FLASH_BLOCK_BYTES:
        raise WorkshopError(
            f"the firmware takes {blocks * _FLASH_BLOCK_BYTES} bytes of flash; {room} are free. "
            "Let the pen deliver its records first."
        )
    return _check_identity(found, load, now, is_erasing=is_erasing)


def fits(board: str, platform: str, machine: str) -> bool:
    """True if a board of that name may be what MicroPython says it runs on."""
    wanted = next((word for start, word in PLATFORMS.items() if board.startswith(start)), None)
    if wanted is None or wanted == "linux":
        return wanted in (None, platform)
    names = ["".join(filter(str.isalnum, part)).upper() for part in machine.split(" with ")]
    return platform == wanted and any(board.replace("_", "").upper() in name for name in names)


def plan(found: Found, load: Load, *, is_erasing: bool) -> list[Command]:
    """mpremote's commands, in order."""
    commands: list[Command] = []
    gone = [*(found.epochs if is_erasing else []), *(["slots"] if "slots" in found.names else [])]
    commands += [["fs", "rm", "-r", f":{name}"] for name in gone]
    folders: list[str] = []
    for path in load.files:
        parts = path.split("/")[:-1]
        for length in range(1, len(parts) + 1):
            folder = "/".join(parts[:length])
            if folder not in folders:
                folders.append(folder)
    commands += [["fs", "mkdir", f":{folder}"] for folder in folders]
    for path in load.files:
        commands.append(["fs", "cp", "-f", str(load.origins[path].resolve()), f":{path}"])
    return commands


def write(
    port: Port, commands: list[Command], load: Load, progress: Callable[[int, int], None]
) -> None:
    """Do it, read every file back, and start the pen; ToolError if a file did not arrive."""
    done = 0

    def heard(line: str) -> None:
        nonlocal done
        if line.startswith(("cp ", "rm ", "mkdir ")):
            done += 1
            progress(done, len(commands))

    port.run(*commands, timeout_s=60 + load.total_bytes / _SLOWEST_BYTES_S, heard=heard)
    damaged = verify(port, load.files)
    if damaged:
        raise ToolError(
            f"after writing, the pen holds something else in {', '.join(damaged)}. Flash it again; "
            "if that does not help, replace the board."
        )
    progress(len(commands), len(commands))


def verify(port: Port, files: Mapping[str, bytes]) -> list[str]:
    """The paths whose content on the pen is another."""
    script = f"PATHS = {json.dumps(list(files))!r}\n{HASHES}"
    on_pen = json.loads(port.ask(script).strip().splitlines()[-1])
    return [
        path for path, data in files.items() if on_pen.get(path) != hashlib.sha256(data).hexdigest()
    ]


def restart(port: Port) -> None:
    """Begin with what is there now."""
    port.run(["reset"], timeout_s=30)


def _check_identity(found: Found, load: Load, now: datetime, *, is_erasing: bool) -> list[str]:
    warnings = []
    pen, there = load.pen, found.pen
    has_records = bool(found.epochs) and not is_erasing
    if pen is None:
        if not there:
            warnings.append("the pen has no pen.json: it will not start. --pen-json gives it one.")
        return warnings
    if there and (there["clinic"], there["pen"]) != (pen["clinic"], pen["pen"]) and has_records:
        raise WorkshopError(
            f"this is {there['pen']} of {there['clinic']}, and it holds records of it. Let it deliver "
            f"them before it becomes {pen['pen']} of {pen['clinic']}; --erase throws them away."
        )
    if there and has_records and int(there["epoch"] or 0) > int(pen["epoch"]):
        raise WorkshopError(
            f"the pen has the key of epoch {there['epoch']} already, this pen.json is of epoch "
            f"{pen['epoch']}: an old one. Give the newest."
        )
    for name in found.epochs if has_records else []:
        if name.removeprefix("epoch-") not in map(str, keys_of_pen(pen)):
            warnings.append(
                f"pen.json has no key for {name}: what is undelivered in it stays on the pen."
            )
    if is_erasing and found.epochs:
        warnings.append(
            "the records are erased: give the pen a new key epoch (needletrail pen enroll --rotate), "
            "because the gateway refuses an empty journal under a used one."
        )
    if pen.get("calibrated_utc") is None:
        warnings.append("this pen is not calibrated yet: needletrail pen calibrate.")
    elif (days := (now - datetime.fromisoformat(pen["calibrated_utc"])).days) > CALIBRATION_DAYS:
        warnings.append(f"this pen was calibrated {days} days ago: needletrail pen calibrate.")
    return warnings
