"""Every rule of a policy pack on which a verdict can hang, each moved by one step.

Strategy: a rule is covered if some case notices when it is moved: a depth by one step of the dial, an
interval by a day, a list by one of its members, a demand to its opposite. A `Bound` is such a move,
with the pack as it would be then. So what is covered is found by judging, not by what a case says of
itself, and a rule that is new in any pack is missing a case until there is one.

What a tier and the tier below it both ask for is asked twice; to see whether the upper one asks, the
lower one is silenced first. What no verdict hangs on is left out: where a band begins (shallower work
is not forbidden), what the client is told, how many treatments a course has at least, what a pen does
with its motor or without a grant. What a pen does is tested with pens.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from case_stage import Staged, outcome_of

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
    ScreeningRule,
    TierRule,
    Who,
)
from needletrail_gateway.core.registry.model import Registry, um

CITED = ["For the test: a rule that was moved."]
STEP_UM = 1  # a step of the dial of the cases' pens
ASKED = ("single_use", "sterile", "unexpired", "not_recalled", "needle_limits_depth")
KINDS = ("pen", "radio-frequency", "roller")
PLACES = ("home", "clinic", "clinic_with_director")
STEP_MS = 1_000

# Found only beyond the scope, where DEPTH_EXCEEDED is found too: what they are worth shows without it.
BEYOND = (
    "SUPERVISION_MISSING",
    "DIRECTOR_MISSING",
    "DEVICE_NOT_CLEARED",
    "DEVICE_NOT_PERMITTED",
    "PLACE_NOT_PERMITTED",
    "TIER_NOT_PERMITTED",
)
AT_ZERO = ("PRACTITIONER_UNKNOWN", "LICENSE_EXPIRED", "LICENSE_NOT_VALID")


@dataclass(frozen=True)
class Bound:
    """A rule that was moved. name: pack and rule. may_show: whether a case can notice it at all.

    before: the pack to compare with, usually the pack itself. by_tier: the tier in force counts, too,
    since two tiers may allow the same depth.
    """

    pack: str
    name: str
    before: Policy
    make: Callable[[], Policy]
    may_show: Callable[[Staged], bool]
    by_tier: bool = False

    @cached_property
    def after(self) -> Policy:
        return self.make()

    def is_shown_by(self, staged: Staged) -> bool:
        """Whether the case's verdict hangs on it."""
        return self.may_show(staged) and self._of(staged, self.before) != self._of(staged, self.after)

    def _of(self, staged: Staged, policy: Policy) -> Any:
        statement = staged.again(policy)
        return outcome_of(statement), statement["tier"] if self.by_tier else None


def bounds(policy: Policy, credentials: Iterable[str]) -> Iterator[Bound]:
    """All of a pack's. credentials: those of all packs, for who may not is a rule as well."""
    for tier in policy.tier:
        yield from _of_tier(policy, tier, sorted(credentials))
    yield from _of_refusals(policy)
    yield from _of_rules(policy)
    yield from _of_settings(policy)


# ---- packs that differ in one place ----


def with_tier(policy: Policy, tier: TierRule) -> Policy:
    """The pack with another tier of that name."""
    tiers = [tier if one.name == tier.name else one for one in policy.tier]
    return changed(policy, tier=tiers)


def changed(policy: Policy, **more: Any) -> Policy:
    """The pack with other sections. What is there already has been checked; only what is new is."""
    return Policy.model_validate(dict(policy) | more)


def with_rule(policy: Policy, rule: Rule | None, code: str) -> Policy:
    """The pack with another rule for a code, or none."""
    rules = [rule if one.code == code else one for one in policy.rule]
    return changed(policy, rule=[one for one in rules if one is not None])


def of_tier(registry: Registry, practitioner: str | None, policy: Policy) -> set[str]:
    """The tiers that a practitioner's permit can come down to."""
    person = None if practitioner is None else registry.find_practitioner(practitioner)
    name = policy.without_badge.tier if person is None else person.tier
    found = set()
    while name is not None:
        found.add(str(name))
        tier = policy.find_tier(name)
        name = None if tier is None else tier.fallback
    return found


def _concerns(policy: Policy, tier: str) -> Callable[[Staged], bool]:
    def concerns(staged: Staged) -> bool:
        practitioner = staged.live[staged.last_session]["practitioner"]
        return tier in of_tier(staged.registry, practitioner, policy)

    return concerns


def _credential(staged: Staged) -> str | None:
    practitioner = staged.live[staged.last_session]["practitioner"]
    person = None if practitioner is None else staged.registry.find_practitioner(practitioner)
    return None if person is None else person.credential


# ---- tiers ----


def _of_tier(policy: Policy, tier: TierRule, credentials: list[str]) -> Iterator[Bound]:
    concerns = _concerns(policy, tier.name)

    def bound(name: str, before: Policy = policy, by_tier: bool = False, **changes: Any) -> Bound:
        def make() -> Policy:
            return with_tier(before, tier.model_copy(update=changes))

        return Bound(policy.name, f"tier {tier.name}, {name}", before, make, concerns, by_tier)

    for name, mm, inclusive in _limits(tier.max_mm, tier.inclusive):
        yield bound(name, max_mm=mm, inclusive=inclusive)
    for credential in credentials:
        yield from _of_who(policy, tier, credential)
    yield from _of_place(bound, tier)
    yield from _of_device(bound, tier)
    rule = tier.cartridge or CartridgeRule(citation=CITED)
    for key in ASKED:
        if key == "needle_limits_depth" and not tier.band.max_um:
            continue  # no needles are shorter than that
        turned = rule.model_copy(update={key: not getattr(rule, key)})
        yield bound(f"cartridge: {key}", _silenced(policy, tier, key), cartridge=turned)
    is_asked = tier.screening is not None and tier.screening.needed
    yield bound("screening", screening=ScreeningRule(needed=not is_asked, citation=CITED))
    if tier.fallback is not None:
        yield bound("fallback", fallback=None)
    if tier.course is not None:
        yield from _of_course(bound, tier.course)
    for rule in tier.duration:
        for name, shortest_ms, longest_ms in _durations(rule):
            moved = DurationRule(
                area=rule.area,
                least_minutes=shortest_ms / 60_000,
                most_minutes=longest_ms / 60_000,
                citation=CITED,
            )
            others = [moved if one is rule else one for one in tier.duration]
            yield bound(f"duration of {rule.area} {name}", duration=others)


def _below(policy: Policy, tier: TierRule) -> list[TierRule]:
    found = []
    below = None if tier.fallback is None else policy.find_tier(tier.fallback)
    while below is not None:
        found.append(below)
        below = None if below.fallback is None else policy.find_tier(below.fallback)
    return found


def _silenced(policy: Policy, tier: TierRule, key: str) -> Policy:
    """The pack in which no tier below asks this of a cartridge."""
    for below in _below(policy, tier):
        rule = (below.cartridge or CartridgeRule(citation=CITED)).model_copy(update={key: False})
        policy = with_tier(policy, below.model_copy(update={"cartridge": rule}))
    return policy


def _limits(mm: float, inclusive: bool) -> Iterator[tuple[str, float, bool]]:
    limit_um = um(mm)
    if limit_um:
        yield "depth a step shallower", (limit_um - STEP_UM) / 1000, inclusive
    yield "depth a step deeper", (limit_um + STEP_UM) / 1000, inclusive
    yield "depth, inclusive or not", mm, not inclusive


def _of_who(policy: Policy, tier: TierRule, credential: str) -> Iterator[Bound]:
    who = tier.rule_for(credential)
    others = [one for one in tier.who if one.credential != credential]
    concerns = _concerns(policy, tier.name)

    def bound(name: str, new: Who | None) -> Bound:
        def make() -> Policy:
            named = others if new is None else [*others, new]
            return with_tier(policy, tier.model_copy(update={"who": named}))

        def may_show(staged: Staged) -> bool:
            return _credential(staged) == credential and concerns(staged)

        return Bound(policy.name, f"tier {tier.name}, {credential}, {name}", policy, make, may_show)

    if who is None:
        yield bound("may not", Who(credential=credential, supervision="none", citation=CITED))
        return
    yield bound("may", None)
    ranks = list(SUPERVISION_RANK)
    rank = SUPERVISION_RANK[who.supervision]
    if rank:
        yield bound("less supervision", who.model_copy(update={"supervision": ranks[rank - 1]}))
    if rank < len(ranks) - 1:
        yield bound("more supervision", who.model_copy(update={"supervision": ranks[rank + 1]}))
    if who.max_mm is not None:
        for name, mm, inclusive in _limits(who.max_mm, who.inclusive):
            yield bound(name, who.model_copy(update={"max_mm": mm, "inclusive": inclusive}))


def _of_place(bound: Callable[..., Bound], tier: TierRule) -> Iterator[Bound]:
    allowed = set(PLACES) if tier.place is None else set(tier.place.where)
    if "clinic" in allowed:
        allowed.add("clinic_with_director")
    for place in PLACES:
        turned = allowed ^ {place}
        if place == "clinic_with_director" and "clinic" in turned:
            continue  # whoever may work in any clinic may work in one with a director
        if "clinic" in turned:
            turned.add("clinic_with_director")
        yield bound(
            f"place {place}", place=PlaceRule.model_construct(where=sorted(turned), citation=CITED)
        )


def _of_device(bound: Callable[..., Bound], tier: TierRule) -> Iterator[Bound]:
    rule = tier.device or DeviceRule(kinds=list(KINDS), citation=CITED)
    for kind in KINDS:
        turned = sorted({*rule.kinds} ^ {kind})
        yield bound(
            f"device {kind}",
            by_tier=True,
            device=DeviceRule.model_construct(
                kinds=turned, cleared_class_ii=rule.cleared_class_ii, citation=CITED
            ),
        )
    cleared = rule.model_copy(update={"cleared_class_ii": not rule.cleared_class_ii})
    yield bound("device cleared", device=cleared)


def _of_course(bound: Callable[..., Bound], rule: CourseRule) -> Iterator[Bound]:
    days, most = rule.interval_least_days, rule.treatments_most
    if days is not None:
        for name, moved in (("a day shorter", days - 1), ("a day longer", days + 1)):
            yield bound(
                f"interval {name}", course=rule.model_copy(update={"interval_least_days": moved})
            )
    if most is not None:
        for name, moved in (("one fewer", most - 1), ("one more", most + 1)):
            yield bound(f"course {name}", course=rule.model_copy(update={"treatments_most": moved}))


def _durations(rule: DurationRule) -> Iterator[tuple[str, int, int]]:
    shortest_ms, longest_ms = rule.plausible_ms
    yield "at least a second less", shortest_ms - STEP_MS, longest_ms
    yield "at least a second more", shortest_ms + STEP_MS, longest_ms
    yield "at most a second less", shortest_ms, longest_ms - STEP_MS
    yield "at most a second more", shortest_ms, longest_ms + STEP_MS


# ---- refusals, findings, settings ----


def _of_refusals(policy: Policy) -> Iterator[Bound]:
    for refusal in policy.refusal:
        for tier in policy.tier:
            lower = {one.name for one in _below(policy, tier)}
            own = [name for name in refusal.tiers if name not in lower]
            alone = refusal.model_copy(update={"tiers": own})
            turned = [name for name in own if name != tier.name]
            if tier.name not in own:
                turned = [*own, tier.name]
            moved = refusal.model_copy(update={"tiers": turned})
            yield _refusal(policy, tier.name, alone, moved, f"in tier {tier.name}")
            if tier.name in own:
                action = "refuse" if refusal.action == "prevent" else "prevent"
                other = alone.model_copy(update={"action": action})
                # What it is in one tier it is in all; a case in each must notice.
                yield _refusal(policy, tier.name, alone, other, f"in tier {tier.name}, what it asks")


def uncovered(found: Iterable[Bound], cases: Sequence[Staged], first: dict[str, Staged]) -> list[str]:
    """The bounds that no case shows. first: the case to try first, by a bound's name; it is filled."""
    missing = []
    for bound in found:
        known = [first[bound.name]] if bound.name in first else []
        shown = next((one for one in (*known, *cases) if bound.is_shown_by(one)), None)
        if shown is None:
            missing.append(f"{bound.pack}: {bound.name}")
        else:
            first[bound.name] = shown
    return missing


def _with_refusal(policy: Policy, refusal: Refusal) -> Policy:
    others = [refusal if one.condition == refusal.condition else one for one in policy.refusal]
    return changed(policy, refusal=others)


def _refusal(policy: Policy, tier: str, alone: Refusal, moved: Refusal, name: str) -> Bound:
    concerns = _concerns(policy, tier)

    def may_show(staged: Staged) -> bool:
        person = staged.registry.find_practitioner(
            staged.live[staged.last_session]["practitioner"] or ""
        )
        is_declared = staged.screening.get(moved.condition, False)
        return is_declared and person is not None and person.tier == tier and concerns(staged)

    return Bound(
        policy.name,
        f"refusal {moved.condition}, {name}",
        _with_refusal(policy, alone),
        lambda: _with_refusal(policy, moved),
        may_show,
    )


def _never_found(policy: Policy) -> set[str]:
    """Findings that need a rule which no tier of the pack has."""
    courses = [tier.course for tier in policy.tier if tier.course is not None]
    asked = {
        "SCREENING_MISSING": any(
            tier.screening is not None and tier.screening.needed for tier in policy.tier
        ),
        "INTERVAL_SHORT": any(one.interval_least_days is not None for one in courses),
        "COURSE_EXCEEDED": any(one.treatments_most is not None for one in courses),
        "DURATION_SHORT": any(tier.duration for tier in policy.tier),
        "DURATION_LONG": any(tier.duration for tier in policy.tier),
    }
    return {code for code, is_asked in asked.items() if not is_asked}


def _of_rules(policy: Policy) -> Iterator[Bound]:
    never = _never_found(policy)
    for rule in policy.rule:
        if rule.code in never:
            continue
        yield _rule(policy, policy, rule, None, "is there")
        severity = "hard" if rule.severity == "soft" else "soft"
        yield _rule(
            policy, policy, rule, rule.model_copy(update={"severity": severity}), "hard or soft"
        )
        outcome = "review" if rule.outcome == "violation" else "violation"
        before = policy
        if rule.code in (*BEYOND, *AT_ZERO):
            depth = policy.find_rule("DEPTH_EXCEEDED")
            assert depth is not None
            before = with_rule(policy, None, depth.code)
            for code in (*BEYOND, *AT_ZERO):
                if code != rule.code:
                    before = with_rule(before, None, code)
        yield _rule(policy, before, rule, rule.model_copy(update={"outcome": outcome}), "outcome")


def _rule(policy: Policy, before: Policy, rule: Rule, moved: Rule | None, name: str) -> Bound:
    def may_show(staged: Staged) -> bool:
        return rule.code in staged.live[staged.last_session]["reasons"]

    return Bound(
        policy.name,
        f"finding {rule.code}, {name}",
        before,
        lambda: with_rule(before, moved, rule.code),
        may_show,
    )


def _of_settings(policy: Policy) -> Iterator[Bound]:
    of_badgeless = policy.find_tier(policy.without_badge.tier)
    assert of_badgeless is not None
    for tier in policy.tier:
        if (tier.band.max_um, tier.inclusive) != (of_badgeless.band.max_um, of_badgeless.inclusive):
            without = policy.without_badge.model_copy(update={"tier": tier.name})
            yield _setting(
                policy, f"without a badge: tier {tier.name}", _is_badgeless, without_badge=without
            )
    hours, seconds = policy.grant.life_hours, policy.clock.agrees_within_s
    for name, more in (("less", -1), ("more", 1)):
        grant = policy.grant.model_copy(update={"life_hours": hours + more})
        yield _setting(policy, f"grant, an hour {name}", _is_by_grant, grant=grant)
        clock = policy.clock.model_copy(update={"agrees_within_s": seconds + more})
        yield _setting(policy, f"clock, a second {name}", _is_by_clock, clock=clock)


def _setting(policy: Policy, name: str, may_show: Callable[[Staged], bool], **changes: Any) -> Bound:
    return Bound(policy.name, name, policy, lambda: changed(policy, **changes), may_show)


def _is_badgeless(staged: Staged) -> bool:
    return staged.live[staged.last_session]["practitioner"] is None


def _is_by_grant(staged: Staged) -> bool:
    grant: Mapping[str, Any] = staged.live[staged.last_session]["grant"]
    return grant["issued"] is not None


def _is_by_clock(staged: Staged) -> bool:
    return staged.case.name.startswith("clock-")
