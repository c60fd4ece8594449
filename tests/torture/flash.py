"""A NOR flash in memory, the row of operations done to it, and what a power cut leaves of them.

A program clears bits and never sets one; an erase sets all bits of a block. `Flash` does operations
whole and writes them down. `cut` takes the image before an operation and makes the image that a
power cut within it leaves behind, in one of four ways:

- CLEAN: the first k bytes are done, the rest is not.
- TORN: a chip programs a page of 256 bytes at once. Of the page under way each bit may or may not be
  there, the more likely the later the cut; pages before it are done, pages after it are not.
- REORDERED: as torn, and any of the operations since the last sync may be missing besides. A block is
  still erased before it is programmed, and a missing erase means that nothing came after it there.
  A sync can be cut so, too: SYNC_CHANCES times, each with others missing.
- HALF_ERASED: the erased block is a mix of pages erased, old, all zero (chips program a block to zero
  before they erase it) and of bits that cannot be foretold.

Everything follows from the seed. Runs on CPython and on MicroPython.
"""

from hashlib import sha256

BLOCK = 4096
PAGE = 256
PROGRAM, ERASE, SYNC = 0, 1, 2
CLEAN, TORN, REORDERED, HALF_ERASED = 0, 1, 2, 3
SYNC_CHANCES = 16
KINDS = ("clean", "torn", "reordered", "half-erased")
_ERASED = b"\xff" * BLOCK
_EIO = 5


class Flash:
    """A medium of whole blocks. With `log` a list, operations are written down there.

    `fails_at`: the number of the operation (programs, erases and syncs are counted in `done`) that
    reports an error, once. It is done halfway then, as `cut` would leave it.
    """

    def __init__(self, image, log=None):
        self.image = image
        self.log = log
        self.done = 0
        self.fails_at = -1
        self.erases = 0
        self.programmed_bytes = 0

    def _fails(self):
        self.done += 1
        return self.done - 1 == self.fails_at

    def load(self, at, size):
        return self.image[at : at + size]

    def program(self, at, data):
        """0, or a negative error number."""
        data = bytes(data)
        fails = self._fails()
        if fails:
            data = data[: len(data) // 2]
        if self.log is not None:
            self.log.append((PROGRAM, at, data))
        self.programmed_bytes += len(data)
        program(self.image, at, data)
        return -_EIO if fails else 0

    def erase(self, block):
        fails = self._fails()
        if fails:
            return -_EIO
        if self.log is not None:
            self.log.append((ERASE, block * BLOCK, None))
        self.erases += 1
        self.image[block * BLOCK : (block + 1) * BLOCK] = _ERASED
        return 0

    def sync(self):
        if self.log is not None:
            self.log.append((SYNC, 0, None))
        return -_EIO if self._fails() else 0


def empty_image(blocks):
    """The image of a new chip."""
    return bytearray(_ERASED * blocks)


def program(image, at, data):
    """NOR: bits go from 1 to 0."""
    old = image[at : at + len(data)]
    if old.count(b"\xff") == len(old):
        image[at : at + len(data)] = data
    else:
        image[at : at + len(data)] = _and(old, data)


def apply(image, operation):
    """One operation, whole."""
    kind, at, data = operation
    if kind == PROGRAM:
        program(image, at, data)
    elif kind == ERASE:
        image[at : at + BLOCK] = _ERASED


def length_of(operation):
    """At how many bytes this operation can be cut."""
    kind, _, data = operation
    return len(data) if kind == PROGRAM else BLOCK if kind == ERASE else SYNC_CHANCES


def cut(before, log, index, k, kind, seed):
    """The image after power went at byte `k` of operation `index` of `log`.

    `before`: for REORDERED the image at the last sync, for the other kinds the image just before
    the operation. It is not altered.
    """
    image = bytearray(before)
    if kind == REORDERED:
        _some(image, log, first_unsynced(log, index), index, seed + b" %d" % k)
        kind = TORN
    what, at, data = log[index]
    if what == PROGRAM:
        if kind == CLEAN:
            program(image, at, data[:k])
        else:
            _tear(image, at, data, k, seed)
    elif what == ERASE:
        if kind == CLEAN:
            image[at : at + k] = _ERASED[:k]
        else:
            _half_erase(image, at, k, seed)
    return image


def first_unsynced(log, index):
    """The first operation since the last sync before `index`."""
    while index and log[index - 1][0] != SYNC:
        index -= 1
    return index


def noise(seed, size):
    """`size` bytes that follow from `seed`, a bytes object."""
    out = b""
    count = 0
    while len(out) < size:
        out += sha256(seed + bytes((count,))).digest()
        count += 1
    return out[:size]


def _some(image, log, first, end, seed):
    """Operations first..end-1 of which any may be missing; none after a missing erase of its block."""
    chances = noise(seed + b"some", end - first)
    lost = set()
    for index in range(first, end):
        operation = log[index]
        block = operation[1] // BLOCK
        if block in lost:
            continue
        if chances[index - first] & 1:
            apply(image, operation)
        elif operation[0] == ERASE:
            lost.add(block)
    block = log[end][1] // BLOCK
    if log[end][0] != SYNC and block in lost:  # what was cut comes after its block's erase
        for index in range(first, end):
            if log[index][0] == ERASE and log[index][1] // BLOCK == block:
                apply(image, log[index])


def _tear(image, at, data, k, seed):
    begin = (at + k) // PAGE * PAGE - at  # of the page under way, within data
    end = min(begin + PAGE, len(data))
    begin = max(begin, 0)
    program(image, at, data[:begin])
    part = data[begin:end]
    size = len(part)
    mask = noise(seed, size)
    if k - begin < size // 2:  # early: most bits have not changed yet
        mask = _or(mask, noise(seed + b"early", size))
    else:
        mask = _and(mask, noise(seed + b"late", size))
    program(image, at + begin, _or(part, mask))


def _half_erase(image, at, k, seed):
    fates = noise(seed, BLOCK // PAGE)
    for page in range(BLOCK // PAGE):
        place = at + page * PAGE
        fate = (fates[page] + k) % 5
        old = image[place : place + PAGE]
        if fate == 0:
            image[place : place + PAGE] = _ERASED[:PAGE]
        elif fate == 1:
            image[place : place + PAGE] = bytes(PAGE)
        elif fate == 2:
            image[place : place + PAGE] = _or(old, noise(seed + bytes((page,)), PAGE))
        elif fate == 3:
            image[place : place + PAGE] = _and(old, noise(seed + bytes((page,)), PAGE))


def _and(one, other):
    size = len(one)
    both = int.from_bytes(one, "little") & int.from_bytes(other, "little")
    return both.to_bytes(size, "little")


def _or(one, other):
    size = len(one)
    both = int.from_bytes(one, "little") | int.from_bytes(other, "little")
    return both.to_bytes(size, "little")
