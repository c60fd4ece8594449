"""The judge: each side of each bound, and what each finding makes of the verdict."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from gateway_clinic import OTHER_GTIN, TODAY, TOLERANCE_UM, cartridge

from needletrail_gateway.core.judging.facts import Facts
from needletrail_gateway.core.judging.judge import alerts, judge
from needletrail_gateway.core.judging.scope import Limit, Scope
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry

LIMIT_UM = 500

Judged = Callable[..., tuple[str, list[str]]]


def scope(*, inclusive: bool = False, um: int = LIMIT_UM, **more: object) -> Scope:
    found = Scope((Limit("a limit", um, inclusive),), "est-01", "cosmetic", (), ())
    return replace(found, **more)  # type: ignore[arg-type]


def facts(**more: object) -> Facts:
    """A session against which nothing can be said."""
    found = Facts(
        on=TODAY,
        scope=scope(),
        tolerance_um=TOLERANCE_UM,
        peak_um=300,
        breach_ms=0,
        has_tag=True,
        cartridge=cartridge(),
        used_in=None,
        has_gap=False,
        has_clock=True,
        has_grant=True,
        has_fault=False,
    )
    return replace(found, **more)  # type: ignore[arg-type]


@pytest.fixture
def judged(policy: Policy, registry: Registry) -> Judged:
    def verdict(**more: object) -> tuple[str, list[str]]:
        found = judge(policy, registry, facts(**more))
        return found.outcome, list(found.reasons)

    return verdict


def test_a_session_against_which_nothing_can_be_said_is_compliant(judged: Judged) -> None:
    assert judged() == ("compliant", [])


# ---- depth ----


AT_LIMIT = ("review", ["DEPTH_AT_LIMIT"])
COMPLIANT: tuple[str, list[str]] = ("compliant", [])


@pytest.mark.parametrize(
    ("peak_um", "expected"),
    [
        (0, COMPLIANT),
        (LIMIT_UM - TOLERANCE_UM - 1, COMPLIANT),
        (LIMIT_UM - TOLERANCE_UM, AT_LIMIT),
        (LIMIT_UM, AT_LIMIT),
        (LIMIT_UM + TOLERANCE_UM, AT_LIMIT),
        (LIMIT_UM + TOLERANCE_UM + 1, AT_LIMIT),
        (2000, AT_LIMIT),
    ],
)
def test_at_an_exclusive_limit_one_can_not_decide(
    peak_um: int, expected: tuple[str, list[str]], judged: Judged
) -> None:
    """Deeper, but too briefly for a breach, is not better than at the limit: docs/decisions/0005."""
    assert judged(peak_um=peak_um) == expected


@pytest.mark.parametrize("peak_um", [LIMIT_UM - TOLERANCE_UM, LIMIT_UM, 2000])
def test_at_an_inclusive_limit_one_is_within(peak_um: int, judged: Judged) -> None:
    assert judged(peak_um=peak_um, scope=scope(inclusive=True)) == COMPLIANT


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_breach_is_a_violation_and_not_also_at_limit(inclusive: bool, judged: Judged) -> None:
    found = judged(peak_um=LIMIT_UM + TOLERANCE_UM + 1, breach_ms=200, scope=scope(inclusive=inclusive))
    assert found == ("violation", ["DEPTH_EXCEEDED"])


def test_a_limit_of_zero_can_be_breached(judged: Judged) -> None:
    nothing = scope(um=0, inclusive=True)
    assert judged(scope=nothing, peak_um=100, breach_ms=900) == (
        "violation",
        ["DEPTH_EXCEEDED"],
    )


def test_what_was_missing_counts_only_beyond_the_fallback(judged: Judged) -> None:
    fallen_back = scope(findings_beyond=("DIRECTOR_MISSING", "SUPERVISION_MISSING"))
    assert judged(scope=fallen_back) == COMPLIANT
    assert judged(scope=fallen_back, peak_um=LIMIT_UM) == AT_LIMIT
    assert judged(scope=fallen_back, peak_um=900, breach_ms=300) == (
        "violation",
        ["DEPTH_EXCEEDED", "DIRECTOR_MISSING", "SUPERVISION_MISSING"],
    )


# ---- people ----


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        ("LICENSE_EXPIRED", "violation"),
        ("PRACTITIONER_UNKNOWN", "violation"),
        ("PRACTITIONER_MISSING", "review"),
    ],
)
def test_who_worked_counts_once_there_was_work(finding: str, outcome: str, judged: Judged) -> None:
    who = scope(findings=(finding,))
    assert judged(scope=who) == (outcome, [finding])
    assert judged(scope=who, peak_um=None) == COMPLIANT


# ---- cartridges ----


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"has_tag": False, "cartridge": None}, ("review", ["CARTRIDGE_MISSING"])),
        ({"cartridge": None}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(gtin="00000012345670")}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(lot="LOT99Z")}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(lot=None)}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(lot="LOT25Q")}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(serial=None)}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(expires=None)}, ("review", ["CARTRIDGE_UNKNOWN"])),
        ({"cartridge": cartridge(expires=TODAY)}, COMPLIANT),
        ({"cartridge": cartridge(expires=TODAY - DAY)}, ("violation", ["CARTRIDGE_EXPIRED"])),
        ({"cartridge": cartridge(lot="BAD")}, ("violation", ["CARTRIDGE_RECALLED"])),
        ({"cartridge": cartridge(lot="BAD"), "on": date(2026, 6, 14)}, COMPLIANT),
        (
            {"cartridge": cartridge(lot="BAD"), "on": date(2026, 6, 15)},
            ("violation", ["CARTRIDGE_RECALLED"]),
        ),
        ({"used_in": "pen-02-1-1"}, ("violation", ["CARTRIDGE_REUSED"])),
        (
            {"used_in": "pen-02-1-1", "cartridge": cartridge(gtin=OTHER_GTIN, lot="LOT25Q")},
            COMPLIANT,
        ),
        (
            {"used_in": "pen-02-1-1", "cartridge": cartridge(gtin="00000012345670")},
            ("violation", ["CARTRIDGE_REUSED", "CARTRIDGE_UNKNOWN"]),
        ),
        (
            {"used_in": "x", "cartridge": cartridge(lot="BAD", expires=date(2026, 1, 1))},
            ("violation", ["CARTRIDGE_EXPIRED", "CARTRIDGE_RECALLED", "CARTRIDGE_REUSED"]),
        ),
    ],
)
def test_what_is_wrong_with_a_cartridge(
    more: dict[str, object], expected: tuple[str, list[str]], judged: Judged
) -> None:
    assert judged(**more) == expected
    assert judged(**more, peak_um=None) == COMPLIANT, "in and out again"


# ---- the record ----


@pytest.mark.parametrize("peak_um", [300, None])
def test_a_gap_or_an_unset_clock_leaves_a_doubt_with_or_without_work(
    peak_um: int | None, judged: Judged
) -> None:
    assert judged(has_gap=True, peak_um=peak_um) == (
        "review",
        ["RECORD_GAP"],
    )
    assert judged(has_clock=False, peak_um=peak_um) == (
        "review",
        ["CLOCK_UNCERTAIN"],
    )


@pytest.mark.parametrize("peak_um", [300, None])
def test_a_failed_part_leaves_a_doubt_with_or_without_work(peak_um: int | None, judged: Judged) -> None:
    assert judged(has_fault=True, peak_um=peak_um) == ("review", ["SENSOR_FAULT"])


def test_work_without_a_good_grant_leaves_a_doubt_and_nothing_worse(judged: Judged) -> None:
    assert judged(has_grant=False) == ("review", ["GRANT_STALE"])
    assert judged(has_grant=False, peak_um=None) == COMPLIANT
    found = judged(has_grant=False, peak_um=900, breach_ms=300)
    assert found == ("violation", ["DEPTH_EXCEEDED", "GRANT_STALE"])


def test_the_hardest_finding_is_the_verdict_and_reasons_are_in_order(judged: Judged) -> None:
    found = judged(peak_um=900, breach_ms=900, has_gap=True, has_clock=False, used_in="x", has_tag=True)
    assert found == (
        "violation",
        ["CARTRIDGE_REUSED", "CLOCK_UNCERTAIN", "DEPTH_EXCEEDED", "RECORD_GAP"],
    )


def test_the_pack_decides_what_a_finding_is_worth(policy: Policy, registry: Registry) -> None:
    document = policy.model_dump()
    for rule in document["rule"]:
        if rule["code"] == "CARTRIDGE_REUSED":
            rule["outcome"] = "review"
    document["rule"] = [rule for rule in document["rule"] if rule["code"] != "DEPTH_EXCEEDED"]
    lenient = Policy.model_validate(document)
    found = judge(lenient, registry, facts(peak_um=900, breach_ms=900, used_in="x"))
    assert (found.outcome, found.reasons) == ("review", ("CARTRIDGE_REUSED",))
    assert alerts(lenient, registry, facts(peak_um=900, breach_ms=900, used_in="x")) == []


def test_every_reason_brings_its_rule(policy: Policy, registry: Registry) -> None:
    found = judge(policy, registry, facts(peak_um=900, breach_ms=900, has_gap=True))
    assert [rule.code for rule in found.rules] == list(found.reasons)
    assert all(rule.text and rule.citation for rule in found.rules)


# ---- alerts ----


def test_an_alert_comes_before_harm_and_only_for_a_violation(
    policy: Policy, registry: Registry
) -> None:
    def raised(**more: object) -> list[str]:
        return list(alerts(policy, registry, facts(**more)))

    assert raised() == []
    assert raised(peak_um=None, cartridge=cartridge(lot="BAD")) == ["CARTRIDGE_RECALLED"]
    assert raised(peak_um=None, scope=scope(findings=("LICENSE_EXPIRED",))) == ["LICENSE_EXPIRED"]
    assert raised(scope=scope(findings=("PRACTITIONER_MISSING",))) == []
    assert raised(has_tag=False, has_gap=True, has_clock=False) == []
    assert raised(has_grant=False, has_fault=True) == []
    assert raised(peak_um=LIMIT_UM) == []
    assert raised(
        peak_um=900, breach_ms=200, scope=scope(findings_beyond=("SUPERVISION_MISSING",))
    ) == [
        "DEPTH_EXCEEDED",
        "SUPERVISION_MISSING",
    ]
