"""Who may do what, and why: the answer, the rules that decide it, their citations and their origin."""

from pathlib import Path

import pytest
from pack_files import small

from needletrail_gateway.core.packs.explain import TierAnswer, explain
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.shell.documents import read_pack, read_policy

# (pack, tier, credential, depth, answer): each side of each bound that a document draws
QUESTIONS = [
    ("default", None, "esthetician", 0.499, "yes"),
    ("default", None, "esthetician", 0.5, "no"),
    ("default", "cosmetic", "esthetician", 0.499, "yes"),
    ("default", "cosmetic", "esthetician", 0.5, "no"),
    ("default", "medical", "esthetician", 0.3, "no"),
    ("default", "nano", "esthetician", 0.25, "yes"),
    ("default", "nano", "esthetician", 0.251, "no"),
    ("default", None, "nurse", 0.5, "if"),
    ("default", None, "nurse", 2.5, "if"),
    ("default", None, "nurse", 2.501, "no"),
    ("default", "medical", "physician", 2.5, "if"),
    ("default", "medical", "physician", 0.3, "if"),  # shallower than the tier is not forbidden
    ("default", "medical", "master_esthetician", 1.5, "if"),
    ("default", "medical", "master_esthetician", 1.501, "no"),
    ("default", "home", "client", 0.499, "yes"),
    ("default", "home", "client", 0.5, "no"),
    ("default", None, "barber", 0.1, "no"),
    ("default", None, None, 2.5, "if"),
    ("default", None, None, 2.6, "no"),
    ("default", None, None, 0.1, "yes"),
    ("document-001", None, "esthetician", 2.5, "if"),
    ("document-001", "cosmetic", "client", 0.499, "yes"),
    ("document-002", "cosmetic", "esthetician", 0.25, "yes"),
    ("document-002", None, "esthetician", 0.251, "no"),
    ("document-002", None, "physician", 2.0, "if"),
    ("document-002", "medical", "physician", 2.001, "no"),
    ("document-003", "cosmetic", "esthetician", 0.3, "yes"),
    ("document-003", "cosmetic", "esthetician", 0.301, "no"),
    ("document-003", None, "technician", 3.0, "if"),
    ("document-003", None, "technician", 3.001, "no"),
    ("document-003", "medical", "nurse_practitioner", 0.3, "no"),
    ("document-004", "home", "client", 0.5, "yes"),
    ("document-004", "home", "client", 0.501, "no"),
    ("document-004", None, "esthetician", 0, "yes"),
    ("document-004", None, "esthetician", 0.001, "no"),
    ("document-004", "medical", "nurse", 1, "if"),
    ("us-ca", None, "esthetician", 0, "yes"),
    ("us-ca", None, "esthetician", 0.001, "no"),
    ("us-ca", None, "master_esthetician", 1, "no"),
    ("us-ca", None, "nurse", 0.499, "yes"),
    ("us-ut", None, "master_esthetician", 1.5, "if"),
    ("us-ut", None, "master_esthetician", 1.501, "no"),
    ("us-az", None, "esthetician", 0.5, "yes"),
    ("us-az", None, "esthetician", 0.501, "no"),
    ("us-fl", None, "facial_specialist", 0.249, "yes"),
    ("us-fl", None, "facial_specialist", 0.25, "no"),
    ("us-fl", None, "esthetician", 0.25, "no"),
    ("us-fl", None, "physician", 2.5, "if"),
]


@pytest.mark.parametrize(("pack", "tier", "credential", "depth_mm", "answer"), QUESTIONS)
def test_each_side_of_each_bound(
    pack: str, tier: str | None, credential: str | None, depth_mm: float, answer: str
) -> None:
    found = explain(read_policy(pack), tier, credential, depth_mm)
    assert found.answer == answer
    assert bool(found.allowing) is (answer != "no")
    for one in found.tiers:
        assert bool(one.against) is (one.answer == "no")
        for reason in (*one.against, *one.conditions):
            assert reason.text
            assert reason.citations


def of_tier(policy: Policy, name: str, credential: str | None, depth_mm: float | None) -> TierAnswer:
    [found] = explain(policy, name, credential, depth_mm).tiers
    return found


def test_why_not_names_the_rules_and_where_they_are_from() -> None:
    pack = read_pack("us-ca")
    cosmetic = of_tier(pack.policy, "cosmetic", "esthetician", 0.5)
    too_deep, own = cosmetic.against
    assert too_deep.text == "0.5 mm is beyond the tier: below 0.5 mm"
    assert pack.origin(too_deep.path) == "default"
    assert own.citations[0].startswith("16 CCR 991(b)(3): ")
    assert pack.origin(own.path) == "us-ca"
    [unnamed] = of_tier(pack.policy, "medical", "esthetician", None).against
    assert unnamed.text.startswith(
        "the tier does not name esthetician; it names physician, nurse_pract"
    )
    assert any("licensed medical professional" in one for one in unnamed.citations)


def test_under_which_conditions() -> None:
    nurse = of_tier(read_policy("default"), "medical", "nurse", 1.0)
    said = [one.text for one in nurse.conditions]
    assert said == [
        "medical depth: from 0.5 mm, up to and including 2.5 mm",
        "nurse: with the supervisor on the premises",
        "medical where: in a clinic with a medical director",
        "medical device: pen or roller, cleared as class II",
        "medical screening: no questionnaire is needed",
    ]
    always = " ".join(one.text for one in nurse.always)
    for word in ("used once", "rosacea", "immunosuppression", "cold-sores"):
        assert word in always
    nano = of_tier(read_policy("default"), "nano", "nurse", 0.2)
    assert "rosacea" not in " ".join(one.text for one in nano.always)


def test_everybody_and_everything() -> None:
    found = explain(read_policy("default"))
    assert found.question == "May anybody work?"
    answers = {one.tier: one.answer for one in found.tiers}
    assert answers == {
        "cosmetic": "yes",
        "medical": "if",
        "home": "yes",
        "nano": "yes",
        "radio-frequency": "if",
    }
    medical = next(one for one in found.tiers if one.tier == "medical")
    named = {one.text.partition(":")[0] for one in medical.conditions}
    assert {"physician", "nurse", "master_esthetician"} <= named


DIRECTOR = ('["clinic_with_director"]', '["clinic"]')
CLEARED = ("cleared_class_ii = true", "cleared_class_ii = false")
ASKED = ("needed = true", "needed = false")


@pytest.mark.parametrize("kept", [DIRECTOR, CLEARED, ASKED])
def test_each_thing_that_a_clinic_must_have_makes_it_an_if(
    kept: tuple[str, str], tmp_path: Path
) -> None:
    others = [one for one in (DIRECTOR, CLEARED, ASKED) if one != kept]
    assert explain(small(tmp_path, *others), "medical", "physician").answer == "if"


def test_supervision_makes_it_an_if(tmp_path: Path) -> None:
    free = small(tmp_path, DIRECTOR, CLEARED, ASKED)
    assert explain(free, "medical", "physician").answer == "yes"
    assert explain(free, "medical", "nurse").answer == "if"


def test_a_tier_in_which_nobody_may_work(tmp_path: Path) -> None:
    (tmp_path / "child.toml").write_text(
        'name = "child"\nversion = "1"\neffective = 2026-01-01\ndescribes = "No home."\n'
        'extends = "default"\nremove = ["tier.home.who"]\n'
    )
    home = of_tier(read_policy("child", tmp_path), "home", None, 0.1)
    assert home.answer == "no"
    assert home.against[0].text == "nobody may work in this tier"


def test_an_unknown_tier_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="small has no tier nano"):
        explain(small(tmp_path), "nano")
