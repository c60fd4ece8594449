"""How long a board's journal lasts: hours of session until it is full, and years until flash is worn.

An hour of session is written by the real journal on the real littlefs, while operations are counted:
one record a second, as the recorder writes them at 50 Hz, acknowledged at once or not at all. `python
-m torture.wear` prints the documents' table. Sizes of file systems are MicroPython's own: on ESP32
all flash behind 2 MiB (ports/esp32/partitions-4MiBplus.csv, main.c), on RP2 the board's
MICROPY_HW_FLASH_STORAGE_BYTES (ports/rp2/boards/*/mpconfigboard.cmake).
"""

from needletrail_device.journal import BYTES_A_SECOND, SEGMENT_MAX_BYTES, Journal
from needletrail_device.recovery import recover
from needletrail_protocol import messages
from torture import filesystem, flash

KIB = 1024
BOARDS = (
    ("ESP32-S3, 8 MB", 6144 * KIB),
    ("ESP32-C3, 4 MB", 2048 * KIB),
    ("Pico W, 2 MB", 848 * KIB),
    ("Pico 2 W, 4 MB", 2560 * KIB),
)
FIRMWARE_BYTES = 256 * KIB  # two slots and what else is kept beside the journal
TAPE_BYTES_A_SECOND = 93  # with frame; the tapes' mean
ERASES_A_BLOCK = 100_000  # NOR flash's usual rating
SESSION_HOURS_A_YEAR = 1000  # four a day, 250 days
SEGMENT_BLOCK_BYTES = 4 * flash.BLOCK


def hours(filesystem_bytes, bytes_a_second=BYTES_A_SECOND):
    """Hours of session that a file system holds beside the firmware, nothing acknowledged."""
    blocks = (filesystem_bytes - FIRMWARE_BYTES) // flash.BLOCK - 8  # littlefs' own
    segments = blocks * flash.BLOCK // SEGMENT_BLOCK_BYTES
    return segments * SEGMENT_MAX_BYTES / bytes_a_second / 3600


def years(filesystem_bytes, erases_an_hour):
    """Years until every free block has had its erases, if littlefs spreads them evenly."""
    blocks = (filesystem_bytes - FIRMWARE_BYTES) // flash.BLOCK
    return blocks * ERASES_A_BLOCK / erases_an_hour / SESSION_HOURS_A_YEAR


def write_hour(blocks, geometry, is_acknowledged, seconds=3600):
    """(erases, bytes programmed, bytes that the file system has less) of an hour's session."""
    medium = flash.Flash(flash.empty_image(blocks))
    folder = filesystem.Mounted(medium, geometry, True)
    journal = Journal(folder)
    recover(journal)
    journal.save()
    free_bytes = folder.free_bytes()
    medium.erases = medium.programmed_bytes = 0
    for second in range(seconds):
        record = samples(journal.next_seq, 1000 * second)
        journal.append(record)
        if is_acknowledged:
            journal.acknowledge(journal.next_seq - 1)
    return medium.erases, medium.programmed_bytes, free_bytes - folder.free_bytes()


def samples(seq, t_ms):
    """A second's readings of a noisy sensor, so that the frame has about BYTES_A_SECOND."""
    noise = flash.noise(b"%d" % seq, 100)
    times_ms = [t_ms + 20 * i + (noise[i] % 3 - 1 if i else 0) for i in range(50)]
    dial = [2000 + noise[50 + i] % 9 for i in range(50)]
    strokes = [seq * 100 + 2 * i for i in range(50)]
    contact = [i % 25 < 18 for i in range(50)]
    return messages.encode_samples(seq, 1, 50, 20, times_ms, dial, seq * 100 - 2, strokes, contact)


def main():
    """Print the table."""
    size = len(samples(3000, 3_000_000)) + 12
    print(f"a second of a noisy sensor: {size} bytes with its frame; planned with {BYTES_A_SECOND}")
    erases = 0
    for geometry, name in enumerate(filesystem.GEOMETRIES[:2]):
        for is_acknowledged in (True, False):
            erases, programmed, taken = write_hour(512, geometry, is_acknowledged)
            how = "acknowledged" if is_acknowledged else "kept"
            print(
                f"{name}, {how}: {erases} erases, {programmed} bytes programmed, {taken} taken, an hour"
            )
    for name, size in BOARDS:
        least, most = hours(size), hours(size, TAPE_BYTES_A_SECOND)
        print(f"| {name} | {size // KIB} KiB | {least:.1f} to {most:.1f} | {years(size, erases):.0f} |")


if __name__ == "__main__":
    main()
