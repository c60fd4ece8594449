"""A policy pack in words: one line a rule, with its citations and its place in the pack.

The same lines are what `needletrail policy show` prints, what a difference is told in, and what an
explanation gives as its reasons. So a rule reads the same wherever a person meets it.

A depth is that of the pen's ring: a setting, not how deep the needles went in.
"""

from dataclasses import dataclass

from needletrail_gateway.core.packs.extend import Address, Path
from needletrail_gateway.core.packs.model import (
    CartridgeRule,
    ClockRule,
    CourseRule,
    DeviceRule,
    DurationRule,
    GrantRule,
    HealingRule,
    PlaceRule,
    Policy,
    Refusal,
    RetentionRule,
    Rule,
    ScreeningRule,
    TierRule,
    Who,
)

DEPTHS_ARE_SETTINGS = "Depths are settings of the pen's ring, not how deep the needles went in."

SUPERVISION = {
    "none": "without supervision",
    "documented": "with documented supervision",
    "on_premises": "with the supervisor on the premises",
}
_PLACES = {
    "home": "at home",
    "clinic": "in a clinic",
    "clinic_with_director": "in a clinic with a medical director",
}
_DEVICES = {"pen": "pen", "radio-frequency": "radio-frequency device", "roller": "roller"}


@dataclass(frozen=True)
class Line:
    """One rule. `address` names it, `path` is its place in the policy, for its origin."""

    address: Address
    words: str
    citations: tuple[str, ...]
    path: Path

    @property
    def subject(self) -> str:
        """What the rule is about, as a person reads it."""
        return " ".join(self.address)


def lines(policy: Policy) -> list[Line]:
    """Everything that a pack says, in its order."""
    found = []
    for index, tier in enumerate(policy.tier):
        found += _tier_lines(tier, ("tier", index))
    for index, refusal in enumerate(policy.refusal):
        address = ("refusal", refusal.condition)
        found.append(_line(address, refusal_words(refusal), refusal.citation, ("refusal", index)))
    for index, rule in enumerate(policy.rule):
        found.append(_line(("finding", rule.code), rule_words(rule), rule.citation, ("rule", index)))
    found += [
        _line(("grant",), grant_words(policy.grant), policy.grant.citation, ("grant",)),
        _line(("clock",), clock_words(policy.clock), policy.clock.citation, ("clock",)),
        _line(
            ("without badge",),
            _badgeless_words(policy),
            policy.without_badge.citation,
            ("without_badge",),
        ),
    ]
    kept = policy.retention
    if kept is not None:
        found.append(_line(("retention",), retention_words(kept), kept.citation, ("retention",)))
    return found


def _line(address: Address, words: str, citation: list[str] | None, path: Path) -> Line:
    return Line(address, words, tuple(citation or ()), path)


def _tier_lines(tier: TierRule, path: Path) -> list[Line]:
    name = tier.name
    found = [
        _line((name, "depth"), depth_words(tier), depth_citations(tier), (*path, "max_mm")),
        _line((name, "interlock"), hard_words(tier.hard), for_key(tier, "hard"), (*path, "hard")),
    ]
    if tier.fallback is not None:
        words = f"tier {tier.fallback} holds where a requirement is not met"
        found.append(_line((name, "fallback"), words, for_key(tier, "fallback"), (*path, "fallback")))
    for index, who in enumerate(tier.who):
        found.append(
            _line((name, "who", who.credential), who_words(who), who.citation, (*path, "who", index))
        )
    if not tier.who:
        found.append(_line((name, "who"), "nobody", [], path))
    if tier.place is not None:
        found.append(
            _line((name, "where"), place_words(tier.place), tier.place.citation, (*path, "place"))
        )
    if tier.device is not None:
        words = device_words(tier.device)
        found.append(_line((name, "device"), words, tier.device.citation, (*path, "device")))
    if tier.cartridge is not None:
        words = cartridge_words(tier.cartridge)
        found.append(_line((name, "cartridge"), words, tier.cartridge.citation, (*path, "cartridge")))
    if tier.screening is not None:
        words = screening_words(tier.screening)
        found.append(_line((name, "screening"), words, tier.screening.citation, (*path, "screening")))
    if tier.course is not None:
        words = course_words(tier.course)
        found.append(_line((name, "course"), words, tier.course.citation, (*path, "course")))
    for index, one in enumerate(tier.duration):
        address = (name, "duration", one.area)
        found.append(_line(address, duration_words(one), one.citation, (*path, "duration", index)))
    if tier.healing is not None:
        words = healing_words(tier.healing)
        found.append(_line((name, "healing"), words, tier.healing.citation, (*path, "healing")))
    return found


# ---- a rule's words ----


def mm(depth_mm: float) -> str:
    """A depth with its unit, as short as it is exact."""
    return f"{depth_mm:g} mm"


def limit_words(max_mm: float, inclusive: bool) -> str:
    """How deep is allowed."""
    if max_mm == 0:
        return "0 mm: the skin is not broken" if inclusive else "nothing"
    return f"up to and including {mm(max_mm)}" if inclusive else f"below {mm(max_mm)}"


def depth_words(tier: TierRule) -> str:
    """A tier's band."""
    words = limit_words(tier.max_mm, tier.inclusive)
    if tier.min_mm == 0 or tier.max_mm == 0:
        return words
    return f"{'from' if tier.min_inclusive else 'above'} {mm(tier.min_mm)}, {words}"


def for_key(tier: TierRule, key: str) -> list[str]:
    """A tier's citations for one of its keys."""
    return [one for one in tier.citation if f"for `{key}`: " in one]


def depth_citations(tier: TierRule) -> list[str]:
    """A tier's citations for its depth."""
    return [one for one in tier.citation if "for `" not in one]


def hard_words(hard: bool) -> str:
    """What a pen does beyond the limit."""
    return "a pen with a motor interlock stops" if hard else "the pen warns"


def who_words(who: Who) -> str:
    """What a credential may do in a tier."""
    words = SUPERVISION[who.supervision]
    if who.max_mm is not None:
        words += f", {limit_words(who.max_mm, who.inclusive)}"
    return words


def place_words(rule: PlaceRule) -> str:
    """Where."""
    return " or ".join(_PLACES[one] for one in rule.where)


def device_words(rule: DeviceRule) -> str:
    """With what."""
    words = " or ".join(_DEVICES[one] for one in rule.kinds)
    return words + (", cleared as class II" if rule.cleared_class_ii else "")


def cartridge_words(rule: CartridgeRule) -> str:
    """What a cartridge must be."""
    asked = {
        "used once": rule.single_use,
        "sterile": rule.sterile,
        "not past its last day": rule.unexpired,
        "not recalled": rule.not_recalled,
    }
    words = ", ".join(name for name, is_asked in asked.items() if is_asked) or "nothing is asked of it"
    return words + ("; its needles' length is a limit" if rule.needle_limits_depth else "")


def screening_words(rule: ScreeningRule) -> str:
    """Whether the client is asked."""
    return "a questionnaire for each treatment" if rule.needed else "no questionnaire is needed"


def course_words(rule: CourseRule) -> str:
    """How often."""
    words = []
    least, most = rule.treatments_least, rule.treatments_most
    if least is not None and most is not None:
        words.append(f"{least} to {most} treatments")
    elif least is not None:
        words.append(f"{least} or more treatments")
    elif most is not None:
        words.append(f"at most {most} treatments")
    if rule.interval_least_days is not None:
        words.append(f"at least {rule.interval_least_days} days apart")
    return ", ".join(words)


def duration_words(rule: DurationRule) -> str:
    """How long."""
    words = f"{rule.least_minutes:g} minutes"
    if rule.most_minutes != rule.least_minutes:
        words = f"{rule.least_minutes:g} to {rule.most_minutes:g} minutes"
    if rule.tolerance_percent:
        words += f"; {rule.tolerance_percent:g} % less or more is plausible"
    return words


def healing_words(rule: HealingRule) -> str:
    """What the client is told."""
    hours = f"{rule.least_hours:g} to {rule.most_hours:g} hours"
    if rule.least_hours == rule.most_hours:
        hours = f"{rule.least_hours:g} hours"
    return f"{hours}. Tell the client: {rule.tell}"


def refusal_words(refusal: Refusal) -> str:
    """Whom not to treat."""
    tiers = ", ".join(refusal.tiers)
    what = "no treatment" if refusal.action == "refuse" else "preventive treatment first"
    return f"{what} ({tiers}): {refusal.text}"


def rule_words(rule: Rule) -> str:
    """What follows from a finding."""
    return f"{rule.outcome}, {rule.severity}: {rule.text}"


def _badgeless_words(policy: Policy) -> str:
    tier = policy.find_tier(policy.without_badge.tier)
    limit = "" if tier is None else f": {limit_words(tier.max_mm, tier.inclusive)}"
    return f"the limit of tier {policy.without_badge.tier} holds{limit}"


def grant_words(rule: GrantRule) -> str:
    """What a pen does without a good grant."""
    return (
        f"good for {rule.life_hours} hours; expired: {rule.when_expired}; "
        f"unknown badge: {rule.unknown_badge}; before the first one: {rule.without_grant}"
    )


def clock_words(rule: ClockRule) -> str:
    """Whose clock counts."""
    return f"the pen's counts while it is within {rule.agrees_within_s} s of the gateway's"


def retention_words(rule: RetentionRule) -> str:
    """How long readings are kept."""
    years = rule.samples_kept_years
    return f"readings are kept for {years} year{'s' if years > 1 else ''} or more"
