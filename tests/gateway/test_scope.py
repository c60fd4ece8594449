"""How deep somebody may go: permit, tier, label and cartridge; supervision, licence and badge."""

from datetime import date, timedelta
from typing import Any

import pytest
from gateway_clinic import (
    GTIN,
    OTHER_GTIN,
    TODAY,
    badge,
    cartridge,
    clinic,
    clinic_document,
    pen,
    person,
    the_pen,
    uri_tag,
)

from needletrail_gateway.core.judging.cartridge import Cartridge
from needletrail_gateway.core.judging.scope import Scope, decide
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.shell.documents import read_policy

UNSUPERVISED = ("SUPERVISION_MISSING",)


def scope_of(
    policy: Policy,
    registry: Registry,
    who: bytes | None,
    used: Cartridge | None = None,
    on: date = TODAY,
) -> Scope:
    return decide(policy, registry, the_pen(registry), who, used, on)


def with_people(*people: dict[str, Any], **more: Any) -> Registry:
    """A clinic with a physician and these people."""
    director = person("md-01", "physician", "medical")
    return clinic(practitioner=[*people, director], **more)


def changed_pack(policy: Policy, **tier_changes: Any) -> Policy:
    """The pack with other properties of its medical tier."""
    document = policy.model_dump()
    document["tier"][1] |= tier_changes
    return Policy.model_validate(document)


# ---- the lowest limit wins, and is named ----


@pytest.mark.parametrize(
    ("who", "limit_um", "is_inclusive", "name"),
    [
        ("est-01", 500, False, "tier cosmetic"),
        ("rn-01", 2500, True, "tier medical, pen label"),
        ("md-01", 2500, True, "tier medical, pen label"),
        ("me-01", 1500, True, "tier medical for master_esthetician"),
        ("rn-02", 500, False, "tier cosmetic"),
        ("old-01", 0, True, "licence expired"),
        ("nobody", 0, True, "unknown badge"),
    ],
)
def test_each_person_has_the_limit_of_their_permit(
    who: str, limit_um: int, is_inclusive: bool, name: str, policy: Policy, registry: Registry
) -> None:
    scope = scope_of(policy, registry, badge(who))
    assert (scope.um, scope.inclusive, scope.limited_by) == (limit_um, is_inclusive, name)
    assert scope.practitioner == who


def test_a_permit_of_ones_own_can_only_lower(policy: Policy) -> None:
    for max_mm, limit_um, name in ((1.0, 1000, "permit"), (9.0, 2500, "tier medical, pen label")):
        scope = scope_of(
            policy, with_people(person("x", "physician", "medical", max_mm=max_mm)), badge("x")
        )
        assert (scope.um, scope.limited_by) == (limit_um, name)


def test_a_permit_of_zero_is_a_limit(policy: Policy) -> None:
    scope = scope_of(policy, with_people(person("x", "physician", "medical", max_mm=0)), badge("x"))
    assert (scope.um, scope.limited_by) == (0, "permit")


def test_the_pens_label_limits(policy: Policy) -> None:
    registry = clinic(pen=[pen("pen-01", label_max_mm=1.2)])
    scope = scope_of(policy, registry, badge("md-01"))
    assert (scope.um, scope.inclusive, scope.limited_by) == (1200, True, "pen label")


def test_the_cartridges_needles_limit(policy: Policy, registry: Registry) -> None:
    scope = scope_of(policy, registry, badge("md-01"), cartridge(gtin=OTHER_GTIN))
    assert (scope.um, scope.limited_by) == (1000, "cartridge")


def test_a_cartridge_of_no_known_product_limits_nothing(policy: Policy, registry: Registry) -> None:
    scope = scope_of(policy, registry, badge("md-01"), cartridge(gtin="00000012345670"))
    assert [limit.name for limit in scope.limits] == ["tier medical", "pen label"]


def test_equal_limits_are_all_named(policy: Policy, registry: Registry) -> None:
    scope = scope_of(policy, registry, badge("md-01"), cartridge(gtin=GTIN))
    assert scope.limited_by == "tier medical, pen label, cartridge"


@pytest.mark.parametrize("is_inclusive", [True, False])
def test_of_equal_limits_the_exclusive_one_is_lower(policy: Policy, is_inclusive: bool) -> None:
    nurse = person("x", "physician", "medical", max_mm=2.5, max_inclusive=is_inclusive)
    scope = scope_of(policy, with_people(nurse), badge("x"))
    assert scope.inclusive is is_inclusive
    expected = "tier medical, permit, pen label" if is_inclusive else "permit"
    assert scope.limited_by == expected


def test_all_limits_are_listed_lowest_first(policy: Policy, registry: Registry) -> None:
    scope = scope_of(policy, registry, badge("me-01"), cartridge(gtin=OTHER_GTIN))
    assert [(limit.name, limit.um) for limit in scope.limits] == [
        ("cartridge", 1000),
        ("tier medical for master_esthetician", 1500),
        ("tier medical", 2500),
        ("pen label", 2500),
    ]


# ---- licences ----


def test_a_licence_holds_through_its_last_day(policy: Policy) -> None:
    registry = with_people(person("x", "physician", "medical", license_expires=TODAY))
    assert scope_of(policy, registry, badge("x")).findings == ()
    late = scope_of(policy, registry, badge("x"), on=TODAY + timedelta(days=1))
    assert late.findings == ("LICENSE_EXPIRED",)
    assert late.um == 0


# ---- supervision ----


def nurse(**more: Any) -> dict[str, Any]:
    return person("x", "nurse", "medical", **more)


SUPERVISED = {"supervision": "on_premises", "supervisor": "md-01"}


def test_a_supervised_nurse_works_medically(policy: Policy) -> None:
    scope = scope_of(policy, with_people(nurse(**SUPERVISED)), badge("x"))
    assert (scope.um, scope.tier, scope.findings_beyond) == (2500, "medical", ())


@pytest.mark.parametrize(
    "permit",
    [
        {},
        {"supervision": "on_premises"},
        {"supervisor": "md-01"},
        {"supervision": "documented", "supervisor": "md-01"},
        {"supervision": "on_premises", "supervisor": "x"},
        {"supervision": "on_premises", "supervisor": "n"},
        {"supervision": "on_premises", "supervisor": "m"},
        {"supervision": "on_premises", "supervisor": "old"},
    ],
    ids=["nothing", "nobody", "not said how", "elsewhere", "oneself", "a nurse", "limited", "lapsed"],
)
def test_supervision_that_is_none_falls_back_to_cosmetic(
    permit: dict[str, Any], policy: Policy
) -> None:
    registry = with_people(
        nurse(**permit),
        person("n", "nurse", "medical"),
        person("m", "master_esthetician", "medical"),
        person("old", "physician", "medical", license_expires=TODAY - timedelta(days=1)),
    )
    scope = scope_of(policy, registry, badge("x"))
    assert (scope.um, scope.tier, scope.limited_by) == (500, "cosmetic", "tier cosmetic")
    assert scope.findings == ()
    assert scope.findings_beyond == UNSUPERVISED


def test_the_supervisors_licence_holds_through_its_last_day(policy: Policy) -> None:
    last = person("last", "physician", "medical", license_expires=TODAY)
    registry = with_people(nurse(supervision="on_premises", supervisor="last"), last)
    assert scope_of(policy, registry, badge("x")).tier == "medical"
    tomorrow = scope_of(policy, registry, badge("x"), on=TODAY + timedelta(days=1))
    assert (tomorrow.tier, tomorrow.findings_beyond) == ("cosmetic", UNSUPERVISED)


def test_more_supervision_than_needed_is_enough(policy: Policy) -> None:
    document = policy.model_dump()
    for who in document["tier"][1]["who"]:
        if who["credential"] == "nurse":
            who["supervision"] = "documented"
    asks_less = Policy.model_validate(document)
    for said, tier in (("on_premises", "medical"), ("documented", "medical"), ("none", "cosmetic")):
        registry = with_people(nurse(supervision=said, supervisor="md-01"))
        assert scope_of(asks_less, registry, badge("x")).tier == tier


def test_a_scope_is_good_until_a_licence_in_it_runs_out(policy: Policy) -> None:
    early, late = date(2026, 8, 1), date(2027, 8, 1)
    for own, supervisors in ((early, late), (late, early)):
        registry = with_people(
            nurse(license_expires=own, supervision="on_premises", supervisor="s"),
            person("s", "physician", "medical", license_expires=supervisors),
        )
        assert scope_of(policy, registry, badge("x")).valid_until == early


# ---- what a tier asks of clinic, pen and credential ----


def test_without_a_director_medical_falls_back(policy: Policy) -> None:
    document = clinic_document()
    del document["clinic"]["medical_director"]
    scope = scope_of(policy, Registry.model_validate(document), badge("md-01"))
    assert (scope.tier, scope.findings_beyond) == ("cosmetic", ("DIRECTOR_MISSING",))


def test_with_a_pen_that_is_not_cleared_medical_falls_back(policy: Policy) -> None:
    registry = clinic(pen=[pen("pen-01", cleared_class_ii=False)])
    scope = scope_of(policy, registry, badge("md-01"))
    assert (scope.tier, scope.findings_beyond) == ("cosmetic", ("DEVICE_NOT_CLEARED",))


def test_a_credential_that_the_tier_does_not_name_falls_back(policy: Policy) -> None:
    scope = scope_of(policy, with_people(person("x", "esthetician", "medical")), badge("x"))
    assert (scope.um, scope.tier) == (500, "cosmetic")
    assert scope.findings_beyond == ("TIER_NOT_PERMITTED",)


def test_a_credential_that_no_tier_names_may_do_nothing(policy: Policy) -> None:
    scope = scope_of(policy, with_people(person("x", "barber", "medical")), badge("x"))
    assert (scope.um, scope.inclusive, scope.limited_by) == (0, True, "no tier permitted")
    assert scope.tier is None
    assert scope.findings_beyond == ("TIER_NOT_PERMITTED",)


def test_a_tier_that_the_pack_lacks_permits_nothing(policy: Policy) -> None:
    document = policy.model_dump()
    document["tier"] = [tier for tier in document["tier"] if tier["name"] != "radio-frequency"]
    for refusal in document["refusal"]:
        refusal["tiers"] = [name for name in refusal["tiers"] if name != "radio-frequency"]
    less = Policy.model_validate(document)
    scope = scope_of(less, with_people(person("x", "physician", "radio-frequency")), badge("x"))
    assert (scope.um, scope.limited_by) == (0, "no tier permitted")
    assert scope.findings_beyond == ("TIER_NOT_PERMITTED",)


def test_everything_that_is_missing_is_found(policy: Policy) -> None:
    document = clinic_document(
        practitioner=[nurse(), person("md-01", "physician", "medical")],
        pen=[pen("pen-01", cleared_class_ii=False)],
    )
    del document["clinic"]["medical_director"]
    scope = scope_of(policy, Registry.model_validate(document), badge("x"))
    assert set(scope.findings_beyond) == {
        "SUPERVISION_MISSING",
        "DIRECTOR_MISSING",
        "DEVICE_NOT_CLEARED",
    }


def test_a_tier_without_a_fallback_leaves_nothing(policy: Policy) -> None:
    strict = changed_pack(policy, fallback=None)
    scope = scope_of(strict, with_people(nurse()), badge("x"))
    assert (scope.um, scope.limited_by) == (0, "no tier permitted")
    assert scope.findings_beyond == UNSUPERVISED


def test_a_limit_of_zero_in_the_pack_is_a_limit(policy: Policy) -> None:
    scope = scope_of(changed_pack(policy, max_mm=0.0), with_people(), badge("md-01"))
    assert (scope.um, scope.inclusive, scope.limited_by) == (0, True, "tier medical")


# ---- badges ----


def test_without_a_badge_the_packs_tier_holds(policy: Policy, registry: Registry) -> None:
    scope = scope_of(policy, registry, None)
    assert (scope.um, scope.inclusive, scope.limited_by) == (500, False, "tier cosmetic")
    assert scope.practitioner is None
    assert scope.findings == ("PRACTITIONER_MISSING",)


@pytest.mark.parametrize(
    "tag",
    [
        b"",
        b"\xd1\x01",
        bytes(100),
        uri_tag("https://clinic.example/badge/"),
        uri_tag("https://clinic.example/badges/est-01"),
        uri_tag("https://clinic.example/badge/est-01/x"),
        badge("est-01")[:-1],
        badge("est-01") + b"x",
        badge("EST-01"),
    ],
)
def test_a_badge_that_names_nobody_here_permits_nothing(
    tag: bytes, policy: Policy, registry: Registry
) -> None:
    scope = scope_of(policy, registry, tag)
    assert (scope.um, scope.limited_by) == (0, "unknown badge")
    assert scope.findings == ("PRACTITIONER_UNKNOWN",)


def test_label_and_cartridge_hold_for_everybody(policy: Policy) -> None:
    registry = clinic(pen=[pen("pen-01", label_max_mm=0.2)])
    for who in (None, badge("md-01"), badge("rn-02"), badge("est-01")):
        assert scope_of(policy, registry, who).limited_by == "pen label"


def test_the_pack_that_comes_with_needletrail_is_the_one_tested(policy: Policy) -> None:
    assert policy == read_policy("default")
