"""What a pack can be asked: bands, places, devices, courses, refusals, findings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack_files import small

from needletrail_gateway.core.packs.model import Band, PlaceRule, Policy

CITED = ["Choice: so it is."]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return small(tmp_path_factory.mktemp("packs"))


@pytest.mark.parametrize(
    ("depth_um", "inclusive", "exclusive"),
    [
        (499, (False, True), (False, True)),
        (500, (True, True), (False, True)),
        (501, (True, True), (True, True)),
        (1999, (True, True), (True, True)),
        (2000, (True, True), (False, False)),
        (2001, (False, False), (False, False)),
    ],
)
def test_both_sides_of_both_ends_of_a_band(
    depth_um: int, inclusive: tuple[bool, bool], exclusive: tuple[bool, bool]
) -> None:
    """(lies in the band, is not too deep)."""
    for flag, expected in ((True, inclusive), (False, exclusive)):
        band = Band(500, flag, 2000, flag)
        assert (band.contains(depth_um), band.allows(depth_um)) == expected


@given(st.integers(0, 3000), st.booleans(), st.integers(0, 3000), st.booleans(), st.integers(0, 3001))
def test_what_lies_in_a_band_is_allowed(
    least: int, least_inclusive: bool, most: int, most_inclusive: bool, depth_um: int
) -> None:
    band = Band(least, least_inclusive, most, most_inclusive)
    if band.contains(depth_um):
        assert band.allows(depth_um)
        assert depth_um >= least
    if band.allows(depth_um):
        assert depth_um == 0 or band.allows(depth_um - 1)


def test_a_limit_of_zero_allows_zero_and_nothing_else() -> None:
    assert Band(0, True, 0, True).allows(0)
    assert not Band(0, True, 0, True).allows(1)
    assert not Band(0, True, 0, False).allows(0)


def test_tiers_by_depth(policy: Policy) -> None:
    named = {
        depth_um: [tier.name for tier in policy.tiers_at(depth_um)]
        for depth_um in (0, 499, 500, 2500, 2501)
    }
    assert named == {
        0: ["cosmetic"],
        499: ["cosmetic"],
        500: ["medical"],
        2500: ["medical"],
        2501: [],
    }


def test_questions_about_a_tier(policy: Policy) -> None:
    place, device, cartridge = (
        policy.place_for("medical"),
        policy.device_for("medical"),
        policy.cartridge_for("medical"),
    )
    assert place is not None
    assert place.where == ["clinic_with_director"]
    assert device is not None
    assert (device.kinds, device.cleared_class_ii) == (["pen", "roller"], True)
    assert cartridge is not None
    assert (cartridge.single_use, cartridge.sterile) == (True, False)
    assert policy.screening_for("medical") is not None
    course, healing = policy.course_for("medical"), policy.healing_for("medical")
    assert course is not None
    assert course.treatments_most == 5
    assert healing is not None
    assert healing.tell == "One week."
    duration = policy.duration_for("medical", "full-face")
    assert duration is not None
    assert duration.plausible_ms == (1_350_000, 5_400_000)
    assert policy.duration_for("medical", "neck") is None
    medical = policy.find_tier("medical")
    assert medical is not None
    assert (medical.requires_medical_director, medical.requires_cleared_device) == (True, True)


@pytest.mark.parametrize("tier", ["cosmetic", "home"])
def test_what_a_pack_does_not_say_is_none(tier: str, policy: Policy) -> None:
    """Of a tier that says nothing, and of one that is not there."""
    for question in (
        policy.place_for,
        policy.device_for,
        policy.cartridge_for,
        policy.screening_for,
        policy.course_for,
        policy.healing_for,
    ):
        assert question(tier) is None
    assert policy.duration_for(tier, "full-face") is None
    assert policy.refusals_for(tier) == policy.preventions_for(tier) == []
    found = policy.find_tier(tier)
    assert found is None or not (found.requires_medical_director or found.requires_cleared_device)


def test_a_screening_that_is_not_needed_is_none(tmp_path: Path) -> None:
    assert small(tmp_path, ("needed = true", "needed = false")).screening_for("medical") is None


def test_refusals_and_preventions(policy: Policy) -> None:
    assert [one.condition for one in policy.refusals_for("medical")] == ["rosacea"]
    assert [one.condition for one in policy.preventions_for("medical")] == ["cold-sores"]
    found = policy.find_refusal("cold-sores")
    assert found is not None
    assert found.action == "prevent"
    assert policy.find_refusal("hiccups") is None


def test_who_may_and_what_may_be_overridden(policy: Policy) -> None:
    medical = policy.find_tier("medical")
    assert medical is not None
    nurse = medical.rule_for("nurse")
    assert nurse is not None
    assert (nurse.supervision, nurse.max_mm, nurse.inclusive) == ("on_premises", 2.0, True)
    assert medical.rule_for("esthetician") is None
    assert policy.is_soft("RECORD_GAP")
    assert not policy.is_soft("DEPTH_EXCEEDED")
    assert not policy.is_soft("SENSOR_FAULT"), "no rule, so nothing to override"


@pytest.mark.parametrize(
    ("where", "home", "without_director", "with_director"),
    [
        (["home"], True, False, False),
        (["clinic"], False, True, True),
        (["clinic_with_director"], False, False, True),
        (["home", "clinic_with_director"], True, False, True),
    ],
)
def test_places(where: list[str], home: bool, without_director: bool, with_director: bool) -> None:
    rule = PlaceRule.model_validate({"where": where, "citation": CITED})
    for director in (False, True):
        assert rule.permits("home", director) is home
    assert rule.permits("clinic", False) is without_director
    assert rule.permits("clinic", True) is with_director


def test_a_tier_for_home_and_directed_clinics_needs_a_director_in_a_clinic(tmp_path: Path) -> None:
    for where, needs in (
        ('["home"]', False),
        ('["clinic", "clinic_with_director"]', False),
        ('["home", "clinic_with_director"]', True),
    ):
        tier = small(tmp_path, ('["clinic_with_director"]', where)).find_tier("medical")
        assert tier is not None
        assert tier.requires_medical_director is needs


def test_a_policy_survives_json(policy: Policy) -> None:
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
