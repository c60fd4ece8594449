"""The journal: every record, in flash, until the gateway has committed it.

Segment files hold frames (frames.py), are only ever appended to, and are deleted when the durable
acknowledgement covers them, oldest first, never the newest. A segment's name is the seq of its first
record (`0000002a.log`), so a boot reads the newest one and no other. Two copies of a small state file
(`state.a`, `state.b`), written one after the other, hold what must outlive the segments: boot and
session numbers, the open session, the acknowledged position, the next seq.

**No seq is used twice.** A record can be read back, and so be sent, only after `append` returned. A
record at or after the next segment's name is void: it is what a failed write left, and its number
was given again to what came next. Nothing is written behind a torn or damaged end. A frame cut short
was never flushed, so its number is used again. Bytes at the end that are all there but wrong may
have been a record that was sent: as many numbers are left out as records could have been there. The
gateway sees a gap, which is what it is.

**Never full in a session.** `may_arm` keeps a longest session's bytes free (measure, may_arm).

An OSError of the file system comes out of every method. Nothing is lost then: call again, with the
same record, or acknowledge again. No file stays open for writing: after a change elsewhere that failed,
littlefs may write through an old handle into another file.

Memory: four bytes a segment, and one record while it is read. Not here: what a record says, what a boot
finds (recovery), sending (uplink).
"""

from array import array

from needletrail_device import frames
from needletrail_protocol import cbor

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

SEGMENT_MAX_BYTES = 16368  # four blocks of 4096, less the 16 bytes of littlefs' pointers
BYTES_A_SECOND = 142  # at 50 Hz; the tapes need 93, a sensor as noisy as it may be 121
# A session of two hours, the rest of the newest segment, and littlefs' own blocks.
RESERVE_BYTES = 7200 * BYTES_A_SECOND + 2 * 16384
WARNING_PERCENT = 80
STATE_FILES = ("state.a", "state.b")
_ENOENT = 2


class Journal:
    """Records in flash. `folder` is a folder.Folder of its own.

    `reserve_bytes`: a session may begin only if so much is free, for the longest one.

    `next_seq`: the number of the next record. `durable_seq`: all up to here are committed.
    `boot`, `session`: the highest number used. `open_session`: a session that has not been
    closed, or 0; `open_t_ms`: its last stored reading. The owner keeps these four up to date.
    `free_bytes`: what segments to come may take, as far as `measure` was called. `urgent`: (seq,
    payload) of the newest record whose copy may go ahead of the others, or None.

    A new Journal knows nothing: recovery.recover reads what the folder holds.
    """

    def __init__(
        self,
        folder: "Any",
        segment_max_bytes: int = SEGMENT_MAX_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.folder = folder
        self._segment_max_bytes = segment_max_bytes
        self._reserve_bytes = reserve_bytes
        self._is_measured = False
        self.free_bytes = 0x3FFFFFFF
        self.version = 0  # of the saved state
        self.boot = self.session = self.open_session = self.open_t_ms = self.durable_seq = 0
        self.next_seq = 1
        self.urgent: "tuple[int, bytes] | None" = None
        self.firsts = array("I", [])  # seq of each segment's first record, and so its name
        self.out_bytes = 0  # of the newest segment if its end is clean, or 0: begin another
        self._in: "Any" = None
        self._in_first = -1
        self._in_grows = False  # it was the newest when it was opened
        self._in_seq = 0
        self._reader: "Any" = None

    # ---- writing ----

    def append(self, payload: bytes) -> int:
        """Put a record, already encoded with `next_seq`, on the medium. Returns its seq.

        After an OSError the record is not in the journal, and `next_seq` still waits for it.
        """
        seq = self.next_seq
        data = frames.frame(seq, payload)
        try:
            if not 0 < self.out_bytes <= self._segment_max_bytes - len(data):
                self._begin_segment()
            with self.folder.open(segment_name(self.firsts[-1]), "ab") as file:
                file.write(data)
                self.folder.sync(file)
        except OSError:
            self.out_bytes = 0  # nobody knows what is on the medium now
            raise
        self.out_bytes += len(data)
        self.next_seq = seq + 1
        return seq

    def acknowledge(self, seq: int) -> None:
        """All records up to `seq` are committed; ValueError if there is no such record."""
        if seq >= self.next_seq:
            raise ValueError("record %d was never written" % seq)
        if seq < self.durable_seq:
            return
        self.durable_seq = seq
        covered = 0
        while covered + 1 < len(self.firsts) and self.firsts[covered + 1] <= seq + 1:
            covered += 1
        if not covered:
            return
        self.save()
        removed = 0
        try:
            while removed < covered:
                self._remove(self.firsts[removed])
                removed += 1
        finally:
            self.firsts = self.firsts[removed:]
        if self._is_measured and len(self.firsts) == 1:
            self.measure()  # costs little now, and mends the estimate

    def save(self) -> None:
        """Write the state, both copies. One of them is whole at any moment."""
        self.version += 1
        numbers = (
            self.boot,
            self.session,
            self.open_session,
            self.open_t_ms,
            self.durable_seq,
            self.next_seq,
        )
        data = frames.frame(self.version, cbor.encode((self.version,) + numbers))
        for name in STATE_FILES:
            self.folder.write(name, data)

    def _begin_segment(self) -> None:
        self.out_bytes = 0
        first = self.next_seq
        if len(self.firsts) and self.firsts[-1] == first:
            self._remove(first)  # it holds nothing that was ever reported
            self.firsts = self.firsts[:-1]
        self.folder.open(segment_name(first), "ab").close()
        self.firsts.append(first)
        self.free_bytes -= self._segment_max_bytes

    def _remove(self, first: int) -> None:
        if first == self._in_first:
            self._end_reading()
        try:
            self.folder.remove(segment_name(first))
        except OSError as error:
            if error.args[0] != _ENOENT:  # it went, although an error was reported
                raise
        self.free_bytes += self._segment_max_bytes

    # ---- room ----

    def measure(self) -> None:
        """Ask the file system what is free. It looks at all of its blocks: not for every record."""
        self._is_measured = True
        self.free_bytes = self.folder.free_bytes()

    def fill_percent(self) -> int:
        """How much of what the journal could hold is taken. 0 if never measured."""
        used = len(self.firsts) * self._segment_max_bytes
        return 100 * used // (used + max(self.free_bytes, 0) + 1)

    def may_arm(self) -> bool:
        """True if a longest session still fits: only then may one begin."""
        return self.free_bytes >= self._reserve_bytes

    def is_warning(self) -> bool:
        """True if the pen should say that it needs the gateway."""
        return self.fill_percent() >= WARNING_PERCENT or not self.may_arm()

    # ---- reading ----

    def oldest_seq(self) -> int:
        """The oldest record that is still held; `next_seq` if none is."""
        return self.firsts[0] if len(self.firsts) else self.next_seq

    def read(self, seq: int) -> "tuple[int, bytes] | None":
        """(seq, payload) of the record `seq`, or of the next after it if that one is damaged.

        None if there is none. Reading on in order costs one look at the file each.
        """
        if seq < self._in_seq or self._in is None:
            self._begin_reading(self._index_of(seq), seq)
        while self._in is not None:
            found = self._reader.next(seq)
            index = self._index_of(self._in_first)
            is_newest = index + 1 == len(self.firsts)
            if found is not None and found[0] < (
                self.next_seq if is_newest else self.firsts[index + 1]
            ):
                self._in_seq = found[0] + 1
                return found
            at, size = self._reader.next_at, self._reader.size
            if not self._in_grows:
                self._begin_reading(index + 1, seq)
                continue
            if is_newest and size >= self.out_bytes:
                return None
            self._begin_reading(index, seq)  # more was written since the file was opened
            self._reader.next_at = at
            if self._in_grows and self._reader.size <= size:
                return None  # it was not
        return None

    def _index_of(self, seq: int) -> int:
        index = len(self.firsts) - 1
        while index > 0 and self.firsts[index] > seq:
            index -= 1
        return index

    def _begin_reading(self, index: int, seq: int) -> None:
        self._end_reading()
        if not 0 <= index < len(self.firsts):
            return
        self._in_first = self.firsts[index]
        self._in_seq = seq
        self._in_grows = index + 1 == len(self.firsts)
        self._in = self.folder.open(segment_name(self._in_first), "rb")
        self._reader = frames.Reader(self._in, self._in.seek(0, 2))

    def _end_reading(self) -> None:
        if self._in is not None:
            self._in.close()
            self._in = self._reader = None
            self._in_first = -1
            self._in_seq = 0

    def close(self) -> None:
        """Save, and close the file."""
        self.save()
        self._end_reading()


def segment_name(first: int) -> str:
    """Name of the segment that begins with that seq."""
    return "%08x.log" % first
