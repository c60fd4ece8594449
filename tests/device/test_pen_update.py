"""Bundles at the pen's door: what is installed, what is refused and with which word."""

# This file also runs on MicroPython, which lacks what these rules ask for.

import hashlib
import io

from pen_fakes import raises
from pen_flash import (
    BLOCK_BYTES,
    BOARD,
    HEIR,
    MAKER,
    MPY,
    SHA256_INFO,
    Inserted,
    PowerCut,
    bundle_of,
    encoded_message,
    firmware_files,
    flash_with,
    manifest_of,
    module,
    sequence,
    signed_head,
    slot_of,
    state_of,
)

from needletrail_device import bundle, update

A, B, HERE = "/flash/slots/a", "/flash/slots/b", "/here"
NAME = "/flash/update.bundle"
ONE, TWO = firmware_files("one"), firmware_files("two")
BUNDLE_TWO = bundle_of(TWO, 2)
BUNDLE_THREE = bundle_of(firmware_files("three"), 3)
HEAD_BYTES = len(BUNDLE_TWO) - sum([len(TWO[path]) for path in TWO])
BARE = {"/here/update.key": MAKER.modulus}


def pen_with(data, *parts, state=None):
    """A flash that holds this bundle; without parts, a pen on which version 1 is proved, in slot a."""
    if not parts and state is None:
        parts = (slot_of(ONE, 1, "a"),)
        state = state_of(3, 1, 1)
    flash = flash_with(*parts, state=state)
    flash.files[NAME] = data
    return flash


def offer(flash, here=A, board=BOARD, progress=None):
    with Inserted(flash, update, bundle):
        return update.Updater("/flash", here, board).offer(progress)


def in_state(flash):
    """(highest, confirmed, trial, boots left) that the next boot will find."""
    with Inserted(flash, update):
        updater = update.Updater("/flash", HERE, BOARD)
        return updater.highest, updater._confirmed, updater._trial, updater._boots_left


def below(flash, folder):
    """{path: bytes} of a folder."""
    return {path: flash.files[path] for path in flash.files if path.startswith(folder + "/")}


def is_untouched(flash, before):
    """True if nothing changed but that the bundle is gone."""
    left = dict(before.files)
    left.pop(NAME)
    return flash.files == left and flash.folders == before.folders


def refused(data, *parts, **rest):
    """The reason why a pen, which stays as it was, refuses this bundle."""
    state = rest.pop("state", None)
    flash = pen_with(data, *parts, state=state)
    before = flash.copy("old")
    reason = offer(flash, **rest)
    assert is_untouched(flash, before)
    return reason


# ---- what is there ----


def test_without_a_bundle_nothing_is_loaded_to_read_one():
    import sys

    own = sys.modules.pop("needletrail_device.bundle")
    flash = flash_with(slot_of(ONE, 1, "a"), state=state_of(3, 1, 1))
    try:
        with Inserted(flash, update), raises(OSError):
            update.Updater("/flash", A, BOARD).offer()
        assert "needletrail_device.bundle" not in sys.modules
    finally:
        sys.modules["needletrail_device.bundle"] = own


# ---- what is taken ----


def test_a_bundle_goes_into_the_slot_that_does_not_run():
    for name, here, number in (("a", A, 1), ("b", B, 2)):
        flash = pen_with(BUNDLE_TWO, slot_of(ONE, 1, name), state=state_of(3, 1, number))
        assert offer(flash, here) is None
        other = "b" if name == "a" else "a"
        assert below(flash, "/flash/slots/" + other) == slot_of(TWO, 2, other)
        assert below(flash, "/flash/slots/" + name) == slot_of(ONE, 1, name)
        assert in_state(flash) == (1, number, 3 - number, update.TRIAL_BOOTS)
        assert NAME not in flash.files


def test_a_bare_copy_takes_its_first_bundle_into_slot_a():
    flash = pen_with(BUNDLE_TWO, BARE)
    assert offer(flash, HERE) is None
    assert below(flash, A) == slot_of(TWO, 2, "a")
    assert in_state(flash) == (0, 0, 1, update.TRIAL_BOOTS)


def test_what_was_in_the_slot_is_gone():
    files = {"old.mpy": module("old"), "boards/deep.mpy": module("old")}
    flash = pen_with(BUNDLE_TWO, slot_of(ONE, 1, "a"), slot_of(files, 1, "b"), state=state_of(3, 1, 1))
    assert offer(flash) is None
    assert below(flash, B) == slot_of(TWO, 2, "b")
    assert "/flash/slots/b/boards" not in flash.folders


def test_a_file_may_lie_in_two_folders():
    files = dict(TWO)
    files["a/b/c.mpy"] = module("deep")
    flash = pen_with(bundle_of(files, 2))
    assert offer(flash) is None
    assert below(flash, B) == slot_of(files, 2, "b")
    assert "/flash/slots/b/a/b" in flash.folders


def test_a_trial_that_has_not_begun_gives_way_to_a_newer_bundle():
    flash = pen_with(BUNDLE_TWO)
    assert offer(flash) is None
    flash.files[NAME] = BUNDLE_THREE
    assert offer(flash) is None
    assert below(flash, B) == slot_of(firmware_files("three"), 3, "b")
    assert in_state(flash)[1:3] == (1, 2)


def test_the_slot_that_runs_is_the_one_to_return_to():
    """Slot b was damaged, so main started a; the bundle goes into b, and b must not be trusted."""
    flash = pen_with(BUNDLE_THREE, slot_of(ONE, 1, "a"), state=state_of(3, 2, 2))
    assert offer(flash) is None
    assert in_state(flash) == (2, 1, 2, update.TRIAL_BOOTS)


def test_confirming_raises_the_version_and_ends_the_trial():
    flash = pen_with(b"", slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
    with Inserted(flash, update):
        updater = update.Updater("/flash", B, BOARD)
        assert (updater.version, updater.trial_boots_left, updater.highest) == (2, 3, 1)
        updater.confirm()
        assert (updater.trial_boots_left, updater.highest) == (None, 2)
        assert in_state(flash) == (2, 2, 0, 0)
        writes = flash.writes
        updater.confirm()
        assert flash.writes == writes


def test_the_confirmed_firmware_writes_nothing():
    flash = pen_with(b"", slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"), state=state_of(5, 1, 1, 2, 3))
    with Inserted(flash, update):
        updater = update.Updater("/flash", A, BOARD)
        updater.confirm()
        assert updater.trial_boots_left is None
        assert updater.take_given_up() == 0
    assert flash.writes == 0


def test_a_given_up_version_is_told_once():
    parts = (slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
    flash = pen_with(b"", *parts, state=state_of(5, 1, 1, 0, 0, 2))
    with Inserted(flash, update):
        updater = update.Updater("/flash", A, BOARD)
        assert updater.take_given_up() == 2
        assert updater.take_given_up() == 0
        assert update.Updater("/flash", A, BOARD).take_given_up() == 0
        assert in_state(flash) == (1, 1, 0, 0)


def test_a_version_is_read_from_a_good_manifest_only():
    for text in (b"", b"\n", b"x 0.1.0\n", b"\xff\xff"):
        flash = pen_with(b"", slot_of(ONE, 1, "a"), state=state_of(5, 1, 1))
        flash.files[A + "/manifest"] = text
        with Inserted(flash, update):
            updater = update.Updater("/flash", A, BOARD)
            assert (updater.version, updater.highest) == (0, 1)


def test_progress_is_told_after_each_file():
    told = []
    flash = pen_with(BUNDLE_TWO)
    offer(flash, progress=lambda done, total: told.append((done, total)))
    total = len(BUNDLE_TWO) - HEAD_BYTES
    sizes = [len(TWO[path]) for path in sorted(TWO)]
    assert told == [(sizes[0], total), (sizes[0] + sizes[1], total), (total, total)]


def test_no_file_is_ever_in_memory():
    files = dict(ONE)
    files["needletrail_device/large.mpy"] = module("large", 50000)
    flash = pen_with(bundle_of(files, 2))
    assert offer(flash) is None
    assert flash.largest_write <= 512
    assert flash.largest_read <= bundle.MANIFEST_MAX_BYTES
    assert below(flash, B) == slot_of(files, 2, "b")


def test_the_largest_list_of_files_is_taken():
    """It has all the bytes that a manifest may have, and the longest paths."""
    files = {"firmware.mpy": module("x"), "update.key": MAKER.modulus}
    while len(manifest_of(files, 2)) <= bundle.MANIFEST_MAX_BYTES - 101:
        files["needletrail_device/%s%02d.mpy" % ("n" * 39, len(files))] = module("x")
    files["a.mpy"] = module("x")
    while len(manifest_of(files, 2)) < bundle.MANIFEST_MAX_BYTES:
        name = max([len(name), name] for name in files if name.startswith("a"))[1]
        files["a" + name] = files.pop(name)
    assert len(manifest_of(files, 2)) == bundle.MANIFEST_MAX_BYTES
    flash = pen_with(bundle_of(files, 2))
    assert offer(flash) is None
    assert below(flash, B) == slot_of(files, 2, "b")


def test_the_only_good_copy_of_the_state_is_never_written_first():
    for good, torn in (("a", "b"), ("b", "a")):
        for steps in range(60):
            flash = pen_with(BUNDLE_TWO, slot_of(ONE, 1, "a"))
            flash.files["/flash/slots/state." + good] = state_of(3, 1, 1)
            flash.files["/flash/slots/state." + torn] = b"torn"
            flash.survives = "half"
            flash.steps_left = steps
            with raises(PowerCut):
                offer(flash)
            flash.power_on()
            assert in_state(flash)[:2] == (1, 1)


# ---- what is refused ----


def test_every_truncation_is_refused():
    for length in range(len(BUNDLE_TWO)):
        assert refused(BUNDLE_TWO[:length]) == "truncated"


def test_every_flipped_bit_before_the_files_is_refused():
    flash = pen_with(b"")
    before = flash.copy("old")
    reasons = {}
    data = bytearray(BUNDLE_TWO)
    with Inserted(flash, update, bundle):
        updater = update.Updater("/flash", A, BOARD)
        for bit in range(HEAD_BYTES * 8):
            data[bit // 8] ^= 1 << bit % 8
            flash.files[NAME] = bytes(data)
            reason = updater.offer()
            data[bit // 8] ^= 1 << bit % 8
            part = "magic" if bit < 64 else "length" if bit < 80 else "rest"
            reasons.setdefault(part, set()).add(reason)
    assert is_untouched(flash, before)
    assert reasons["magic"] == {"malformed"}
    assert reasons["length"] == {"too_large", "truncated", "signature_invalid"}
    assert reasons["rest"] == {"signature_invalid"}


def test_every_flipped_bit_of_a_file_is_found_in_flash():
    small = {"firmware.mpy": module("x"), "update.key": MAKER.modulus}
    data = bytearray(bundle_of(small, 2))
    begin = len(data) - sum([len(small[path]) for path in small])
    for bit in range(begin * 8, len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        flash = pen_with(bytes(data))
        assert offer(flash) == "file_damaged"
        data[bit // 8] ^= 1 << bit % 8
        assert below(flash, B) == {}
        assert in_state(flash) == (1, 1, 0, 0)
        assert NAME not in flash.files


def test_flash_that_does_not_keep_what_it_was_given_is_found():
    flash = pen_with(BUNDLE_TWO)
    own_open = flash.open

    def forgetful_open(path, mode):
        if path == B + "/firmware.mpy" and mode == "rb":
            flash.files[path] = flash.files[path][:-1] + b"?"
        return own_open(path, mode)

    flash.open = forgetful_open
    assert offer(flash) == "file_damaged"


def test_bytes_after_the_last_file_are_refused():
    assert refused(BUNDLE_TWO + b"\x00") == "malformed"


def test_another_key_is_refused():
    assert refused(bundle_of(TWO, 2, HEIR)) == "signature_invalid"


def test_a_pen_without_a_key_takes_nothing():
    for key in (None, b"", MAKER.modulus[:-1], MAKER.modulus + b"\x00"):
        here = {} if key is None else {"/here/update.key": key}
        assert refused(BUNDLE_TWO, here, here=HERE) == "key_missing"


def test_another_board_s_bundle_is_refused():
    assert refused(BUNDLE_TWO, board="bench-2") == "wrong_board"


def test_bytecode_of_another_version_is_refused():
    for mpy in (MPY - 1, MPY + 1):
        assert refused(bundle_of(TWO, 2, mpy=mpy)) == "bytecode_version"


def test_the_version_can_not_go_back():
    state = state_of(3, 5, 1)
    for version, reason in ((1, "downgrade"), (4, "downgrade"), (5, "installed")):
        assert refused(bundle_of(TWO, version), slot_of(ONE, 5, "a"), state=state) == reason
    flash = pen_with(bundle_of(TWO, 6), slot_of(ONE, 5, "a"), state=state)
    assert offer(flash) is None


def test_the_version_can_not_go_back_after_a_fall_back():
    """Slot b with version 5 was damaged, so version 1 runs; 5 proved itself once."""
    state = state_of(3, 5, 2)
    for version in (4, 5):
        assert refused(bundle_of(TWO, version), slot_of(ONE, 1, "a"), state=state) == "downgrade"


def test_without_a_state_the_running_version_is_the_lowest():
    assert refused(bundle_of(TWO, 4), slot_of(ONE, 5, "a")) == "downgrade"


def test_a_version_that_was_given_up_may_be_tried_again():
    parts = (slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
    flash = pen_with(BUNDLE_TWO, *parts, state=state_of(5, 1, 1, 0, 0, 2))
    assert offer(flash) is None
    assert in_state(flash) == (1, 1, 2, update.TRIAL_BOOTS)


def test_a_firmware_on_trial_takes_no_bundle_but_keeps_it():
    parts = (slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
    flash = pen_with(BUNDLE_THREE, *parts, state=state_of(5, 1, 1, 2, 3))
    before = dict(flash.files)
    assert offer(flash, B) == "on_trial"
    assert flash.files == before
    with Inserted(flash, update, bundle):
        updater = update.Updater("/flash", B, BOARD)
        updater.confirm()
        assert updater.offer() is None


def test_the_bundle_of_the_running_trial_is_done_with():
    """Power went between the beginning of the trial and the removal of the bundle."""
    parts = (slot_of(ONE, 1, "a"), slot_of(TWO, 2, "b"))
    assert refused(BUNDLE_TWO, *parts, state=state_of(5, 1, 1, 2, 3), here=B) == "installed"


def test_what_is_too_large_is_refused():
    files = dict(TWO)
    for index in range(5):
        files["needletrail_device/large_%d.mpy" % index] = module("x", 53000)
    assert refused(bundle_of(files, 2)) == "too_large"
    long_manifest = b"NTBUNDL1" + (bundle.MANIFEST_MAX_BYTES + 1).to_bytes(2, "big")
    assert refused(long_manifest + bytes(7000)) == "too_large"


def test_a_full_flash_refuses_and_keeps_the_journal_s_reserve():
    blocks = 0
    reason = "no_space"
    while reason == "no_space":
        flash = pen_with(BUNDLE_TWO)
        flash.free_blocks = blocks
        reason = offer(flash)
        if reason == "no_space":
            assert below(flash, B) == {}
            assert in_state(flash) == (1, 1, 0, 0)
        blocks += 1
    assert reason is None
    needed = bundle.RESERVE_BYTES + len(BUNDLE_TWO) - HEAD_BYTES
    ends_folders_and_manifest = len(TWO) + 9
    assert blocks - 1 == ends_folders_and_manifest + (needed + BLOCK_BYTES - 1) // BLOCK_BYTES


def test_a_write_that_fails_leaves_the_running_slot_and_its_state():
    for number, reason in ((28, "no_space"), (5, "write_failed")):
        for writes in range(2, 9):
            flash = pen_with(BUNDLE_TWO)
            flash.fail_after_writes = (writes, number)
            assert offer(flash) == reason
            assert below(flash, A) == slot_of(ONE, 1, "a")
            assert below(flash, B) == {}
            assert in_state(flash) == (1, 1, 0, 0)
            assert NAME not in flash.files


def test_a_read_that_ends_early_does_not_go_on_for_ever():
    flash = pen_with(BUNDLE_TWO)
    own_statvfs = flash.statvfs

    def shrink(path):
        flash.files[NAME] = BUNDLE_TWO[:-1]
        return own_statvfs(path)

    flash.statvfs = shrink
    assert offer(flash) == "write_failed"


def test_a_full_heap_is_a_reason_not_a_crash():
    flash = pen_with(BUNDLE_TWO)

    def statvfs(path):
        raise MemoryError

    flash.statvfs = statvfs
    assert offer(flash) == "no_memory"
    assert in_state(flash) == (1, 1, 0, 0)


def test_no_bundle_is_no_reason():
    flash = pen_with(b"")
    del flash.files[NAME]
    with raises(OSError):
        offer(flash)


# ---- a manifest that its maker should not have signed ----


def signed(fields):
    return signed_head(sequence(fields))


def entries(files):
    found = []
    for path, data in files:
        found += [path, len(data), hashlib.sha256(data).digest()]
    return found


KEY_ENTRY = ("update.key", MAKER.modulus)
CODE_ENTRY = ("firmware.mpy", module("x"))
FIRST = [2, "0.1.0", BOARD, MPY]


def test_strange_paths_are_malformed():
    for path in (
        "main.py",
        "../main.mpy",
        "/main.mpy",
        "boards/../x.mpy",
        "boards//x.mpy",
        "a/b/c/d.mpy",
        "boards/x.py",
        "Boards/x.mpy",
        "boards\\x.mpy",
        "boards/.mpy",
        "/.mpy",
        ".mpy",
        "mpy",
        "",
        "a\x00.mpy",
        "a .mpy",
        "ä.mpy",
        "a.b.mpy",
        "manifest",
        "new",
        "state.a",
        "a/update.key",
        "a" * 61 + ".mpy",
        7,
        None,
        b"boards/x.mpy",
    ):
        assert not bundle.is_path(path), path
    for path in ("update.key", "a.mpy", "boards/x_1.mpy", "a/b/c.mpy", "a" * 60 + ".mpy"):
        assert bundle.is_path(path), path


def test_manifests_that_are_no_lists_of_files_are_malformed():
    both = entries([CODE_ENTRY, KEY_ENTRY])
    digest = both[2]
    for fields in (
        FIRST + entries([CODE_ENTRY, ("main.py", b"x"), KEY_ENTRY]),
        FIRST + entries([KEY_ENTRY, CODE_ENTRY]),
        FIRST + entries([CODE_ENTRY, CODE_ENTRY, KEY_ENTRY]),
        FIRST + entries([CODE_ENTRY]),
        FIRST + entries([KEY_ENTRY]),
        FIRST + entries([CODE_ENTRY, ("update.key", MAKER.modulus[1:])]),
        FIRST,
        FIRST[:3],
        [],
        FIRST + both[:-1],
        FIRST + both[:-2],
        [0] + FIRST[1:] + both,
        [-1] + FIRST[1:] + both,
        [True] + FIRST[1:] + both,
        [1 << 32] + FIRST[1:] + both,
        ["2"] + FIRST[1:] + both,
        [2, "", BOARD, MPY] + both,
        [2, "0.1 0", BOARD, MPY] + both,
        [2, "0.1\n0", BOARD, MPY] + both,
        [2, "1" * 33, BOARD, MPY] + both,
        [2, b"0.1.0", BOARD, MPY] + both,
        FIRST + [CODE_ENTRY[0], -1, digest] + both[3:],
        FIRST + [CODE_ENTRY[0], True, digest] + both[3:],
        FIRST + [CODE_ENTRY[0], "5", digest] + both[3:],
        FIRST + [CODE_ENTRY[0], 5, digest[1:]] + both[3:],
        FIRST + [CODE_ENTRY[0], 5, "d" * 32] + both[3:],
        FIRST + [[CODE_ENTRY[0]], 5, digest] + both[3:],
    ):
        body = bytes(sum([item for item in fields[4:] if isinstance(item, int)]))
        assert refused(signed(fields) + body) == "malformed", fields
    for broken in (b"\x18\x02", b"\xff", b"\x9f\xff", b"\xa0"):
        assert refused(signed_head(broken)) == "malformed"
    assert offer(pen_with(signed(FIRST + both) + module("x") + MAKER.modulus)) is None


# ---- signatures ----


def is_taken(encoded, message=b"message", key=MAKER):
    """Whether a signature that was made of these encoded bytes is good for the message."""
    digest = hashlib.sha256(message).digest()
    return bundle.is_signed(digest, key.sign_encoded(encoded), key.modulus)


def padded(end, kind=b"\x00\x01", fill=b"\xff"):
    return kind + fill * (384 - 3 - len(end)) + b"\x00" + end


def test_the_one_encoding_that_is_right_is_taken():
    assert is_taken(encoded_message(b"message"))
    assert not is_taken(encoded_message(b"massage"))


def test_every_other_encoding_of_the_right_hash_is_refused():
    """What careless verifiers accepted: each of these holds the right SHA-256 somewhere."""
    digest = hashlib.sha256(b"message").digest()
    right = SHA256_INFO + digest
    without_null = b"\x30\x2f\x30\x0b" + SHA256_INFO[4:15] + b"\x04\x20" + digest
    wrong_hash = SHA256_INFO[:14] + b"\x03" + SHA256_INFO[15:] + digest  # says SHA-512
    short = b"\x00\x01" + b"\xff" * 8 + b"\x00" + right
    for encoded in (
        short + bytes(384 - len(short)),
        short + b"\xff" * (384 - len(short)),
        bytes(384 - len(short)) + short,
        padded(without_null),
        padded(wrong_hash),
        padded(digest),
        padded(right, kind=b"\x00\x02"),
        padded(right, kind=b"\x00\x00"),
        padded(right, fill=b"\x00"),
        padded(right, fill=b"\xfe"),
        padded(right + b"\x00"),
        padded(b"\x00" + right),
    ):
        assert len(encoded) == 384
        assert not is_taken(encoded)


def test_numbers_that_are_no_signatures_are_refused():
    digest = hashlib.sha256(b"message").digest()
    good = MAKER.sign(b"message")
    assert bundle.is_signed(digest, good, MAKER.modulus)
    for number in (0, 1, MAKER.n - 1, MAKER.n, MAKER.n + 1, (1 << 3072) - 1):
        assert not bundle.is_signed(digest, number.to_bytes(384, "big"), MAKER.modulus)
    assert not bundle.is_signed(digest, good, HEIR.modulus)


def test_a_signature_has_one_number():
    """One above the modulus leads to the same power, and is refused (section 5.2.2, step 1)."""
    for attempt in range(100):
        message = b"message %d" % attempt
        again = int.from_bytes(MAKER.sign(message), "big") + MAKER.n
        if again < 1 << 3072:
            break
    digest = hashlib.sha256(message).digest()
    assert bundle.is_signed(digest, (again - MAKER.n).to_bytes(384, "big"), MAKER.modulus)
    assert not bundle.is_signed(digest, again.to_bytes(384, "big"), MAKER.modulus)


def test_a_bundle_of_the_old_key_can_bring_a_new_one():
    heir_files = firmware_files("two", next_key=HEIR)
    flash = pen_with(bundle_of(heir_files, 2))
    assert offer(flash) is None
    with Inserted(flash, update, bundle):
        updater = update.Updater("/flash", B, BOARD)
        updater.confirm()
        flash.files[NAME] = BUNDLE_THREE  # of the old key
        assert updater.offer() == "signature_invalid"
        flash.files[NAME] = bundle_of(firmware_files("three", next_key=HEIR), 3, HEIR)
        assert updater.offer() is None
    assert below(flash, A)[A + "/update.key"] == HEIR.modulus


def test_after_a_roll_back_the_old_key_counts_again():
    flash = pen_with(bundle_of(firmware_files("two", next_key=HEIR), 2))
    assert offer(flash) is None
    flash.files[NAME] = BUNDLE_THREE
    assert offer(flash) is None


# ---- the words ----


def test_a_bundle_is_read_from_any_stream():
    found = bundle.Bundle(io.BytesIO(BUNDLE_TWO), MAKER.modulus, BOARD, MPY)
    assert (found.version, found.text) == (2, "0.1.0")
