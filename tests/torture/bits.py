"""The campaign of flipped bits: one bit of an image is wrong, and the journal finds it.

`run_frames`: 64 KiB of segments. A record may be lost, one, and nothing else changes: what is read is
what was written. The reader has no memory but its place, so the frames before the bit are not read
again, and reading goes on until the second good frame after it.

`run_images`: the whole littlefs, files and metadata. A bit in a file's data costs a record at the most,
too. Metadata has no second copy of what it says now: a wrong bit there undoes the commits after it, as
if power had gone then, or hides the folder. No code above littlefs can mend that; it is counted here,
and all that must hold is that nothing is read that was not written.
"""

from io import BytesIO

from needletrail_device import frames
from needletrail_device.journal import Journal
from needletrail_device.recovery import recover
from torture import filesystem, flash, verdict, workload

IMAGE_BYTES = 65536
IMAGE_BITS = 8 * IMAGE_BYTES
OUTCOMES = ("nothing lost", "one record lost", "rolled back", "not mounted", "error when read")


class Frames:
    """64 KiB of frames as a pen writes them, cut into segments."""

    def __init__(self, seed):
        dice = workload.Dice(seed)
        self.data = b""
        self.starts = []  # of each frame
        self.payloads = []
        while len(self.data) < IMAGE_BYTES:
            seq = len(self.starts) + 1
            left = IMAGE_BYTES - len(self.data) - frames.HEADER
            size = min(left, (90, 130, 40, 9, 300)[dice.below(5)] + dice.below(20))
            if left - size < frames.HEADER + 1:
                size = left
            payload = flash.noise(b"%d %d" % (seed, seq), size)
            self.starts.append(len(self.data))
            self.payloads.append(payload)
            self.data += frames.frame(seq, payload)

    def flip(self, bit):
        """How many records a flipped bit costs. Finding if it costs more than one, or alters one."""
        at = bit >> 3
        index = self._frame_at(at)
        first = self.starts[index]
        last = min(index + 3, len(self.starts))  # frames index .. last-1 are read
        end = self.starts[last] if last < len(self.starts) else len(self.data)
        data = bytearray(self.data[first:end])
        data[at - first] ^= 1 << (bit & 7)
        reader = frames.Reader(BytesIO(data), len(data))
        found = []
        record = reader.next(index + 1)
        while record is not None:
            found.append(record)
            record = reader.next(record[0] + 1)
        whole = [(seq + 1, self.payloads[seq]) for seq in range(index, last)]
        if found != whole[1:]:
            raise verdict.Finding(f"bit {bit}: {len(found)} of {len(whole)} records")
        if len(whole) == 1 and not (reader.damaged_bytes or reader.is_torn):
            raise verdict.Finding(f"bit {bit}: the last record went unnoticed")
        return 1

    def _frame_at(self, at):
        low, high = 0, len(self.starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self.starts[middle] <= at:
                low = middle
            else:
                high = middle
        return low


def run_frames(seed, bits, findings):
    """Flip each of these bits. Returns how many records they cost."""
    image = Frames(seed)
    lost = 0
    for bit in bits:
        try:
            lost += image.flip(bit)
        except verdict.Finding as finding:
            findings.append((0, bit, None, str(finding)))
    return lost


class Image:
    """A littlefs of 64 KiB with a journal of several segments, and what is in it."""

    def __init__(self, seed):
        dice = workload.Dice(seed)
        medium = flash.Flash(flash.empty_image(workload.IMAGE_BLOCKS))
        pen = workload.Pen(medium, filesystem.ESP32, 4000, workload.Notes(), dice, True)
        pen.boot()
        pen.session_of(300)
        self.records = verdict.read_all(pen.journal)
        pen.journal.close()
        self.image = bytes(medium.image)
        pen.mounted.unmount()

    def flip(self, bit):
        """(an outcome's index, records lost). Finding if anything was read that was not written."""
        image = bytearray(self.image)
        image[bit >> 3] ^= 1 << (bit & 7)
        try:
            mounted = filesystem.Mounted(flash.Flash(image), filesystem.ESP32)
        except OSError:
            return 3, len(self.records)
        try:
            journal = Journal(mounted, 4000)
            closed = recover(journal)
            found = verdict.read_all(journal)
        except OSError:
            return 4, len(self.records)
        finally:
            mounted.unmount()
        if closed is not None:
            found.pop()  # the session was open when the commits were made that are still good
        known = dict(self.records)
        for seq, payload in found:
            if known.get(seq) != payload:
                raise verdict.Finding(f"bit {bit}: record {seq} is not what was written")
        lost = len(known) - len(found)
        return min(lost, 2), lost


def run_images(seed, bits, findings):
    """Flip each of these bits of a whole littlefs. Returns (how many of each outcome, records lost)."""
    image = Image(seed)
    counts = [0] * len(OUTCOMES)
    total = 0
    for bit in bits:
        try:
            outcome, lost = image.flip(bit)
        except verdict.Finding as finding:
            findings.append((0, bit, None, str(finding)))
            continue
        counts[outcome] += 1
        total += lost
    return counts, total
