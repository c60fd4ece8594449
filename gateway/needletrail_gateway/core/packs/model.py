"""Policy packs: the limits and rules as data, each with its citation.

A pack is a TOML file in `gateway/packs/`. It says for each tier how deep, who, where, under what
supervision, with which device and cartridge; whom to refuse, how often, and what to tell the client;
and for each reason code whether it makes a verdict a violation or a review, in which words, and on
whose authority. The judge enforces what the pack names and nothing else.

A `Policy` is a pack made whole: what it takes from the pack that it extends is in it (extend.py).
"""

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from needletrail_gateway.core.registry.model import (
    DepthMm,
    DeviceKind,
    Identifier,
    Supervision,
    Text,
    Tier,
    misplaced,
    um,
)

Outcome = Literal["compliant", "review", "violation"]
Severity = Literal["hard", "soft"]

Code = Literal[
    "DEPTH_EXCEEDED",
    "LICENSE_EXPIRED",
    "LICENSE_NOT_VALID",
    "PRACTITIONER_UNKNOWN",
    "SUPERVISION_MISSING",
    "CARTRIDGE_REUSED",
    "CARTRIDGE_EXPIRED",
    "CARTRIDGE_RECALLED",
    "CARTRIDGE_NOT_STERILE",
    "DIRECTOR_MISSING",
    "DEVICE_NOT_CLEARED",
    "DEVICE_NOT_PERMITTED",
    "PLACE_NOT_PERMITTED",
    "TIER_NOT_PERMITTED",
    "CONTRAINDICATION",
    "PREVENTION_MISSING",
    "RECORD_TAMPERED",
    "DEPTH_AT_LIMIT",
    "CARTRIDGE_MISSING",
    "CARTRIDGE_UNKNOWN",
    "PRACTITIONER_MISSING",
    "SCREENING_MISSING",
    "INTERVAL_SHORT",
    "COURSE_EXCEEDED",
    "DURATION_SHORT",
    "DURATION_LONG",
    "RECORD_GAP",
    "GRANT_STALE",
    "CLOCK_UNCERTAIN",
    "SENSOR_FAULT",
]

Place = Literal["home", "clinic", "clinic_with_director"]
SUPERVISION_RANK: dict[Supervision, int] = {"none": 0, "documented": 1, "on_premises": 2}

_LABEL = r"^[^:“]{2,80}: \S"
_OF_DOCUMENT = re.compile(r"\d{3}\b")


def _cited(text: str) -> str:
    if not re.match(_LABEL, text):
        raise ValueError(
            "must begin with where it is from and a colon, such as '000: “…”' or '21 CFR 11.10(e): …'"
        )
    if _OF_DOCUMENT.match(text) and not re.search("“[^“”]+”", text):
        raise ValueError("must quote the document, between “ and ”")
    return text


Citation = Annotated[
    str, Field(min_length=8, json_schema_extra={"pattern": _LABEL}), AfterValidator(_cited)
]
Citations = Annotated[list[Citation], Field(min_length=1)]

# With the pack's name it must fit the 64 bytes that a grant has for it.
Version = Annotated[str, Field(pattern=r"^[!-~]{1,31}$")]


# Where it shows, the likeliest place first, and what is wrong.
_Mistake = tuple[list[tuple[str | int, ...]], str]


def _twice(section: str, key: str, values: list[str]) -> list[_Mistake]:
    """Entries of a section that have a name which an earlier one has."""
    first = {one: index for index, one in reversed(list(enumerate(values)))}
    return [
        ([(section, index, key)], f"entry {first[one] + 1} has the same {key}")
        for index, one in enumerate(values)
        if first[one] != index
    ]


def _refuse(mistakes: list[_Mistake]) -> None:
    """An error that holds all of them, if there are any."""
    if mistakes:
        context = {"message": "; ".join(message for _, message in mistakes), "mistakes": mistakes}
        raise PydanticCustomError("misplaced", "{message}", context)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Band:
    """A tier's depths in micrometres. Shallower work is not forbidden, deeper work is."""

    min_um: int
    min_inclusive: bool
    max_um: int
    max_inclusive: bool

    def contains(self, depth_um: int) -> bool:
        """Whether that depth lies between both ends."""
        above = depth_um > self.min_um or (self.min_inclusive and depth_um == self.min_um)
        return above and self.allows(depth_um)

    def allows(self, depth_um: int) -> bool:
        """Whether that depth is not beyond the deeper end."""
        return depth_um < self.max_um or (self.max_inclusive and depth_um == self.max_um)


class Who(_Entry):
    """One credential that may work in a tier, and what it needs for that."""

    credential: Text
    """As the registry's practitioners have it."""
    supervision: Supervision
    """What it needs: none, documented, or on_premises (the supervisor is in the house)."""
    max_mm: DepthMm | None = None
    """A limit of this credential's own, lower than the tier's. 0: it may not break the skin."""
    inclusive: bool = True
    """Whether exactly max_mm is still allowed."""
    citation: Citations


class PlaceRule(_Entry):
    """Where a tier's treatments may happen."""

    where: Annotated[list[Place], Field(min_length=1)]
    """home, clinic, clinic_with_director (a clinic that has a medical director)."""
    citation: Citations

    def permits(self, place: Literal["home", "clinic"], has_director: bool) -> bool:
        """Whether a treatment may happen there."""
        return place in self.where or (
            place == "clinic" and has_director and "clinic_with_director" in self.where
        )


class DeviceRule(_Entry):
    """What a tier may be done with."""

    kinds: Annotated[list[DeviceKind], Field(min_length=1)]
    """pen, radio-frequency, roller (its treatments are entered by hand and attested)."""
    cleared_class_ii: bool = False
    """Whether it must be cleared as a class II device."""
    citation: Citations


class CartridgeRule(_Entry):
    """What a tier asks of the cartridge. What is left out is asked."""

    single_use: bool = True
    """It works in one session only."""
    sterile: bool = True
    """Its product is sterile and for single use."""
    unexpired: bool = True
    """It is used by its last day of use."""
    not_recalled: bool = True
    """Its lot is not recalled."""
    needle_limits_depth: bool = True
    """Its longest needle is a limit, beside tier, permit and label."""
    citation: Citations


class ScreeningRule(_Entry):
    """Whether a questionnaire must be answered for the treatment."""

    needed: bool
    citation: Citations


class CourseRule(_Entry):
    """How often one client is treated in a tier."""

    interval_least_days: Annotated[int, Field(ge=0, le=3660)] | None = None
    """Days from one treatment to the next, at least."""
    treatments_least: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many a course takes; told to the client, fewer are no finding."""
    treatments_most: Annotated[int, Field(ge=0, le=1000)] | None = None
    """How many a course has at most."""
    citation: Citations

    @model_validator(mode="after")
    def _check(self) -> Self:
        least, most = self.treatments_least, self.treatments_most
        if least is not None and most is not None and least > most:
            raise misplaced(("treatments_least",), f"must not be more than treatments_most, {most}")
        if (self.interval_least_days, least, most) == (None, None, None):
            raise misplaced(
                (), "expected at least one of interval_least_days, treatments_least, treatments_most"
            )
        return self


class DurationRule(_Entry):
    """How long a treatment of an area takes."""

    area: Identifier
    """What was treated, such as full-face or single-scar."""
    least_minutes: Annotated[float, Field(ge=0, le=1440)]
    """The shortest time that the source gives."""
    most_minutes: Annotated[float, Field(ge=0, le=1440)]
    """The longest time that the source gives."""
    tolerance_percent: Annotated[float, Field(ge=0, le=100)] = 0
    """So much less, and so much more, is still plausible."""
    citation: Citations

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least_minutes > self.most_minutes:
            raise misplaced(
                ("least_minutes",), f"must not be more than most_minutes, {self.most_minutes:g}"
            )
        return self

    @property
    def plausible_ms(self) -> tuple[int, int]:
        """The shortest and the longest plausible time, tolerance included, in milliseconds."""
        share = self.tolerance_percent / 100
        shortest, longest = self.least_minutes * (1 - share), self.most_minutes * (1 + share)
        return round(shortest * 60_000), round(longest * 60_000)


class HealingRule(_Entry):
    """What to tell the client of the time after the treatment."""

    least_hours: Annotated[float, Field(ge=0, le=8784)]
    most_hours: Annotated[float, Field(ge=0, le=8784)]
    tell: Text
    """The words for the client."""
    citation: Citations

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least_hours > self.most_hours:
            raise misplaced(("least_hours",), f"must not be more than most_hours, {self.most_hours:g}")
        return self


class TierRule(_Entry):
    """One tier. `fallback` is the tier that still holds when a requirement is not met.

    hard: beyond its limit a pen that can stop its motor does so; else it warns.
    """

    name: Tier
    min_mm: DepthMm = 0.0
    """Where the tier begins. Shallower work is not forbidden; it is work of another tier."""
    min_inclusive: bool = True
    """Whether exactly min_mm belongs to the tier."""
    max_mm: DepthMm
    """Deeper is not allowed. 0: the skin must not be broken."""
    inclusive: bool
    """Whether exactly max_mm is still allowed."""
    hard: bool = False
    """true: a pen with a motor interlock stops beyond the limit; false: it warns."""
    fallback: Tier | None = None
    """The tier that a permit falls back to where something that this tier asks for is missing."""
    citation: Citations
    """For the depth; one for another key says so: 'House rule for `hard`: …'."""
    who: list[Who] = []
    place: PlaceRule | None = None
    device: DeviceRule | None = None
    cartridge: CartridgeRule | None = None
    screening: ScreeningRule | None = None
    course: CourseRule | None = None
    duration: list[DurationRule] = []
    healing: HealingRule | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        found: list[_Mistake] = []
        band = self.band
        is_empty = band.min_um > band.max_um or (
            band.min_um == band.max_um and not (band.min_inclusive and band.max_inclusive)
        )
        if is_empty and band.max_um > 0:
            message = f"no depth lies between min_mm = {self.min_mm:g} and max_mm = {self.max_mm:g}"
            found.append(([("max_mm",), ("min_mm",)], message))
        found += _twice("who", "credential", [who.credential for who in self.who])
        found += _twice("duration", "area", [one.area for one in self.duration])
        _refuse(found)
        return self

    @property
    def band(self) -> Band:
        """The tier's depths, in micrometres."""
        return Band(um(self.min_mm), self.min_inclusive, um(self.max_mm), self.inclusive)

    @property
    def requires_medical_director(self) -> bool:
        """Whether a clinic must have a medical director for it."""
        where = self.place.where if self.place is not None else []
        return "clinic_with_director" in where and "clinic" not in where

    @property
    def requires_cleared_device(self) -> bool:
        """Whether the device must be cleared as class II."""
        return self.device is not None and self.device.cleared_class_ii

    def rule_for(self, credential: str) -> Who | None:
        """What the tier says of a credential, or None if that credential may not work in it."""
        return next((who for who in self.who if who.credential == credential), None)


class Refusal(_Entry):
    """A client's condition, or a circumstance, that stands in the way of a treatment."""

    condition: Identifier
    """Its name in a questionnaire's answers."""
    action: Literal["refuse", "prevent"] = "refuse"
    """refuse: no treatment; prevent: only after preventive treatment."""
    tiers: Annotated[list[Tier], Field(min_length=1)]
    """The tiers that it stands in the way of."""
    text: Text
    """The condition in words."""
    citation: Citations


class Rule(_Entry):
    """What follows from one finding."""

    code: Code
    outcome: Literal["review", "violation"]
    severity: Severity = "hard"
    """soft: a person may override it with a written reason; hard: nobody may."""
    text: Text
    citation: Citations


class WithoutBadge(_Entry):
    """The tier whose limit holds while nobody has badged in."""

    tier: Tier
    citation: Citations


Answer = Literal["warn", "refuse"]


class GrantRule(_Entry):
    """How long a grant is good, and what a pen does without a good one.

    Of a badge that is not listed the limit is 0 in any case; `unknown_badge` says whether the pen
    starts at all. `without_grant` reaches the pen with its enrolment, the others with each grant.
    """

    life_hours: Annotated[int, Field(ge=1, le=24)] = 24
    """How long a grant is good."""
    when_expired: Answer = "warn"
    """What a pen does under an expired grant."""
    unknown_badge: Answer = "warn"
    """What it does for a badge that the grant does not list."""
    without_grant: Answer = "warn"
    """What it does before it has any grant."""
    citation: Citations | None = None

    @property
    def life_ms(self) -> int:
        """How long a grant is good, in milliseconds."""
        return self.life_hours * 3_600_000


class ClockRule(_Entry):
    """How far a pen's clock may be from the gateway's and still be the one that counts."""

    agrees_within_s: Annotated[int, Field(ge=1, le=3600)] = 10
    """In seconds."""
    citation: Citations | None = None

    @property
    def agrees_within_ms(self) -> int:
        """The same in milliseconds."""
        return self.agrees_within_s * 1000


class RetentionRule(_Entry):
    """How long a clinic keeps what pens recorded. Verdicts, alerts and notes stay in any case."""

    samples_kept_years: Annotated[int, Field(ge=1, le=100)]
    """Readings are kept for at least so many years after their session was judged."""
    citation: Citations

    def kept_from(self, today: date) -> date:
        """The first day that must be kept."""
        year = today.year - self.samples_kept_years
        try:
            return today.replace(year=year)
        except ValueError:  # 29 February of a year that has none
            return date(year, 2, 28)


class Policy(_Entry):
    """A whole pack. `version` and `effective` name it in every verdict."""

    name: Identifier
    """The file's name without .toml."""
    version: Version
    """With the name it is in every verdict: another content, another version."""
    effective: date
    """The day from which it is meant."""
    describes: Text
    """One sentence for whoever must choose a pack."""
    extends: Identifier | None = None
    """The pack that this one is laid over."""
    extends_version: Version | None = None
    """If given, another version of that pack is refused."""
    remove: list[Text] = []
    """What is taken away from that pack, such as tier.home or tier.medical.who.nurse."""
    lineage: SkipJsonSchema[list[str]] = []  # "NAME VERSION" of the packs below, the nearest first
    without_badge: WithoutBadge
    grant: GrantRule = GrantRule()
    clock: ClockRule = ClockRule()
    retention: RetentionRule | None = None
    tier: list[TierRule]
    refusal: list[Refusal] = []
    rule: list[Rule]

    # The judge asks these some hundred times a session. Private attributes of the model they are not:
    # pydantic looks for those in a slow way.
    @cached_property
    def _tiers(self) -> dict[str, TierRule]:
        return {tier.name: tier for tier in self.tier}

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        return {rule.code: rule for rule in self.rule}

    @cached_property
    def _refusals(self) -> dict[str, Refusal]:
        return {one.condition: one for one in self.refusal}

    @cached_property
    def _chains(self) -> dict[str, tuple[tuple[TierRule, Band], ...]]:
        found: dict[str, tuple[tuple[TierRule, Band], ...]] = {}
        for tier in self.tier:
            chain = []
            name: str | None = tier.name
            while name is not None:
                link = self._tiers[name]
                chain.append((link, link.band))
                name = link.fallback
            found[tier.name] = tuple(reversed(chain))
        return found

    @model_validator(mode="after")
    def _check(self) -> Self:
        mistakes = _twice("tier", "name", [tier.name for tier in self.tier])
        mistakes += _twice("rule", "code", [rule.code for rule in self.rule])
        mistakes += _twice("refusal", "condition", [one.condition for one in self.refusal])
        if self.without_badge.tier not in self._tiers:
            message = f"the pack has no tier {self.without_badge.tier}"
            mistakes.append(([("without_badge", "tier")], message))
        for index, tier in enumerate(self.tier):
            seen = [tier.name]
            following = tier.fallback
            while following is not None:
                if following not in self._tiers or following in seen:
                    message = f"the fallback to {following} leads nowhere"
                    mistakes.append(([("tier", index, "fallback")], message))
                    break
                seen.append(following)
                following = self._tiers[following].fallback
        for index, one in enumerate(self.refusal):
            for number, name in enumerate(one.tiers):
                if name not in self._tiers:
                    message = f"the pack has no tier {name}"
                    mistakes.append(([("refusal", index, "tiers", number)], message))
        _refuse(mistakes)
        return self

    # ---- tiers ----

    def find_tier(self, name: str) -> TierRule | None:
        """The tier of that name, if the pack has it."""
        return self._tiers.get(name)

    def chain_of(self, name: str) -> tuple[tuple[TierRule, Band], ...]:
        """A tier, its fallback, that one's fallback and so on, with their bands; the last one first."""
        return self._chains.get(name, ())

    def tiers_at(self, depth_um: int) -> list[TierRule]:
        """The tiers in whose band a depth lies, in the pack's order."""
        return [tier for tier in self.tier if tier.band.contains(depth_um)]

    def place_for(self, tier: str) -> PlaceRule | None:
        """Where that tier's treatments may happen; None if the pack does not say."""
        found = self.find_tier(tier)
        return None if found is None else found.place

    def device_for(self, tier: str) -> DeviceRule | None:
        """What that tier may be done with; None if the pack does not say."""
        found = self.find_tier(tier)
        return None if found is None else found.device

    def cartridge_for(self, tier: str) -> CartridgeRule | None:
        """What that tier asks of the cartridge; None if the pack does not say, then all is asked."""
        found = self.find_tier(tier)
        return None if found is None else found.cartridge

    def course_for(self, tier: str) -> CourseRule | None:
        """How often a client is treated in that tier; None if the pack does not say."""
        found = self.find_tier(tier)
        return None if found is None else found.course

    def healing_for(self, tier: str) -> HealingRule | None:
        """What to tell the client after that tier's treatment; None if the pack does not say."""
        found = self.find_tier(tier)
        return None if found is None else found.healing

    def screening_for(self, tier: str) -> ScreeningRule | None:
        """The rule if that tier needs a questionnaire for each treatment; else None."""
        found = self.find_tier(tier)
        rule = None if found is None else found.screening
        return rule if rule is not None and rule.needed else None

    def duration_for(self, tier: str, area: str) -> DurationRule | None:
        """How long that tier's treatment of an area takes; None if the pack does not say."""
        found = self.find_tier(tier)
        durations = found.duration if found is not None else []
        return next((one for one in durations if one.area == area), None)

    # ---- refusals and findings ----

    def refusals_for(self, tier: str) -> list[Refusal]:
        """The conditions with which nobody is treated in that tier."""
        return [one for one in self.refusal if tier in one.tiers and one.action == "refuse"]

    def preventions_for(self, tier: str) -> list[Refusal]:
        """The conditions that need preventive treatment before that tier's treatment."""
        return [one for one in self.refusal if tier in one.tiers and one.action == "prevent"]

    def find_refusal(self, condition: str) -> Refusal | None:
        """What the pack says of a condition, in whichever tier."""
        return self._refusals.get(condition)

    def find_rule(self, code: str) -> Rule | None:
        """The rule for that finding, if the pack has one."""
        return self._rules.get(code)

    def is_soft(self, code: str) -> bool:
        """Whether a person may override that finding with a written reason."""
        rule = self.find_rule(code)
        return rule is not None and rule.severity == "soft"
