"""The journal: every record, in flash, until the gateway has committed it.

Segment files (`0000002a.log`) hold frames (frames.py), are only ever appended to, and are deleted
when the durable acknowledgement covers them, oldest first, never the one being written. Each boot
begins a new segment, so that nothing is ever written behind a torn end. Two copies of a small state
file (`state.a`, `state.b`), written one after the other, hold what must outlive the segments: boot
and session numbers, the open session, the acknowledged position, the next seq.

**No seq is used twice.** A record can be read back, and so be sent, only after its frame was written
and flushed. At boot, numbering goes on after the last good frame, and never below the state's.
A frame cut short was never flushed, so its number was never seen by anybody and is used again. Bytes
at the end that are all there but wrong may have been a record that was sent: as many numbers are
left out as records could have been there. The gateway sees a gap, which is what it is.

Memory: eight bytes a segment, and one record while it is read. Not here: what a record says, what a
boot finds (recovery), sending (uplink).
"""

from array import array

from needletrail_device import frames
from needletrail_protocol import cbor

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

SEGMENT_MAX_BYTES = 16384
STATE_FILES = ("state.a", "state.b")


class Journal:
    """Records in flash. `folder` is a folder.Folder of its own.

    `next_seq`: the number of the next record. `durable_seq`: all up to here are committed.
    `boot`, `session`: the highest number used. `open_session`: a session that has not been
    closed, or 0; `open_t_ms`: its last stored reading. The owner keeps these four up to date.

    A new Journal knows nothing: recovery.recover reads what the folder holds.
    """

    def __init__(self, folder: "Any", segment_max_bytes: int = SEGMENT_MAX_BYTES) -> None:
        self.folder = folder
        self._segment_max_bytes = segment_max_bytes
        self.version = 0  # of the saved state
        self.boot = self.session = self.open_session = self.open_t_ms = self.durable_seq = 0
        self.next_seq = 1
        self.numbers = array("I", [])  # of the segments, rising
        self.firsts = array("I", [])  # seq of each segment's first record
        self._out: "Any" = None
        self._out_bytes = 0
        self._in: "Any" = None
        self._in_number = -1
        self._in_grows = False  # it was being written when it was opened
        self._in_seq = 0
        self._reader: "Any" = None

    # ---- writing ----

    def append(self, payload: bytes) -> int:
        """Put a record, already encoded with `next_seq`, on the medium. Returns its seq."""
        seq = self.next_seq
        data = frames.frame(seq, payload)
        if self._out is None or self._out_bytes + len(data) > self._segment_max_bytes:
            self._begin_segment()
        try:
            self._out.write(data)
            self.folder.sync(self._out)
        except OSError:
            self._end_segment()  # nobody knows what is on the medium now: the number is spent
            self.next_seq = seq + 1
            raise
        self._out_bytes += len(data)
        self.next_seq = seq + 1
        return seq

    def acknowledge(self, seq: int) -> None:
        """All records up to `seq` are committed; ValueError if there is no such record."""
        if seq >= self.next_seq:
            raise ValueError("record %d was never written" % seq)
        if seq <= self.durable_seq:
            return
        self.durable_seq = seq
        covered = 0
        while covered + 1 < len(self.firsts) and self.firsts[covered + 1] <= seq + 1:
            covered += 1
        if covered:
            self.save()
            for number in self.numbers[:covered]:
                if number == self._in_number:
                    self._end_reading()
                self.folder.remove(segment_name(number))
            self.numbers = self.numbers[covered:]
            self.firsts = self.firsts[covered:]

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
        self._end_segment()
        number = self.numbers[-1] + 1 if len(self.numbers) else 1
        self._out = self.folder.open(segment_name(number), "ab")
        self._out_bytes = 0
        self.numbers.append(number)
        self.firsts.append(self.next_seq)

    def _end_segment(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    # ---- reading ----

    def oldest_seq(self) -> int:
        """The oldest record that is still held; `next_seq` if none is."""
        return self.firsts[0] if len(self.firsts) else self.next_seq

    def read(self, seq: int) -> "tuple[int, bytes] | None":
        """(seq, payload) of the record `seq`, or of the next after it if that one is damaged.

        None if there is none. Reading on in order costs one look at the file each.
        """
        if seq < self._in_seq or self._in is None:
            self._begin_reading(self._index_of(seq))
        while self._in is not None:
            found = self._reader.next(seq)
            if found is not None:
                self._in_seq = found[0] + 1
                return found
            index = self._index_of_number(self._in_number)
            if self._in_grows:
                if self._is_written(index) and self._reader.size >= self._out_bytes:
                    return None
                at = self._reader.next_at  # more was written since the file was opened
                self._begin_reading(index)
                self._reader.next_at = at
            else:
                self._begin_reading(index + 1)
            self._in_seq = seq
        return None

    def _is_written(self, index: int) -> bool:
        return self._out is not None and index == len(self.numbers) - 1

    def _index_of(self, seq: int) -> int:
        index = len(self.firsts) - 1
        while index > 0 and self.firsts[index] > seq:
            index -= 1
        return index

    def _index_of_number(self, number: int) -> int:
        index = 0
        while self.numbers[index] != number:
            index += 1
        return index

    def _begin_reading(self, index: int) -> None:
        self._end_reading()
        if not 0 <= index < len(self.numbers):
            return
        self._in_number = self.numbers[index]
        self._in_grows = self._is_written(index)
        self._in = self.folder.open(segment_name(self._in_number), "rb")
        self._reader = frames.Reader(self._in, self._in.seek(0, 2))

    def _end_reading(self) -> None:
        if self._in is not None:
            self._in.close()
            self._in = self._reader = None
            self._in_number = -1
            self._in_seq = 0

    def close(self) -> None:
        """Save, and close the files."""
        self.save()
        self._end_segment()
        self._end_reading()


def segment_name(number: int) -> str:
    """Name of a segment's file."""
    return "%08x.log" % number
