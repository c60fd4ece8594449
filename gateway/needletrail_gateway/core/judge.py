"""The judge: from what was done and what was allowed to a verdict with its reasons.

A pure function of a policy pack, the registry as it stood, and a session's facts. Live, at closing
and in a replay it is this code. A finding becomes a reason only through a rule of the pack, which
brings its outcome, words and citation; the hardest outcome is the verdict.

Findings about people, cartridges and grants concern a treatment: a session in which the needles never
worked on skin (a cartridge put in and taken out again) breaks none of them. A part that failed may be
the reason why no work was seen, so that finding holds in any case.
"""

from dataclasses import dataclass
from datetime import date

from needletrail_gateway.core.cartridge import Cartridge
from needletrail_gateway.core.policy import Code, Outcome, Policy, Rule
from needletrail_gateway.core.registry import Registry
from needletrail_gateway.core.scope import Scope

# A peak is the largest of many noisy medians: work at limit + tolerance shows up to this much more.
PEAK_NOISE_UM = 10


@dataclass(frozen=True)
class Facts:
    """What is known of a session, at its end or so far.

    on: the day of the treatment. breach_ms, peak_um: counted by the definitions of the protocol; peak
    is None without work. used_in: another session in which this cartridge worked. has_gap: part of
    the record is missing. has_clock: it is known when it was. has_grant: all work was done under a
    grant that was good at the time. has_fault: a part of the pen had failed.
    """

    on: date
    scope: Scope
    tolerance_um: int
    peak_um: int | None
    breach_ms: int
    has_tag: bool
    cartridge: Cartridge | None
    used_in: str | None
    has_gap: bool
    has_clock: bool
    has_grant: bool
    has_fault: bool


@dataclass(frozen=True)
class Verdict:
    """The outcome, its reason codes in alphabetical order, and the rules behind them."""

    outcome: Outcome
    reasons: tuple[Code, ...]
    rules: tuple[Rule, ...]


def judge(policy: Policy, registry: Registry, facts: Facts) -> Verdict:
    """The verdict of `policy` on a session."""
    found: set[Code] = set()
    if facts.peak_um is not None:
        found.update(standing_findings(registry, facts))
        found.update(_depth_findings(facts, facts.peak_um))
        if not facts.has_grant:
            found.add("GRANT_STALE")
    if facts.has_gap:
        found.add("RECORD_GAP")
    if not facts.has_clock:
        found.add("CLOCK_UNCERTAIN")
    if facts.has_fault:
        found.add("SENSOR_FAULT")
    rules = [rule for rule in map(policy.find_rule, sorted(found)) if rule is not None]
    outcomes = {rule.outcome for rule in rules}
    outcome: Outcome = "compliant"
    if "violation" in outcomes:
        outcome = "violation"
    elif "review" in outcomes:
        outcome = "review"
    return Verdict(outcome, tuple(rule.code for rule in rules), tuple(rules))


def alerts(policy: Policy, registry: Registry, facts: Facts) -> list[Code]:
    """What the practitioner should be told now, also before the needles touch anybody.

    Only what makes a violation: a needless alarm teaches people to ignore alarms.
    """
    found = standing_findings(registry, facts)
    if facts.breach_ms > 0:
        found.add("DEPTH_EXCEEDED")
        found.update(facts.scope.findings_beyond)
    rules = [rule for rule in map(policy.find_rule, sorted(found)) if rule is not None]
    return [rule.code for rule in rules if rule.outcome == "violation"]


def standing_findings(registry: Registry, facts: Facts) -> set[Code]:
    """What is wrong with who and what, whatever depth is worked at."""
    return set(facts.scope.findings) | _cartridge_findings(registry, facts)


def _depth_findings(facts: Facts, peak_um: int) -> set[Code]:
    scope = facts.scope
    if facts.breach_ms > 0:
        return {"DEPTH_EXCEEDED", *scope.findings_beyond}
    reach_um = facts.tolerance_um + PEAK_NOISE_UM
    is_at_limit = scope.um - facts.tolerance_um <= peak_um <= scope.um + reach_um
    return {"DEPTH_AT_LIMIT"} if is_at_limit and not scope.inclusive else set()


def _cartridge_findings(registry: Registry, facts: Facts) -> set[Code]:
    if not facts.has_tag:
        return {"CARTRIDGE_MISSING"}
    cartridge = facts.cartridge
    if cartridge is None:
        return {"CARTRIDGE_UNKNOWN"}
    found: set[Code] = set()
    product = registry.find_product(cartridge.gtin)
    lot = registry.find_lot(cartridge.gtin, cartridge.lot) if cartridge.lot is not None else None
    if product is None or lot is None or cartridge.serial is None or cartridge.expires is None:
        found.add("CARTRIDGE_UNKNOWN")
    if cartridge.expires is not None and cartridge.expires < facts.on:
        found.add("CARTRIDGE_EXPIRED")
    if lot is not None and lot.recalled is not None and lot.recalled <= facts.on:
        found.add("CARTRIDGE_RECALLED")
    if facts.used_in is not None and (product is None or product.sterile_single_use):
        found.add("CARTRIDGE_REUSED")
    return found
