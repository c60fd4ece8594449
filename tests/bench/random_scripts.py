"""Scripts of treatments at random, over everybody and everything of a registry.

Every quantity that a definition compares with a bound is drawn from one side of it or the other,
with a margin greater than what a sensor can blur: 80 ms at the bounds of time, and at the bounds of
depth what the reading tolerance leaves. What a draw combines into something nearer is drawn again
(`has_margins`). So two right counts of such a tape can differ by blur, but not in what they find.
"""

import itertools
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from needletrail_gateway.bench.recorder import Script, Truth, record

from .truth import Registry, over_um, points_of, scope, tolerance_um

# Days on both sides of what the registries name: licence to 05-31, recall on 06-15.
DAYS = ("2026-05-31", "2026-06-01", "2026-06-14", "2026-06-15", "2026-07-01", "2026-07-02")
UNKNOWN_BADGE = "nobody-9"
SERIALS = 1000  # few enough for cartridges to come back
DIAL_MAX_UM = 3000
MARGIN_MS = 80

PLANS = ("within", "within", "beyond", "mixed", "at limit", "brief", "turned", "stays turned")


def random_script(rng: Random, registry: Registry) -> Script:
    """A script whose truth has margins. Its badge is always read and its cartridge's lot known."""
    while True:
        script = _draw(rng, registry)
        _, truth = record(script, points_of(registry, script.pen), Random(0))
        if has_margins(truth, registry):
            return script


def has_margins(truth: Truth, registry: Registry) -> bool:
    """Whether no time and no depth of the truth lies where sensors' blur could decide."""
    limit = scope(truth.script, registry)
    over = over_um(truth.script, registry)
    tolerance = tolerance_um(registry, truth.script.pen)
    work = [(part.from_ms, part.to_ms) for part in truth.work]
    deep = [(part.from_ms, part.to_ms) for part in truth.work if part.depth_um > over]
    if any(140 < to_ms - from_ms < 200 + MARGIN_MS for from_ms, to_ms in _runs(deep)):
        return False
    touches = _runs(work)
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(touches)]
    if any(300 - MARGIN_MS < gap < 300 + MARGIN_MS for gap in gaps):
        return False
    bridged: list[list[tuple[int, int]]] = []
    for index, touch in enumerate(touches):
        if index and gaps[index - 1] < 300:
            bridged[-1].append(touch)
        else:
            bridged.append([touch])
    for parts in bridged:
        in_contact_ms = sum(to_ms - from_ms for from_ms, to_ms in parts)
        if parts[-1][1] - parts[0][0] > 500 - MARGIN_MS and in_contact_ms < 500 + MARGIN_MS:
            return False
    peak_um = truth.peak_um or 0
    from_limit_um = abs(peak_um - limit.um)
    return from_limit_um <= tolerance - 15 or from_limit_um >= tolerance + 15


def _runs(spans_ms: list[tuple[int, int]]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for from_ms, to_ms in spans_ms:
        if runs and runs[-1][1] == from_ms:
            runs[-1] = (runs[-1][0], to_ms)
        else:
            runs.append((from_ms, to_ms))
    return runs


def _draw(rng: Random, registry: Registry) -> Script:
    day = date.fromisoformat(rng.choice(DAYS))
    start = datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(
        seconds=rng.randrange(12 * 3600)
    )
    people = [person["id"] for person in registry["practitioner"]]
    head: dict[str, Any] = {
        "tape": f"random-{rng.randrange(1_000_000):06}",
        "pen": rng.choice(registry["pen"])["id"],
        "start": start,
        "badge": rng.choice([*people, UNKNOWN_BADGE]),
        "strokes_per_min": rng.choice((6000, 7000, 8000, 9000)),
        "removal": rng.random() < 0.85,
        "trailing_ms": rng.randrange(20, 3000, 20),
    }
    if rng.random() < 0.9:
        lots = registry["cartridge_lot"]
        lot = rng.choices(lots, [1 if "recalled" in lot else 4 for lot in lots])[0]
        expires = rng.choice((date(2027, 12, 31),) * 7 + (day, day - timedelta(days=1)))
        head["cartridge"] = {
            "gtin": lot["gtin"],
            "lot": lot["lot"],
            "serial": f"{rng.randrange(1, SERIALS):06}",
            "expires": expires,
        }
        if rng.random() < 0.2:
            head["badge_late_ms"] = rng.randrange(20, 3000, 20)
    plain_step = {"kind": "pass", "depth_mm": 0, "duration_ms": 1000}
    limit_um = scope(Script.model_validate(head | {"steps": (plain_step,)}), registry).um
    steps = _steps(rng, limit_um)
    return Script.model_validate(head | {"steps": steps, "seed": rng.randrange(1 << 30)})


def _steps(rng: Random, limit_um: int) -> list[dict[str, Any]]:
    plan = rng.choice(PLANS)
    steps: list[dict[str, Any]] = []
    within_um = _within(rng, limit_um)
    beyond_um = _beyond(rng, limit_um)
    for _ in range(rng.randint(1, 5)):
        depth_um = within_um
        if plan == "beyond" or (plan == "mixed" and rng.random() < 0.5):
            depth_um = beyond_um
        elif plan == "at limit" and (limit_um == 0 or rng.random() < 0.7):
            depth_um = max(0, limit_um + rng.choice((-10, 0, 10)))
        elif rng.random() < 0.2:
            depth_um = within_um = _within(rng, limit_um)
        step = _touch(rng, depth_um) if rng.random() < 0.25 else _pass(rng, depth_um)
        if plan == "brief" and step["duration_ms"] >= 2200:
            step["excursions"] = [_excursion(rng, depth_um, limit_um + 80, 80, 600)]
        elif plan == "turned" and step["duration_ms"] >= 4500:
            step["excursions"] = [
                _excursion(rng, depth_um, beyond_um, rng.randrange(300, 1500, 20), 600)
            ]
        elif plan == "stays turned" and step["duration_ms"] >= 4500:
            step["excursions"] = [{"at_ms": 1000, "depth_mm": beyond_um / 1000}]
        steps.append(step)
        if rng.random() < 0.15:
            air_um = rng.choice((beyond_um, DIAL_MAX_UM, 0))
            steps.append({"kind": "air", "depth_mm": air_um / 1000, "hold_ms": 1000})
        if rng.random() < 0.1:
            steps.append({"kind": "rest", "duration_ms": rng.randrange(200, 3000, 20)})
    return steps


def _pass(rng: Random, depth_um: int) -> dict[str, Any]:
    duration_ms = rng.randrange(580, rng.choice((1000, 8000)), 20)
    step = {
        "kind": "pass",
        "depth_mm": depth_um / 1000,
        "duration_ms": duration_ms,
        "pause_after_ms": _pause_ms(rng),
    }
    if duration_ms >= 2000 and rng.random() < 0.4:
        places = range(300, duration_ms - 300, 300)
        step["spikes"] = [
            {"at_ms": at_ms, "readings": rng.randint(1, 2)}
            for at_ms in sorted(rng.sample(places, min(3, len(places))))
        ]
    if duration_ms >= 2000 and rng.random() < 0.4:
        at_ms = rng.randrange(400, duration_ms - 1200, 20)
        step["flickers"] = [
            {"at_ms": at_ms, "readings": rng.randint(1, 2)},
            {"at_ms": at_ms + rng.randrange(400, 800, 20), "readings": rng.randint(3, 4)},
        ]
    return step


def _touch(rng: Random, depth_um: int) -> dict[str, Any]:
    """Too short for a pass, unless what follows comes soon enough to be one with it."""
    return {
        "kind": "pass",
        "depth_mm": depth_um / 1000,
        "duration_ms": rng.randrange(200, 440, 20),
        "pause_after_ms": _pause_ms(rng),
    }


def _pause_ms(rng: Random) -> int:
    return rng.choice((rng.randrange(40, 240, 20), rng.randrange(380, 2000, 20), 1200))


def _excursion(rng: Random, base_um: int, to_um: int, hold_ms: int, earliest_ms: int) -> dict[str, Any]:
    to_um = min(to_um, base_um + 1200, DIAL_MAX_UM)  # so that turning there and back takes 1.2 s
    at_ms = earliest_ms + rng.randrange(0, 300, 20)
    return {"at_ms": at_ms, "depth_mm": to_um / 1000, "hold_ms": hold_ms}


def _within(rng: Random, limit_um: int) -> int:
    return rng.randrange(100, limit_um - 40, 10) if limit_um else 0


def _beyond(rng: Random, limit_um: int) -> int:
    return rng.randrange(limit_um + 70, min(limit_um + 1000, DIAL_MAX_UM) + 1, 10)
