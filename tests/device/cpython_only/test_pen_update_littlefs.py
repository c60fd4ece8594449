"""Updates on a real littlefs over a simulated NOR flash, with the power cut within its writes.

The file system is the C littlefs with the geometry of an ESP32; what a cut leaves of a program or an
erase is tests/torture's. So the order of the firmware's writes is checked together with what littlefs
makes of it.
"""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from littlefs import LittleFS
from littlefs.errors import LittleFSError
from pen_life import STAGES, Life, assert_at_rest, assert_can_be_updated

sys.path.append(str(Path(__file__).parents[2]))

from torture import flash as nor

BLOCKS = 48
CUTS_A_STAGE = 60
KINDS = (nor.CLEAN, nor.TORN, nor.REORDERED, nor.HALF_ERASED)


class Medium:
    """What littlefs-python calls for each access."""

    def __init__(self, image: bytearray, log: list[Any] | None) -> None:
        self.nor = nor.Flash(image, log)

    def read(self, _config: Any, block: int, offset: int, size: int) -> bytearray:
        found: bytearray = self.nor.load(block * nor.BLOCK + offset, size)
        return found

    def prog(self, _config: Any, block: int, offset: int, data: bytes) -> int:
        return int(self.nor.program(block * nor.BLOCK + offset, data))

    def erase(self, _config: Any, block: int) -> int:
        return int(self.nor.erase(block))

    def sync(self, _config: Any) -> int:
        return int(self.nor.sync())


class Mounted:
    """A littlefs with the part of os and open() that the firmware uses: pen_flash.Flash's face."""

    def __init__(self, image: bytearray, log: list[Any] | None = None, *, is_new: bool = False) -> None:
        self.medium = Medium(image, log)
        self._fs = LittleFS(
            context=self.medium,
            mount=not is_new,
            block_size=nor.BLOCK,
            block_count=BLOCKS,
            read_size=32,
            prog_size=32,
            cache_size=128,
            lookahead_size=32,
            block_cycles=100,
        )
        if is_new:
            self._fs.format()
            self._fs.mount()
            self._fs.mkdir("/flash")

    @property
    def files(self) -> dict[str, bytes]:
        """A copy of all there is."""
        found = {}
        for folder, _, names in self._fs.walk("/"):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                with self._fs.open(path, "rb") as file:
                    found[path] = file.read()
        return found

    def put(self, path: str, data: bytes) -> None:
        parts = path.split("/")
        for end in range(2, len(parts)):
            self._fs.makedirs("/".join(parts[:end]), exist_ok=True)
        with self._fs.open(path, "wb") as file:
            file.write(data)

    def open(self, path: str, mode: str) -> Any:
        try:
            return self._fs.open(path, mode, buffering=0 if mode == "wb" else -1)
        except LittleFSError as error:
            raise OSError(-error.code, str(error)) from None

    def _done(self, name: str, *paths: str) -> Any:
        try:
            return getattr(self._fs, name)(*paths)
        except LittleFSError as error:
            raise OSError(-error.code, str(error)) from None

    def listdir(self, path: str) -> Any:
        return self._done("listdir", path)

    def stat(self, path: str) -> Any:
        return self._done("stat", path)

    def mkdir(self, path: str) -> None:
        self._done("mkdir", path)

    def rmdir(self, path: str) -> None:
        self._done("rmdir", path)

    def remove(self, path: str) -> None:
        self._done("remove", path)

    def rename(self, old: str, new: str) -> None:
        self._done("rename", old, new)

    def statvfs(self, _path: str) -> tuple[int, ...]:
        free = BLOCKS - self._fs.used_block_count
        return nor.BLOCK, nor.BLOCK, BLOCKS, free, free


def written(image: bytearray, life: Life) -> None:
    """A new file system with what a stage begins with."""
    mounted = Mounted(image, is_new=True)
    for path, contents in life.flash.files.items():
        mounted.put(path, contents)


def images(image: bytearray, log: list[Any], dice: random.Random) -> Iterator[tuple[int, bytearray]]:
    """(the operation, what a power cut within it leaves), for some operations of all kinds."""
    wanted = sorted(
        dice.choices([i for i, one in enumerate(log) if one[0] != nor.SYNC], k=CUTS_A_STAGE)
    )
    now = bytearray(image)
    synced = bytearray(image)
    for index, operation in enumerate(log):
        for number in range(wanted.count(index)):
            kind = dice.choice(KINDS)
            before = synced if kind == nor.REORDERED else now
            byte = dice.randrange(nor.length_of(operation))
            yield index, nor.cut(before, log, index, byte, kind, b"%d %d" % (index, number))
        nor.apply(now, operation)
        if operation[0] == nor.SYNC:
            synced = bytearray(now)


@pytest.mark.parametrize("stage", STAGES, ids=[stage[0].replace(" ", "-") for stage in STAGES])
def test_cuts_within_what_littlefs_writes(stage: tuple[str, Callable[[], Life], int]) -> None:
    name, begin, version = stage
    before = begin()
    image = nor.empty_image(BLOCKS)
    written(image, before)
    log: list[Any] = []
    whole = Life(Mounted(bytearray(image), log), before.proved)
    whole.settle()
    assert_at_rest(whole, version)
    cuts = 0
    for index, left in images(image, log, random.Random(name)):
        life = Life(Mounted(left), before.proved)
        life.settle()
        assert_at_rest(life, version)
        if index % 4 == 0:
            assert_can_be_updated(life)
        cuts += 1
    assert cuts == CUTS_A_STAGE
