"""`make torture`: cut the power a million times, and 250,000 times twice in a row, and flip bits.

Every cut is executed: an image of 64 KiB is made and the real journal boots from it on the real
littlefs (cuts says where stories are cut, flash how, verdict what must hold). No result is reused and
nothing is counted that was not run. Work goes to processes in portions; the outcome depends on the
seed alone, not on how many there are. The last lines are the counts; exit 1 if anything was found, each
finding with what --again needs to see it alone.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from torture import bits, cuts, filesystem, flash, verdict

CUTS, PAIRS = 1_000_000, 250_000
CUTS_A_PORTION = 4000
FIRSTS_A_PORTION = 100
BITS_A_PORTION = 4096
IMAGE_STRIDE = 7  # of the bits of a whole littlefs; of frames every bit is flipped
FINDINGS_SHOWN = 20

SPAWNED = multiprocessing.get_context("spawn").Pool

Job = tuple[str, int, int, int, int]  # campaign, seed, story or first bit, part or end, parts or stride
Result = tuple[str, list[int], int, list[tuple]]


def work(job: Job) -> Result:
    """One portion, in a process of its own."""
    campaign, seed, first, second, third = job
    findings: list[tuple] = []
    lost = 0
    if campaign == "cuts":
        counts = cuts.run_cuts(seed, first, second, third, findings)
    elif campaign == "pairs":
        counts = cuts.run_pairs(seed, first, second, third, findings)
    elif campaign == "frames":
        lost = bits.run_frames(seed, range(first, second), findings)
        counts = [second - first]
    else:
        counts, lost = bits.run_images(seed, range(first, second, third), findings)
    return campaign, counts, lost, findings


def cut_jobs(seed: int, wanted: int) -> Iterator[tuple[Job, int]]:
    """Whole stories, until there are as many places as wanted; of the last one a part."""
    number = 0
    while wanted > 0:
        places = sum(1 for _ in cuts.places_of(cuts.story_of(seed, number), number))
        parts = -(-places // CUTS_A_PORTION)
        for part in range(parts):
            count = len(range(part, places, parts))
            if wanted > 0:
                yield ("cuts", seed, number, part, parts), count
            wanted -= count
        number += 1


def pair_jobs(seed: int, wanted: int) -> Iterator[tuple[Job, int]]:
    """So many first cuts in each story in turn."""
    number = 0
    while wanted > 0:
        firsts = min(FIRSTS_A_PORTION, -(-wanted // cuts.SECONDS_A_FIRST))
        yield ("pairs", seed, number, number, firsts), firsts * cuts.SECONDS_A_FIRST
        wanted -= firsts * cuts.SECONDS_A_FIRST
        number += 1


def bit_jobs(seed: int) -> Iterator[tuple[Job, int]]:
    """Every bit of the frames, and every IMAGE_STRIDE-th of a whole littlefs."""
    for first in range(0, bits.IMAGE_BITS, BITS_A_PORTION):
        yield ("frames", seed, first, first + BITS_A_PORTION, 1), BITS_A_PORTION
    for first in range(0, bits.IMAGE_BITS, BITS_A_PORTION * IMAGE_STRIDE):
        end = min(first + BITS_A_PORTION * IMAGE_STRIDE, bits.IMAGE_BITS)
        yield ("images", seed, first, end, IMAGE_STRIDE), len(range(first, end, IMAGE_STRIDE))


def again(seed: int, text: str) -> str:
    """Run one place again: STORY:OPERATION:BYTE:KIND, twice for a pair. What came of it."""
    numbers = [int(part) for part in text.split(":")]
    story = cuts.story_of(seed, numbers[0])
    first, second = tuple(numbers[1:4]), tuple(numbers[4:7])
    try:
        if not second:
            cuts.judge(story, cuts.Cutter(story, seed), first)
        else:
            after = cuts.judge(story, cuts.Cutter(story, seed), first, [])
            cuts.judge(after, cuts.Cutter(after, seed), second)
    except verdict.Finding as finding:
        return str(finding)
    return "nothing found"


def name_of(seed: int, campaign: str, finding: tuple) -> str:
    """A finding on one line."""
    number, first, second, cause = finding
    if campaign in ("frames", "images"):
        return f"seed {seed}, {campaign}: {cause}"
    place = ":".join(str(part) for part in (number, *first, *(second or ())))
    kinds = " then ".join(flash.KINDS[where[2]] for where in (first, second) if where)
    geometry = filesystem.GEOMETRIES[number % 3]
    return f"{cause} ({geometry}, {kinds}): --seed {seed} --again {place}"


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make torture",
        description="Cut the pen's power anywhere and flip its bits; the journal must come through.",
        epilog='example: make torture ARGS="--cuts 20000 --pairs 5000 --jobs 1". Two others, each with '
        "a --help of its own: --real-time plays the tapes at their own speed with an outage; --ledger "
        "alters every entry of a ledger.",
    )
    parser.add_argument("--seed", type=int, default=1, help="what chance follows from (1)")
    parser.add_argument("--cuts", type=int, default=CUTS, help=f"single cuts, at least ({CUTS})")
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help=f"a cut and another in the boot ({PAIRS})"
    )
    parser.add_argument("--jobs", type=int, default=None, help="processes (one a core)")
    parser.add_argument("--no-bits", action="store_true", help="flip no bits")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object, no bar")
    parser.add_argument("--again", metavar="PLACE", help="run one place again, as a finding names it")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, pool_of: Callable[..., Any] = SPAWNED) -> int:
    """The exit code. `pool_of` makes the pool of processes."""
    given = options(arguments)
    if given.again:
        print(again(given.seed, given.again))
        return 0
    jobs = list(cut_jobs(given.seed, given.cuts)) + list(pair_jobs(given.seed, given.pairs))
    if not given.no_bits:
        jobs += list(bit_jobs(given.seed))
    totals: dict[str, list[int]] = {"cuts": [0] * 4, "pairs": [0] * 4, "frames": [0], "images": [0] * 5}
    lost = {"frames": 0, "images": 0}
    found: list[str] = []
    began_s = time.monotonic()
    console = Console(quiet=given.json)
    bar = Progress(
        TextColumn("{task.description:7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[findings]} found"),
        console=console,
        disable=given.json,
    )
    with bar, pool_of(given.jobs) as pool:
        tasks = {
            campaign: bar.add_task(
                campaign, total=sum(count for job, count in jobs if job[0] == campaign), findings=0
            )
            for campaign in totals
            if any(job[0] == campaign for job, _ in jobs)
        }
        for campaign, counts, lost_here, findings in pool.imap_unordered(
            work, [job for job, _ in jobs]
        ):
            totals[campaign] = [old + new for old, new in zip(totals[campaign], counts, strict=True)]
            if campaign in lost:
                lost[campaign] += lost_here
            found += [name_of(given.seed, campaign, finding) for finding in findings]
            bar.update(tasks[campaign], advance=sum(counts), findings=len(found))
    figures = {
        "seed": given.seed,
        "cuts": dict(zip(flash.KINDS, totals["cuts"], strict=True)),
        "pairs_by_second_cut": dict(zip(flash.KINDS, totals["pairs"], strict=True)),
        "frame_bits": totals["frames"][0],
        "frame_records_lost": lost["frames"],
        "image_bits": dict(zip(bits.OUTCOMES, totals["images"], strict=True)),
        "seconds": round(time.monotonic() - began_s),
        "findings": len(found),
    }
    if given.json:
        print(json.dumps({**figures, "first_findings": found[:FINDINGS_SHOWN]}))
        return 1 if found else 0
    for line in found[:FINDINGS_SHOWN]:
        console.print(line, style="red", markup=False)
    cut_count, pair_count = sum(totals["cuts"]), sum(totals["pairs"])
    console.print(f"{cut_count} cuts: {named(figures['cuts'])}")
    console.print(f"{pair_count} pairs, by the second cut: {named(figures['pairs_by_second_cut'])}")
    if not given.no_bits:
        console.print(
            f"{totals['frames'][0]} bits of frames: {lost['frames']} records lost, each found"
        )
        console.print(f"{sum(totals['images'])} bits of littlefs: {named(figures['image_bits'])}")
    verdict_line = "nothing found" if not found else f"{len(found)} found"
    console.print(f"{verdict_line}; seed {given.seed}, {figures['seconds']} s")
    return 1 if found else 0


def named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
