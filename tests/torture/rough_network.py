"""The campaign of rough networks: every byte of the conversation, every kind of mishap, and pairs.

The trials are those of tests/device/rough_simulation.py; here none is left out. A trial is (byte, kind,
fragmented, second byte, second kind), so that one line is all it takes to see a failure again.
`main()` runs it alone: `python -m torture.rough_network`.
"""

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from random import Random

from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "device"))

from rough_simulation import KINDS, Trial, conversation_length, mishap

CHUNK = 200
Place = tuple[int, int, bool, int, int]


def places(length: int, pairs: int, seed: int) -> Iterator[Place]:
    """All single mishaps, then `pairs` of two, drawn by chance."""
    for at in range(1, length):
        for kind in range(KINDS):
            for is_fragmented in (False, True):
                yield at, kind, is_fragmented, 0, 0
    random = Random(seed)
    for _ in range(pairs):
        at = random.randrange(1, length)
        second = random.randrange(at, 2 * length)
        kinds = random.randrange(KINDS), random.randrange(KINDS)
        yield at, kinds[0], random.random() < 0.5, second, kinds[1]


def attempt(chunk: list[Place]) -> tuple[int, int, list[str]]:
    """(trials, longest time until live again in ms, failures)."""
    failures = []
    longest_ms = 0
    for place in chunk:
        at, kind, is_fragmented, second, second_kind = place
        plan = [mishap(at, kind)] + ([mishap(second, second_kind)] if second else [])
        trial = Trial(plan, is_fragmented, at * KINDS + kind)
        try:
            trial.run()
        except Exception as error:  # whatever it is, it is a finding
            failures.append(f"{place}: {type(error).__name__} {error}")
        if not trial.is_slow:
            longest_ms = max([longest_ms, *trial.late_ms])
    return len(chunk), longest_ms, failures


def chunks(all_places: Iterator[Place]) -> Iterator[list[Place]]:
    while chunk := list(islice(all_places, CHUNK)):
        yield chunk


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if a trial failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--every", type=int, default=1, help="only every so many trials")
    options = parser.parse_args(arguments)
    length = conversation_length()
    work = list(chunks(islice(places(length, options.pairs, options.seed), 0, None, options.every)))
    trials = longest_ms = 0
    failures: list[str] = []
    with ProcessPoolExecutor(options.workers) as pool:
        results = pool.map(attempt, work)
        for count, chunk_longest_ms, found in track(results, "rough networks", total=len(work)):
            trials += count
            longest_ms = max(longest_ms, chunk_longest_ms)
            failures += found
    for failure in failures[:20]:
        print(failure)
    print(
        f"{trials} trials over {length - 1} bytes: {len(failures)} failed; "
        f"live again after {longest_ms} ms at the latest"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
