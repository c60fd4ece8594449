"""A sample of `make torture`, with the same code: thousands of cuts and flips instead of millions.

And that it can fail: journals with one deliberate mistake each, which must all be found.
"""

import json
from collections.abc import Callable
from multiprocessing.pool import ThreadPool

import pytest

from needletrail_device import recovery
from needletrail_device.journal import Journal
from torture import bits, campaign, cuts, filesystem, flash, wear

CUTS, PAIRS = 5000, 1000
STORIES = 18  # every geometry with every size of segment, new and aged
PARTS = 397  # a prime, so that no kind is left out


def sample_cuts(seed: int, stories: int, wanted: int) -> tuple[list[int], list[tuple]]:
    findings: list[tuple] = []
    counts = [0, 0, 0, 0]
    part = 0
    while sum(counts) < wanted:
        for number in range(stories):
            some = cuts.run_cuts(seed, number, part, PARTS, findings)
            counts = [old + new for old, new in zip(counts, some, strict=True)]
        part += 1
    return counts, findings


def sample_pairs(seed: int, stories: int, wanted: int) -> tuple[list[int], list[tuple]]:
    findings: list[tuple] = []
    counts = [0, 0, 0, 0]
    firsts = -(-wanted // stories // cuts.SECONDS_A_FIRST)
    for number in range(stories):
        some = cuts.run_pairs(seed, number, 0, firsts, findings)
        counts = [old + new for old, new in zip(counts, some, strict=True)]
    return counts, findings


def test_single_cuts() -> None:
    counts, findings = sample_cuts(2, STORIES, CUTS)
    assert findings == []
    assert sum(counts) >= CUTS
    assert min(counts) > CUTS // 30, dict(zip(flash.KINDS, counts, strict=True))


def test_pairs_of_cuts() -> None:
    counts, findings = sample_pairs(2, STORIES, PAIRS)
    assert findings == []
    assert sum(counts) >= PAIRS
    assert min(counts) > PAIRS // 50, dict(zip(flash.KINDS, counts, strict=True))


# ---- mistakes that must be found ----


def save_nothing(journal: Journal) -> None:
    """The state stays in memory."""


def scan_nothing(whole: Callable) -> Callable:
    def scan(journal: Journal) -> tuple:
        whole(journal)
        return None, None

    return scan


def forget_open_session(whole: Callable) -> Callable:
    def load(journal: Journal) -> None:
        whole(journal)
        journal.open_session = 0

    return load


def answer_first(whole: Callable) -> Callable:
    """`append` returns, and the record goes to flash with the next one."""

    def append(journal: Journal, payload: bytes) -> int:
        seq = journal.next_seq
        late = getattr(journal, "late", None)
        if late is not None:
            journal.next_seq = seq - 1
            whole(journal, late)
        journal.late = payload  # type: ignore[attr-defined]
        journal.next_seq = seq + 1
        return seq

    return append


def drop_the_newest(whole: Callable) -> Callable:
    """A segment goes as soon as it is covered, the newest too."""

    def acknowledge(journal: Journal, seq: int) -> None:
        whole(journal, seq)
        if seq == journal.next_seq - 1 and len(journal.firsts) == 1:
            journal._remove(journal.firsts[0])
            journal.firsts = journal.firsts[:0]
            journal.out_bytes = 0

    return acknowledge


def remove_without_saving(whole: Callable) -> Callable:
    def acknowledge(journal: Journal, seq: int) -> None:
        save = Journal.save
        Journal.save = lambda _: None  # type: ignore[method-assign]
        try:
            whole(journal, seq)
        finally:
            Journal.save = save  # type: ignore[method-assign]

    return acknowledge


MISTAKES = {
    "answer first": (Journal, "append", answer_first),
    "save nothing": (Journal, "save", lambda _: save_nothing),
    "scan nothing": (recovery, "_scan", scan_nothing),
    "forget the open session": (recovery, "_load_state", forget_open_session),
    "drop the newest": (Journal, "acknowledge", drop_the_newest),
    "remove without saving": (Journal, "acknowledge", remove_without_saving),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, function, mistake = MISTAKES[name]
    monkeypatch.setattr(place, function, mistake(getattr(place, function)))
    found = sample_cuts(1, 9, 2000)[1] + sample_pairs(1, 9, 300)[1]
    assert found
    second, cause = found[0][2:]
    line = campaign.name_of(1, "cuts", found[0])
    assert line.startswith(cause)
    again = line.partition("--again ")[2]
    assert campaign.again(1, again) == cause
    assert len(again.split(":")) == 4 + (0 if second is None else 3)
    monkeypatch.undo()
    assert campaign.again(1, again) == "nothing found"


# ---- bits ----


def test_flipped_bits_of_frames_cost_one_record_each() -> None:
    findings: list[tuple] = []
    every = range(0, bits.IMAGE_BITS, 13)
    assert bits.run_frames(3, every, findings) == len(every)
    assert findings == []


def test_every_bit_of_some_frames_and_of_the_last() -> None:
    findings: list[tuple] = []
    every = [*range(8192), *range(bits.IMAGE_BITS - 8192, bits.IMAGE_BITS)]
    assert bits.run_frames(4, every, findings) == len(every)
    assert findings == []


def test_flipped_bits_of_a_whole_littlefs_invent_nothing() -> None:
    findings: list[tuple] = []
    every = range(5, bits.IMAGE_BITS, 307)
    counts, lost = bits.run_images(3, every, findings)
    assert findings == []
    assert sum(counts) == len(every)
    outcome = dict(zip(bits.OUTCOMES, counts, strict=True))
    assert outcome["one record lost"] > 100
    assert (
        outcome["rolled back"] + outcome["not mounted"] + outcome["error when read"] < len(every) // 10
    )
    assert lost >= outcome["one record lost"]


# ---- the flash, and how long it lasts ----


def test_a_program_clears_bits_and_an_erase_sets_them() -> None:
    medium = flash.Flash(flash.empty_image(2), [])
    assert medium.program(10, b"\xf0\x0f") == 0
    assert medium.program(10, b"\x3f\xff") == 0
    assert medium.load(9, 4) == b"\xff\x30\x0f\xff"
    medium.erase(0)
    assert medium.image == flash.empty_image(2)
    assert [operation[0] for operation in medium.log] == [flash.PROGRAM, flash.PROGRAM, flash.ERASE]


@pytest.mark.parametrize("k", [0, 1, 100, 255, 256, 300, 599])
def test_what_a_cut_leaves(k: int) -> None:
    data = bytes(range(200)) * 3
    log = [(flash.PROGRAM, 40, data)]
    before = flash.empty_image(1)
    clean = flash.cut(before, log, 0, k, flash.CLEAN, b"s")
    assert clean[40 : 40 + k] == data[:k]
    assert clean[40 + k :] == before[40 + k :]
    torn = flash.cut(before, log, 0, k, flash.TORN, b"s")
    page = (40 + k) // flash.PAGE * flash.PAGE
    assert torn[:40] == before[:40]
    assert torn[40:page] == data[: max(0, page - 40)]
    assert torn[max(page + flash.PAGE, 40) :] == before[max(page + flash.PAGE, 40) :]
    both = zip(torn[40:], data, strict=False)
    assert all(found | wanted == found for found, wanted in both)  # no bit is cleared that should be 1
    assert before == flash.empty_image(1)


def test_operations_since_the_last_sync_may_be_missing() -> None:
    log = [(flash.PROGRAM, 0, b"a" * 32), (flash.SYNC, 0, None)]
    log += [(flash.ERASE, 0, None), (flash.PROGRAM, 0, b"b" * 32), (flash.PROGRAM, 4096, b"c" * 32)]
    before = flash.empty_image(2)
    flash.apply(before, log[0])
    seen = set()
    for seed in range(64):
        image = flash.cut(before, log, 4, 0, flash.REORDERED, b"%d" % seed)
        seen.add(bytes(image[:32]))
    assert seen == {b"a" * 32, b"b" * 32, b"\xff" * 32}  # never both, one over the other


def test_an_hour_of_session() -> None:
    for geometry in (filesystem.ESP32, filesystem.RP2):
        erases, programmed_bytes, taken_bytes = wear.write_hour(64, geometry, True, 600)
        assert 600 <= erases < 660  # one for each record, and a few for metadata
        assert programmed_bytes < 600 * 2700
        assert taken_bytes <= 4 * flash.BLOCK
        _, _, kept_bytes = wear.write_hour(64, geometry, False, 600)
        assert kept_bytes < 600 * wear.BYTES_A_SECOND + wear.SEGMENT_BLOCK_BYTES


def test_hours_by_board() -> None:
    hours = {name: round(wear.hours(size), 1) for name, size in wear.BOARDS}
    assert hours == {
        "ESP32-S3, 8 MB": 11.7,
        "ESP32-C3, 4 MB": 3.5,
        "Pico W, 2 MB": 1.1,
        "Pico 2 W, 4 MB": 4.5,
    }


# ---- the program ----


def test_the_program_counts_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cuts", "100", "--pairs", "16", "--jobs", "1", "--no-bits", "--json"]
    assert campaign.main(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert sum(figures["cuts"].values()) >= 100
    assert sum(figures["pairs_by_second_cut"].values()) == 16
    assert figures["findings"] == 0


def test_the_program_fails_when_it_finds_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "save", save_nothing)
    assert (
        campaign.main(["--cuts", "100", "--pairs", "16", "--jobs", "1", "--no-bits"], ThreadPool) == 1
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "comes again (esp32, clean): --seed 1 --again 0:" in printed
    assert "found; seed 1" in printed
