"""Scope: what permit, policy, pen and cartridge allow together. The lowest limit wins and is named.

Every source of a limit is listed, so that a person can see all of them and which one bound. Where a
permit's tier asks for something that is not given (supervision, a director, a cleared pen, another
credential), the tier's fallback holds instead; what was missing becomes a finding only if the session
then went beyond that fallback: cosmetic work by a nurse whom nobody supervises breaks no rule. Where no
fallback is left, any work is beyond.
"""

from dataclasses import dataclass
from datetime import date

from needletrail_gateway.core.judging.cartridge import Cartridge
from needletrail_gateway.core.packs.model import SUPERVISION_RANK, Code, Policy, TierRule, Who
from needletrail_gateway.core.registry.model import DeviceKind, Pen, Practitioner, Registry, um
from needletrail_protocol import ndef


@dataclass(frozen=True)
class Limit:
    """One source's limit. `name` is how it is called in a verdict's `limited_by`."""

    name: str
    um: int
    inclusive: bool


@dataclass(frozen=True)
class Scope:
    """The limits, lowest first; findings that hold at once, and those that hold beyond the scope.

    tier: the one in force, perhaps a fallback. hard: beyond the scope the motor is to stop, where a
    pen can do that. permit: the tier that the permit is for. kind: of the device.
    """

    limits: tuple[Limit, ...]
    practitioner: str | None
    tier: str | None
    findings: tuple[Code, ...]
    findings_beyond: tuple[Code, ...]
    valid_until: date | None = None
    hard: bool = False
    permit: str | None = None
    kind: DeviceKind = "pen"

    @property
    def um(self) -> int:
        """The limit in force, in micrometres."""
        return self.limits[0].um

    @property
    def inclusive(self) -> bool:
        """Whether the limit itself is still allowed."""
        return self.limits[0].inclusive

    @property
    def strictest_exclusive_um(self) -> int | None:
        """The lowest of the limits that must not be reached, in force or not; None: there is none.

        All limits hold together: a lower one that may be reached does not open the one above it.
        """
        return next((limit.um for limit in self.limits if not limit.inclusive), None)

    @property
    def limited_by(self) -> str:
        """The name of the limit in force; all of them, if several are equally low."""
        lowest = self.limits[0]
        return ", ".join(
            limit.name
            for limit in self.limits
            if (limit.um, limit.inclusive) == (lowest.um, lowest.inclusive)
        )


def decide(
    policy: Policy,
    registry: Registry,
    pen: Pen,
    badge: bytes | None,
    cartridge: Cartridge | None,
    on: date,
) -> Scope:
    """The scope of a session on the day `on`; `badge` is the NDEF message that the pen read."""
    if badge is None:
        tier = policy.find_tier(policy.without_badge.tier)
        limits = [] if tier is None else [_tier_limit(tier)]
        return _scope(
            limits,
            pen,
            registry,
            cartridge,
            None,
            tier,
            policy.without_badge.tier,
            needles_limit=_needles_limit(tier),
            findings=("PRACTITIONER_MISSING",),
        )
    badge_id = ndef.badge_id(badge)
    person = registry.find_practitioner(badge_id) if badge_id is not None else None
    if person is None:
        nothing = [Limit("unknown badge", 0, True)]
        return _scope(
            nothing, pen, registry, cartridge, badge_id, None, None, findings=("PRACTITIONER_UNKNOWN",)
        )
    return decide_for(policy, registry, pen, person, cartridge, on)


def decide_for(
    policy: Policy,
    registry: Registry,
    pen: Pen,
    person: Practitioner,
    cartridge: Cartridge | None,
    on: date,
) -> Scope:
    """The scope of a session by a practitioner of the registry."""
    if person.license_expires < on:
        nothing = [Limit("licence expired", 0, True)]
        return _scope(
            nothing,
            pen,
            registry,
            cartridge,
            person.id,
            None,
            person.tier,
            findings=("LICENSE_EXPIRED",),
        )
    if person.is_suspended(on):
        nothing = [Limit("licence not valid", 0, True)]
        return _scope(
            nothing,
            pen,
            registry,
            cartridge,
            person.id,
            None,
            person.tier,
            findings=("LICENSE_NOT_VALID",),
        )
    limits = []
    beyond: list[Code] = []
    until = person.licensed_until(on)
    tier = policy.find_tier(person.tier)
    needles_limit = tier is None
    if tier is None:
        beyond.append("TIER_NOT_PERMITTED")
    while tier is not None:
        needles_limit |= _needles_limit(tier)
        who = tier.rule_for(person.credential)
        missing, supervised_until = _missing(tier, who, registry, pen, person, on)
        if who is not None and not missing:
            limits.append(_tier_limit(tier))
            if who.max_mm is not None:
                limits.append(
                    Limit(f"tier {tier.name} for {who.credential}", um(who.max_mm), who.inclusive)
                )
            until = min(until, supervised_until)
            break
        beyond.extend(code for code in missing if code not in beyond)
        tier = policy.find_tier(tier.fallback) if tier.fallback is not None else None
    findings: tuple[Code, ...] = ()
    if tier is None:
        limits.append(Limit("no tier permitted", 0, True))
        findings = tuple(beyond)  # nothing is left that would be within, however shallow
    if person.max_mm is not None:
        limits.append(Limit("permit", um(person.max_mm), person.max_inclusive))
    return _scope(
        limits,
        pen,
        registry,
        cartridge,
        person.id,
        tier,
        person.tier,
        needles_limit=needles_limit,
        findings=findings,
        beyond=tuple(beyond),
        until=until,
    )


def _missing(
    tier: TierRule,
    who: Who | None,
    registry: Registry,
    pen: Pen,
    person: Practitioner,
    on: date,
) -> tuple[list[Code], date]:
    """What the tier asks for and does not get; and until when its supervision is good."""
    if who is None:
        return ["TIER_NOT_PERMITTED"], date.max
    missing: list[Code] = []
    until = date.max
    if SUPERVISION_RANK[who.supervision] > 0:
        supervisor = (
            registry.find_practitioner(person.supervisor) if person.supervisor is not None else None
        )
        needs_less = SUPERVISION_RANK[person.supervision] < SUPERVISION_RANK[who.supervision]
        if (
            needs_less
            or supervisor is None
            or supervisor.id == person.id
            or supervisor.license_expires < on
            or supervisor.is_suspended(on)
            or not _may_supervise(tier, supervisor)
        ):
            missing.append("SUPERVISION_MISSING")
        else:
            until = supervisor.licensed_until(on)
    clinic = registry.clinic
    if tier.place is not None and not tier.place.permits(
        clinic.place, clinic.medical_director is not None
    ):
        needs_director = clinic.place == "clinic" and "clinic_with_director" in tier.place.where
        missing.append("DIRECTOR_MISSING" if needs_director else "PLACE_NOT_PERMITTED")
    if tier.device is not None and pen.kind not in tier.device.kinds:
        missing.append("DEVICE_NOT_PERMITTED")
    if tier.requires_cleared_device and not pen.cleared_class_ii:
        missing.append("DEVICE_NOT_CLEARED")
    return missing, until


def _may_supervise(tier: TierRule, supervisor: Practitioner) -> bool:
    """Whoever needs no supervision in a tier, and has no ceiling of their own there."""
    who = tier.rule_for(supervisor.credential)
    return who is not None and who.supervision == "none" and who.max_mm is None


def _tier_limit(tier: TierRule) -> Limit:
    return Limit(f"tier {tier.name}", um(tier.max_mm), tier.inclusive)


def _needles_limit(tier: TierRule | None) -> bool:
    """Whether the needles' length is a limit; where no tier says that it is not, it is."""
    return tier is None or tier.cartridge is None or tier.cartridge.needle_limits_depth


def _scope(
    limits: list[Limit],
    pen: Pen,
    registry: Registry,
    cartridge: Cartridge | None,
    practitioner: str | None,
    tier: TierRule | None,
    permit: str | None,
    *,
    needles_limit: bool = True,
    findings: tuple[Code, ...] = (),
    beyond: tuple[Code, ...] = (),
    until: date | None = None,
) -> Scope:
    limits = [*limits, Limit("pen label", um(pen.label_max_mm), True)]
    product = registry.find_product(cartridge.gtin) if cartridge is not None else None
    if product is not None and needles_limit:
        limits.append(Limit("cartridge", um(product.needle_max_mm), True))
    # Of two equal limits the exclusive one is the lower.
    limits.sort(key=lambda limit: (limit.um, limit.inclusive))
    return Scope(
        limits=tuple(limits),
        practitioner=practitioner,
        tier=tier.name if tier is not None else None,
        findings=findings,
        findings_beyond=beyond,
        valid_until=until,
        # Where nothing is permitted, a warning would leave nothing to anybody's judgement.
        hard=tier.hard if tier is not None else True,
        permit=permit,
        kind=pen.kind,
    )
