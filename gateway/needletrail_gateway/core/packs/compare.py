"""How one policy pack differs from another, rule by rule: what is stricter, what is milder.

Stricter: some session that was compliant no longer is, and none the other way round. Where a rule is
tighter in one respect and looser in another, or where nothing is forbidden by it (what to tell the
client, where a band begins), it is `different`. What only has other words or citations is `reworded`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from needletrail_gateway.core.packs import words
from needletrail_gateway.core.packs.extend import Address
from needletrail_gateway.core.packs.model import (
    SUPERVISION_RANK,
    CartridgeRule,
    CourseRule,
    DeviceRule,
    DurationRule,
    PlaceRule,
    Policy,
    Refusal,
    Rule,
    TierRule,
    Who,
)
from needletrail_gateway.core.packs.words import Line
from needletrail_gateway.core.registry.model import um

Direction = Literal["stricter", "milder", "different", "reworded"]

# How much tighter the second of two is: above 0 tighter, below 0 looser. None: not to be compared.
_Tighter = float | None

_ENDLESS = float("inf")

# Lines of a tier of which at least a part forbids nothing, and is still not mere words.
_FORBIDS_NOTHING = ("depth", "fallback", "course", "duration", "healing")


@dataclass(frozen=True)
class Change:
    """One rule that is not the same. `before` and `after` are None where a pack does not have it."""

    address: Address
    direction: Direction
    before: str | None
    after: str | None
    citations: tuple[str, ...]

    @property
    def subject(self) -> str:
        """What the rule is about, as a person reads it."""
        return " ".join(self.address)


def compare(before: Policy, after: Policy) -> list[Change]:
    """What `after` says otherwise than `before`, tiers first."""
    old, new = _by_address(before), _by_address(after)
    gone = {tier.name for tier in before.tier} - {tier.name for tier in after.tier}
    come = {tier.name for tier in after.tier} - {tier.name for tier in before.tier}
    changes = []
    for address in [*old, *(one for one in new if one not in old)]:
        if address[0] in gone | come:
            if address[1:] == ("depth",):
                changes.append(_whole_tier(address[0], old.get(address), new.get(address)))
            continue
        was, now = old.get(address), new.get(address)
        direction = _direction(address, before, after, was, now)
        if direction is not None:
            changes.append(_change(address, direction, was, now))
    return changes


def overall(changes: Iterable[Change]) -> Literal["the same", "stricter", "milder", "different"]:
    """What the changes come to, all together."""
    directions = {one.direction for one in changes} - {"reworded"}
    if not directions:
        return "the same"
    if directions == {"stricter"}:
        return "stricter"
    return "milder" if directions == {"milder"} else "different"


def _by_address(policy: Policy) -> dict[Address, Line]:
    return {line.address: line for line in words.lines(policy)}


def _change(address: Address, direction: Direction, was: Line | None, now: Line | None) -> Change:
    shown = now if now is not None else was
    assert shown is not None
    return Change(
        address,
        direction,
        was.words if was is not None else None,
        now.words if now is not None else None,
        shown.citations,
    )


def _whole_tier(name: str, was: Line | None, now: Line | None) -> Change:
    """A tier that one of the packs does not have: nobody may work in it there."""
    return _change((name,), "stricter" if now is None else "milder", was, now)


def _direction(
    address: Address, before: Policy, after: Policy, was: Line | None, now: Line | None
) -> Direction | None:
    found = _respects(address, before, after)
    tighter = any(one is not None and one > 0 for one in found)
    looser = any(one is not None and one < 0 for one in found)
    if (tighter and looser) or any(one is None for one in found):
        return "different"
    if tighter or looser:
        return "stricter" if tighter else "milder"
    if len(address) == 2 and address[1] == "who":
        return None  # the line that says “nobody”; those who come or go have lines of their own
    if (was and was.words) != (now and now.words):
        return "different" if address[1:2] and address[1] in _FORBIDS_NOTHING else "reworded"
    return (
        None if was is not None and now is not None and was.citations == now.citations else "reworded"
    )


# ---- what is tighter ----


def _respects(address: Address, before: Policy, after: Policy) -> Sequence[_Tighter]:
    """How much tighter a rule has become, in each respect in which it may."""
    kind = address[0]
    if kind == "refusal":
        return _of_refusal(before.find_refusal(address[1]), after.find_refusal(address[1]))
    if kind == "finding":
        return _of_rule(before.find_rule(address[1]), after.find_rule(address[1]))
    if kind == "grant":
        was, now = before.grant, after.grant
        answers = [(was.when_expired, now.when_expired), (was.unknown_badge, now.unknown_badge)]
        answers.append((was.without_grant, now.without_grant))
        return [
            was.life_hours - now.life_hours,
            *(_refuses(now) - _refuses(was) for was, now in answers),
        ]
    if kind == "clock":
        return [before.clock.agrees_within_s - after.clock.agrees_within_s]
    if kind == "without badge":
        return _limit(_badgeless(before), _badgeless(after))
    if kind == "retention":  # it forbids nobody's treatment
        return [0 if _kept_years(before) == _kept_years(after) else None]
    old, new = before.find_tier(kind), after.find_tier(kind)
    assert old is not None
    assert new is not None
    return _of_tier(address[1:], old, new)


def _of_tier(address: Address, old: TierRule, new: TierRule) -> Sequence[_Tighter]:
    kind = address[0]
    if kind == "depth":
        begins = (old.band.min_um, old.band.min_inclusive) != (new.band.min_um, new.band.min_inclusive)
        found = _limit(_tier_limit(old), _tier_limit(new))
        return [*found, None] if begins and found == [0] else found
    if kind == "interlock":
        return [new.hard - old.hard]
    if kind == "fallback":
        # Without one less is left to a person; but the fallback's own demands are gone with it.
        return [0 if old.fallback == new.fallback else None]
    if kind == "who":
        if len(address) == 1:
            return [0]
        return _of_who(old.rule_for(address[1]), new.rule_for(address[1]))
    if kind == "duration":
        return _of_duration(*(_duration(tier, address[1]) for tier in (old, new)))
    compared: dict[str, Callable[[], Sequence[_Tighter]]] = {
        "where": lambda: _of_place(old.place, new.place),
        "device": lambda: _of_device(old.device, new.device),
        "cartridge": lambda: _of_cartridge(old.cartridge, new.cartridge),
        "course": lambda: _of_course(old.course, new.course),
        "screening": lambda: [
            (new.screening is not None and new.screening.needed)
            - (old.screening is not None and old.screening.needed)
        ],
    }
    return compared[kind]() if kind in compared else [0]


def _limit(was: tuple[float, bool], now: tuple[float, bool]) -> list[_Tighter]:
    """Of two equal depths the exclusive limit is the tighter one.

    A lower inclusive limit is not: whoever went to the old one too briefly for a breach was told that
    it must not be reached, and is told nothing now.
    """
    lower, higher = (now, was) if now < was else (was, now)
    if lower[1] and not higher[1]:
        return [None]
    return [(was > now) - (was < now)]


def _tier_limit(tier: TierRule) -> tuple[float, bool]:
    return tier.band.max_um, tier.band.max_inclusive


def _badgeless(policy: Policy) -> tuple[float, bool]:
    tier = policy.find_tier(policy.without_badge.tier)
    assert tier is not None
    return _tier_limit(tier)


def _kept_years(policy: Policy) -> int | None:
    return None if policy.retention is None else policy.retention.samples_kept_years


def _of_who(was: Who | None, now: Who | None) -> Sequence[_Tighter]:
    if was is None or now is None:
        return [1 if now is None else -1]
    ranks = SUPERVISION_RANK[now.supervision] - SUPERVISION_RANK[was.supervision]
    return [ranks, *_limit(_own_limit(was), _own_limit(now))]


def _own_limit(who: Who) -> tuple[float, bool]:
    return (_ENDLESS, True) if who.max_mm is None else (um(who.max_mm), who.inclusive)


def _fewer(was: set[str], now: set[str]) -> _Tighter:
    """Tighter if less is allowed; not to be compared if something went and something came."""
    if was - now and now - was:
        return None
    return len(was) - len(now)


def _of_place(was: PlaceRule | None, now: PlaceRule | None) -> Sequence[_Tighter]:
    everywhere: set[str] = {"home", "clinic", "clinic_with_director"}

    def allowed(rule: PlaceRule | None) -> set[str]:
        found = everywhere if rule is None else {*map(str, rule.where)}
        return found | {"clinic_with_director"} if "clinic" in found else found

    return [_fewer(allowed(was), allowed(now))]


def _of_device(was: DeviceRule | None, now: DeviceRule | None) -> Sequence[_Tighter]:
    every: set[str] = {"pen", "radio-frequency", "roller"}
    kinds = [every if rule is None else {*map(str, rule.kinds)} for rule in (was, now)]
    cleared = [rule is not None and rule.cleared_class_ii for rule in (was, now)]
    return [_fewer(*kinds), cleared[1] - cleared[0]]


def _of_cartridge(was: CartridgeRule | None, now: CartridgeRule | None) -> Sequence[_Tighter]:
    asked = ("single_use", "sterile", "unexpired", "not_recalled", "needle_limits_depth")

    def asks(rule: CartridgeRule | None, name: str) -> bool:
        return rule is None or bool(getattr(rule, name))

    return [asks(now, name) - asks(was, name) for name in asked]


def _of_course(was: CourseRule | None, now: CourseRule | None) -> Sequence[_Tighter]:
    def interval(rule: CourseRule | None) -> int:
        return 0 if rule is None else rule.interval_least_days or 0

    def most(rule: CourseRule | None) -> float:
        return _ENDLESS if rule is None or rule.treatments_most is None else rule.treatments_most

    fewer = (most(was) > most(now)) - (most(was) < most(now))
    return [interval(now) - interval(was), fewer]


def _duration(tier: TierRule, area: str) -> DurationRule | None:
    return next((one for one in tier.duration if one.area == area), None)


def _of_duration(was: DurationRule | None, now: DurationRule | None) -> Sequence[_Tighter]:
    (old_least, old_most), (new_least, new_most) = (
        (0.0, _ENDLESS) if rule is None else rule.plausible_ms for rule in (was, now)
    )
    return [new_least - old_least, (old_most > new_most) - (old_most < new_most)]


def _of_refusal(was: Refusal | None, now: Refusal | None) -> Sequence[_Tighter]:
    if was is None or now is None:
        return [-1 if now is None else 1]
    fewer = _fewer(set(was.tiers), set(now.tiers))
    refuses = (now.action == "refuse") - (was.action == "refuse")
    return [None if fewer is None else -fewer, refuses]


def _of_rule(was: Rule | None, now: Rule | None) -> Sequence[_Tighter]:
    if was is None or now is None:
        return [-1 if now is None else 1]
    outcomes = (now.outcome == "violation") - (was.outcome == "violation")
    return [outcomes, (now.severity == "hard") - (was.severity == "hard")]


def _refuses(answer: Any) -> int:
    return int(answer == "refuse")
