"""Findings: what can be said against a session, subject by subject, whatever follows from it.

Strategy: each function looks at one subject and names codes. It asks the pack only for what the pack
demands; what a finding means (outcome, severity, words) is the pack's rule for its code.

A permit for deep work is also one for shallow work, and shallow work asks for less. So what a tier
demands of client, cartridge and time counts from the depth on at which the session certainly left the
tiers below it (`tiers_touched`); in doubt, within the tolerance, the deeper tier counts. Deeper work
never has fewer findings, and neither has a permit that is reduced to its fallback: who does medical
work without the supervision for it owes the client no less. Before any work only the shallowest tier's
demands are sure to apply.
"""

from datetime import date, timedelta
from itertools import pairwise

from needletrail_gateway.core.judging.facts import COURSE_GAP_DAYS, Facts, Visit
from needletrail_gateway.core.judging.scope import Scope
from needletrail_gateway.core.packs.model import CartridgeRule, Code, Policy, TierRule
from needletrail_gateway.core.registry.model import Registry


def of_depth(facts: Facts, peak_um: int) -> set[Code]:
    """The setting against the scope."""
    scope = facts.scope
    if facts.breach_ms > 0:
        return {"DEPTH_EXCEEDED", *scope.findings_beyond}
    not_reached_um = scope.strictest_exclusive_um
    is_at_limit = not_reached_um is not None and peak_um >= not_reached_um - facts.tolerance_um
    return {"DEPTH_AT_LIMIT"} if is_at_limit else set()


def of_cartridge(policy: Policy, registry: Registry, facts: Facts) -> set[Code]:
    """The cartridge: known, unused, in date, not recalled, sterile."""
    if not facts.has_tag:
        return {"CARTRIDGE_MISSING"}
    cartridge = facts.cartridge
    if cartridge is None:
        return {"CARTRIDGE_UNKNOWN"}
    demands = _cartridge_rules(policy, facts)
    found: set[Code] = set()
    product = registry.find_product(cartridge.gtin)
    lot = registry.find_lot(cartridge.gtin, cartridge.lot) if cartridge.lot is not None else None
    if product is None or lot is None or cartridge.serial is None or cartridge.expires is None:
        found.add("CARTRIDGE_UNKNOWN")
    # The tag's date and the delivery's: the earlier one counts.
    last_days = [cartridge.expires, None if lot is None else lot.expires]
    if any(rule.unexpired for rule in demands) and any(
        last_day is not None and last_day < facts.on for last_day in last_days
    ):
        found.add("CARTRIDGE_EXPIRED")
    if (
        any(rule.not_recalled for rule in demands)
        and lot is not None
        and lot.recalled is not None
        and lot.recalled <= facts.on
    ):
        found.add("CARTRIDGE_RECALLED")
    is_single_use = product is None or product.sterile_single_use
    if any(rule.single_use for rule in demands) and facts.used_in is not None and is_single_use:
        found.add("CARTRIDGE_REUSED")
    if any(rule.sterile for rule in demands) and not is_single_use:
        found.add("CARTRIDGE_NOT_STERILE")
    return found


def of_client(policy: Policy, facts: Facts) -> set[Code]:
    """The client: questionnaire, conditions, when the last treatment was, and which one this is."""
    visit = facts.visit
    found: set[Code] = set()
    for tier in tiers_touched(policy, facts):
        refusals = policy.refusals_for(tier.name)
        preventions = policy.preventions_for(tier.name)
        answers = {} if visit is None or visit.screening is None else visit.screening
        if policy.screening_for(tier.name) is not None and (
            not answers or any(one.condition not in answers for one in (*refusals, *preventions))
        ):
            found.add("SCREENING_MISSING")
        if visit is None:
            continue
        if any(answers.get(one.condition, False) for one in refusals):
            found.add("CONTRAINDICATION")
        if any(
            answers.get(one.condition, False) and one.condition not in visit.prevented
            for one in preventions
        ):
            found.add("PREVENTION_MISSING")
        found |= _of_course(policy, facts, visit, tier)
    return found


def of_duration(policy: Policy, facts: Facts) -> set[Code]:
    """How long it took for its area: too long or too short says that something is amiss."""
    visit = facts.visit
    found: set[Code] = set()
    if visit is None or visit.area is None or facts.duration_ms is None:
        return found
    for tier in tiers_touched(policy, facts):
        rule = policy.duration_for(tier.name, visit.area)
        if rule is None:
            continue
        shortest_ms, longest_ms = rule.plausible_ms
        if facts.duration_ms < shortest_ms:
            found.add("DURATION_SHORT")
        if facts.duration_ms > longest_ms:
            found.add("DURATION_LONG")
    return found


def of_record(facts: Facts) -> set[Code]:
    """The record itself: what is missing, or not certain."""
    found: set[Code] = set()
    if facts.has_gap:
        found.add("RECORD_GAP")
    if not facts.has_clock:
        found.add("CLOCK_UNCERTAIN")
    if facts.has_fault:
        found.add("SENSOR_FAULT")
    if facts.is_tampered:
        found.add("RECORD_TAMPERED")
    return found


def tiers_touched(policy: Policy, facts: Facts) -> list[TierRule]:
    """The tiers of the permit that the session worked in, the shallowest first; see above."""
    peak_um = 0 if facts.peak_um is None else facts.peak_um + facts.tolerance_um
    return tiers_at(policy, facts.scope, peak_um)


def tiers_at(policy: Policy, scope: Scope, peak_um: int) -> list[TierRule]:
    """The tiers of the permit that work of this depth is certainly in, or may be in.

    Work with a device that a tier is not for is not of that tier, however shallow.
    """
    name = scope.tier if scope.permit is None else scope.permit
    chain = () if name is None else policy.chain_of(name)
    touched = [tier for tier, _ in chain[:1]]
    for (below, band), (tier, _) in pairwise(chain):
        is_for_device = below.device is None or scope.kind in below.device.kinds
        if is_for_device and band.allows(peak_um):
            break
        touched.append(tier)
    return touched


def _cartridge_rules(policy: Policy, facts: Facts) -> list[CartridgeRule]:
    """What the tiers ask of the cartridge; a tier that does not say asks for everything."""
    return [tier.cartridge or _EVERYTHING for tier in tiers_touched(policy, facts)] or [_EVERYTHING]


def _of_course(policy: Policy, facts: Facts, visit: Visit, tier: TierRule) -> set[Code]:
    rule = policy.course_for(tier.name)
    if rule is None:
        return set()
    found: set[Code] = set()
    same = sorted((one.on for one in visit.earlier if one.tier == tier.name), reverse=True)
    if (
        same
        and rule.interval_least_days is not None
        and (facts.on - same[0]).days < rule.interval_least_days
    ):
        found.add("INTERVAL_SHORT")
    if rule.treatments_most is not None and _number_in_course(facts, same) > rule.treatments_most:
        found.add("COURSE_EXCEEDED")
    return found


def _number_in_course(facts: Facts, newest_first: list[date]) -> int:
    """Which treatment of its course this one is, 1 for the first."""
    number = 1
    after = facts.on
    for on in newest_first:
        if after - on > timedelta(days=COURSE_GAP_DAYS):
            break
        number += 1
        after = on
    return number


_EVERYTHING = CartridgeRule(citation=["Where a pack does not say: all is asked."])
