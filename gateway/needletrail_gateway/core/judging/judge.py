"""The judge: from what was done and what was allowed to a verdict with its reasons.

A pure function of a policy pack, the registry as it stood, and a session's facts. Live, at closing
and in a replay it is this code. A finding becomes a reason only through a rule of the pack, which
brings its outcome, severity, words and citation; the hardest outcome is the verdict. A reason that a
person has overridden, where the rule is soft, stays a reason and counts no more.

Findings about people, clients, cartridges and grants concern a treatment: a session in which the
needles never worked on skin (a cartridge put in and taken out again) breaks none of them. A part that
failed may be the reason why no work was seen, so what is wrong with the record holds in any case.
"""

from dataclasses import dataclass

from needletrail_gateway.core.judging import findings
from needletrail_gateway.core.judging.facts import Facts, Override
from needletrail_gateway.core.packs.model import Code, Outcome, Policy, Rule
from needletrail_gateway.core.registry.model import Registry, Tier


@dataclass(frozen=True)
class Verdict:
    """The outcome, its reason codes in alphabetical order with their rules, and what was overridden.

    tier: the deepest tier in which the session worked; None without work or permit.
    """

    outcome: Outcome
    reasons: tuple[Code, ...]
    rules: tuple[Rule, ...]
    overridden: tuple[tuple[Code, Override], ...] = ()
    tier: Tier | None = None


def judge(policy: Policy, registry: Registry, facts: Facts) -> Verdict:
    """The verdict of `policy` on a session."""
    found = findings.of_record(facts)
    if facts.peak_um is not None:
        found |= standing_findings(policy, registry, facts)
        found |= findings.of_depth(facts, facts.peak_um)
        found |= findings.of_duration(policy, facts)
        if not facts.has_grant:
            found.add("GRANT_STALE")
    return verdict_of(policy, facts, found)


def verdict_of(policy: Policy, facts: Facts, found: set[Code]) -> Verdict:
    """What the pack's rules make of these findings."""
    rules = _rules(policy, found)
    overridden = tuple(
        (rule.code, facts.overrides[rule.code])
        for rule in rules
        if rule.severity == "soft" and rule.code in facts.overrides
    )
    set_aside = {code for code, _ in overridden}
    outcomes = {rule.outcome for rule in rules if rule.code not in set_aside}
    outcome: Outcome = "compliant"
    if "violation" in outcomes:
        outcome = "violation"
    elif "review" in outcomes:
        outcome = "review"
    touched = [] if facts.peak_um is None else findings.tiers_touched(policy, facts)
    tier = touched[-1].name if touched else None
    return Verdict(outcome, tuple(rule.code for rule in rules), tuple(rules), overridden, tier)


def alerts(policy: Policy, registry: Registry, facts: Facts) -> list[Code]:
    """What the practitioner should be told now, also before the needles touch anybody.

    Only what makes a violation: a needless alarm teaches people to ignore alarms.
    """
    found = standing_findings(policy, registry, facts)
    if facts.breach_ms > 0:
        found.add("DEPTH_EXCEEDED")
        found.update(facts.scope.findings_beyond)
    rules = _rules(policy, found)
    return [
        rule.code
        for rule in rules
        if rule.outcome == "violation"
        and not (rule.severity == "soft" and rule.code in facts.overrides)
    ]


def standing_findings(policy: Policy, registry: Registry, facts: Facts) -> set[Code]:
    """What is wrong with who, what and whom; it holds before the work is over."""
    return (
        set(facts.scope.findings)
        | findings.of_cartridge(policy, registry, facts)
        | findings.of_client(policy, facts)
    )


def _rules(policy: Policy, found: set[Code]) -> list[Rule]:
    return [rule for rule in map(policy.find_rule, sorted(found)) if rule is not None]
