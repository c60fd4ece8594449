"""Policy packs: the limits and rules as data, each with its citation.

A pack is a TOML file in `gateway/packs/`. It says for each tier how deep, who, under what
supervision, and where; and for each reason code whether it makes a verdict a violation or a review,
in which words, and on whose authority. The judge enforces what the pack names and nothing else.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from needletrail_gateway.core.registry import (
    DepthMm,
    Identifier,
    Supervision,
    Text,
    Tier,
    check_distinct,
    misplaced,
)

Outcome = Literal["compliant", "review", "violation"]

Code = Literal[
    "DEPTH_EXCEEDED",
    "LICENSE_EXPIRED",
    "PRACTITIONER_UNKNOWN",
    "SUPERVISION_MISSING",
    "CARTRIDGE_REUSED",
    "CARTRIDGE_EXPIRED",
    "CARTRIDGE_RECALLED",
    "DIRECTOR_MISSING",
    "DEVICE_NOT_CLEARED",
    "TIER_NOT_PERMITTED",
    "RECORD_TAMPERED",
    "DEPTH_AT_LIMIT",
    "CARTRIDGE_MISSING",
    "CARTRIDGE_UNKNOWN",
    "PRACTITIONER_MISSING",
    "RECORD_GAP",
    "GRANT_STALE",
    "CLOCK_UNCERTAIN",
    "SENSOR_FAULT",
]

Citations = Annotated[list[Annotated[str, Field(min_length=8)]], Field(min_length=1)]

# With the pack's name it must fit the 64 bytes that a grant has for it.
Version = Annotated[str, Field(pattern=r"^[!-~]{1,31}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Who(_Entry):
    """One credential that may work in a tier, and what it needs for that."""

    credential: Text
    supervision: Supervision
    max_mm: DepthMm | None = None
    inclusive: bool = True
    citation: Citations


class TierRule(_Entry):
    """One depth band. `fallback` is the tier that still holds when a requirement is not met.

    hard: beyond its limit a pen that can stop its motor does so; else it warns.
    """

    name: Tier
    max_mm: DepthMm
    inclusive: bool
    hard: bool = False
    requires_medical_director: bool = False
    requires_cleared_device: bool = False
    fallback: Tier | None = None
    citation: Citations
    who: list[Who]

    def rule_for(self, credential: str) -> Who | None:
        """What the tier says of a credential, or None if that credential may not work in it."""
        return next((who for who in self.who if who.credential == credential), None)


class Rule(_Entry):
    """What follows from one finding."""

    code: Code
    outcome: Literal["review", "violation"]
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

    life_hours: Annotated[int, Field(ge=1, le=24 * 366)] = 24
    when_expired: Answer = "warn"
    unknown_badge: Answer = "warn"
    without_grant: Answer = "warn"
    citation: Citations | None = None

    @property
    def life_ms(self) -> int:
        """How long a grant is good, in milliseconds."""
        return self.life_hours * 3_600_000


class ClockRule(_Entry):
    """How far a pen's clock may be from the gateway's and still be the one that counts."""

    agrees_within_s: Annotated[int, Field(ge=1, le=3600)] = 10
    citation: Citations | None = None

    @property
    def agrees_within_ms(self) -> int:
        """The same in milliseconds."""
        return self.agrees_within_s * 1000


class Policy(_Entry):
    """A whole pack. `version` and `effective` name it in every verdict."""

    name: Identifier
    version: Version
    effective: date
    describes: Text
    without_badge: WithoutBadge
    grant: GrantRule = GrantRule()
    clock: ClockRule = ClockRule()
    tier: list[TierRule]
    rule: list[Rule]

    _tiers: dict[str, TierRule] = PrivateAttr(default_factory=dict)
    _rules: dict[str, Rule] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._tiers.update((tier.name, tier) for tier in self.tier)
        self._rules.update((rule.code, rule) for rule in self.rule)
        check_distinct("tier", "name", [tier.name for tier in self.tier])
        check_distinct("rule", "code", [rule.code for rule in self.rule])
        if self.without_badge.tier not in self._tiers:
            raise misplaced(
                ("without_badge", "tier"), f"the pack has no tier {self.without_badge.tier}"
            )
        for index, tier in enumerate(self.tier):
            seen = [tier.name]
            following = tier.fallback
            while following is not None:
                if following not in self._tiers or following in seen:
                    raise misplaced(
                        ("tier", index, "fallback"), f"the fallback to {following} leads nowhere"
                    )
                seen.append(following)
                following = self._tiers[following].fallback
        return self

    def find_tier(self, name: str) -> TierRule | None:
        """The tier of that name, if the pack has it."""
        return self._tiers.get(name)

    def find_rule(self, code: str) -> Rule | None:
        """The rule for that finding, if the pack has one."""
        return self._rules.get(code)
