"""A treatment that no pen has seen, judged by what is said of it: who, with what, how deep, how long.

The needles' length stands for the depth, since a roller has no other. What only a record can show
(passes, breaches, a cartridge's tag, clocks) is no finding here; that nobody but its author saw it is
what `attested` means, and is said wherever it is shown.
"""

from datetime import date

from needletrail_gateway.core.judging import findings
from needletrail_gateway.core.judging.facts import Facts, Visit
from needletrail_gateway.core.judging.judge import Verdict, verdict_of
from needletrail_gateway.core.judging.scope import decide_for
from needletrail_gateway.core.notes import AttestedTreatment
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Pen, Practitioner, Registry, um

_DEPTH_MAX_MM = 20.0


def judge_attested(
    policy: Policy,
    registry: Registry,
    person: Practitioner,
    said: AttestedTreatment,
    visit: Visit,
    on: date,
) -> Verdict:
    """The verdict of `policy` on a treatment by a practitioner of the registry, on the day `on`."""
    device = Pen(
        id="attested",
        model=said.device,
        kind=said.device,
        cleared_class_ii=False,
        label_max_mm=_DEPTH_MAX_MM,
        accuracy_mm=0,
        reading_tolerance_mm=0,
        calibration=[(0, 0.0), (4095, _DEPTH_MAX_MM)],
    )
    scope = decide_for(policy, registry, device, person, None, on)
    depth_um = um(said.needle_mm)
    limit = scope.limits[0]
    is_beyond = depth_um > limit.um or (depth_um == limit.um and not limit.inclusive)
    facts = Facts(
        on=on,
        scope=scope,
        tolerance_um=0,
        peak_um=depth_um,
        breach_ms=1 if is_beyond else 0,
        has_tag=False,
        cartridge=None,
        used_in=None,
        has_gap=False,
        has_clock=True,
        has_grant=True,
        has_fault=False,
        duration_ms=round(said.minutes * 60_000),
        visit=visit,
    )
    found = set(scope.findings) | findings.of_client(policy, facts)
    found |= findings.of_depth(facts, depth_um) | findings.of_duration(policy, facts)
    return verdict_of(policy, facts, found)
