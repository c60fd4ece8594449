"""Every case folder says what the judge says; every rule of every pack has a case on each side.

What can be written in a folder: docs/how-to/add-a-case.md.
"""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from case_folder import CASES, Case, CaseError, names, read_case
from case_stage import Stage, Staged, problems
from pack_bounds import bounds, uncovered, with_tier
from pack_files import SHIPPED

from needletrail_gateway.core.packs.model import Policy, Who
from needletrail_gateway.shell.documents import read_policy

PACKS = {name: read_policy(name) for name in SHIPPED}
CREDENTIALS = {who.credential for pack in PACKS.values() for tier in pack.tier for who in tier.who}
NAMES = names()
PLAIN = "depth-cosmetic-0.469"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the cases are played, each once."""
    one = Stage(tmp_path_factory.mktemp("cases"), PACKS)
    yield one
    one.close()


@pytest.fixture(scope="module")
def first() -> dict[str, Staged]:
    """Which case shows a rule, by the rule's name: it may show it under the next pack, too."""
    return {}


@cache
def case(name: str) -> Case:
    """A case of the project's; each is read once."""
    return read_case(name)


def test_there_are_enough_cases() -> None:
    assert len(NAMES) >= 120


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_says_what_the_case_says(name: str, stage: Stage) -> None:
    found = problems(case(name), stage)
    assert not found, "\n".join([f"{CASES.name}/{name}", *found])


@pytest.mark.parametrize("name", SHIPPED)
def test_each_rule_of_a_pack_has_a_case_on_each_side(
    name: str, stage: Stage, first: dict[str, Staged]
) -> None:
    """If this fails, a rule can be moved by one step and no case would notice: add one."""
    cases = [stage.play(case(one)) for one in NAMES]
    for one in cases:
        one.remember([PACKS[name]])
    missing = uncovered(bounds(PACKS[name], CREDENTIALS), cases, first)
    assert not missing, "no case is on this side of:\n" + "\n".join(missing)


def with_a_podiatrist(policy: Policy) -> Policy:
    """The pack, and one more credential that may do medical work under its own limit."""
    medical = policy.find_tier("medical")
    assert medical is not None
    new = Who(
        credential="podiatrist",
        supervision="documented",
        max_mm=1.0,
        citation=["Choice: a rule that is new."],
    )
    return with_tier(policy, medical.model_copy(update={"who": [*medical.who, new]}))


def test_a_new_rule_is_missing_a_case(stage: Stage) -> None:
    policy = with_a_podiatrist(PACKS["us-ut"])
    cases = [stage.play(case(name)) for name in NAMES if name.startswith("who-medical-")]
    new = [one for one in bounds(policy, {"podiatrist"}) if "podiatrist" in one.name]
    new = [one for one in new if one.name.startswith("tier medical")]
    assert sorted(uncovered(new, cases, {})) == [
        "us-ut: tier medical, podiatrist, depth a step deeper",
        "us-ut: tier medical, podiatrist, depth a step shallower",
        "us-ut: tier medical, podiatrist, depth, inclusive or not",
        "us-ut: tier medical, podiatrist, less supervision",
        "us-ut: tier medical, podiatrist, may",
        "us-ut: tier medical, podiatrist, more supervision",
    ]


# ---- a folder that is not as it should be ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a plain case, beside the shared clinic."""
    shutil.copy(CASES / "clinic.toml", tmp_path)
    shutil.copytree(CASES / PLAIN, tmp_path / PLAIN)
    return tmp_path / PLAIN


STEP = "    { work_mm = 0.469, s = 2 },"


IN_RECORDS = [
    ("work_mm", "wrok_mm", ":5: step.1: a step begins with what happens; 'wrok_mm' is not known"),
    ("work_mm", "wrok_mm", "perhaps 'work_mm' is meant"),
    ("s = 2", "seconds = 2", ":5: step.1.seconds: 'seconds' is not known here"),
    ("s = 2", "s = 2, ms = 5", ":5: step.1: say how long: either s or ms"),
    ("s = 2", 's = "2 s"', ":5: step.1.s: Input should be a valid number"),
    ('"removal"', '"boredom"', ":6: step.2.close: Input should be 'removal'"),
    ("\nstep", "\nbegin = 1\nstep", ":3: begin: 'begin' is not known here: perhaps 'begins'"),
    ("\nstep", "\nbegins = 2026-07-01\nstep", ":3: begins: expected a date and time with a zone"),
    (STEP, '{ import = "later.toml" },', ": there is no file 'later.toml' to import"),
    ("step = [", "step = [[", ": is not valid TOML"),
]
IN_REGISTRY = [
    ('"clinic"', '"klinik"', ":1: base: there is no klinik.toml"),
    ("\n", '\nremove = ["pen.pen-77"]\n', ":2: remove.0: pen.pen-77 is not there"),
    ("\n", '\n[[pen]]\nid = "pen-01"\nlable = 1', ":4: pen.0.lable: 'lable' is not known here"),
    ("\n", '\n[[pen]]\nmodel = "x"', ":2: pen.0: expected id"),
    ("\n", '\n[[pen]]\nid = "pen-01"\naccuracy_mm = -1', ": pen.0.accuracy_mm: Input should be"),
]
IN_EXPECTED = [
    ("limited_by", "limit_by", ":3: limit_by: 'limit_by' is not known here: perhaps 'limited_by'"),
    ("DEPTH_EXCEEDED", "TOO_DEEP", ":9: under.document-002.reasons.0: Input should be"),
    ("verdict", "vredict", ":1: vredict: 'vredict' is not known here: perhaps 'verdict' is meant"),
]
MISTAKES = [
    (file, *mistake)
    for file, mistakes in (
        ("records.toml", IN_RECORDS),
        ("registry.toml", IN_REGISTRY),
        ("expected.toml", IN_EXPECTED),
    )
    for mistake in mistakes
]


@pytest.mark.parametrize(("file", "old", "new", "told"), MISTAKES)
def test_what_is_not_known_is_refused_with_its_place(
    file: str, old: str, new: str, told: str, folder: Path
) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CaseError) as caught:
        read_case(folder.name, folder.parent)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_file_that_nothing_asks_for_is_refused(folder: Path) -> None:
    (folder / "expectd.toml").write_text("", encoding="utf-8")
    with pytest.raises(CaseError, match=r"expectd\.toml: nothing in the case asks for this file"):
        read_case(folder.name, folder.parent)


def test_a_case_without_an_expectation_is_none(folder: Path) -> None:
    (folder / "expected.toml").unlink()
    with pytest.raises(CaseError, match=r"expected\.toml is missing"):
        read_case(folder.name, folder.parent)


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ('{ open = "pen-77" }', "the registry has no pen pen-77"),
        (
            '{ note = "c-7k2m9qxa", practitioner = "md-01", yes = ["gout"] }',
            "the pack asks nothing of ['gout']",
        ),
        ('{ deliver = "pen-02" }', "pen-02"),
    ],
)
def test_a_step_that_can_not_be_is_told_with_its_number(
    new: str, told: str, folder: Path, stage: Stage
) -> None:
    path = folder / "records.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(STEP, f"    {new},"), encoding="utf-8")
    with pytest.raises(CaseError, match="step 1") as caught:
        Stage(folder.parent, PACKS).play(read_case(folder.name, folder.parent))
    assert told in str(caught.value)


def test_what_differs_is_told_pack_by_pack(folder: Path) -> None:
    path = folder / "expected.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace('"compliant"', '"review"', 1).replace("peak_mm = 0.469", "peak_mm = 0.5")
    text = text.replace('limited_by = "tier cosmetic"', 'packs = ["default", "us-ca"]')
    path.write_text(text[: text.index("[under.document-002]")], encoding="utf-8")
    found = problems(read_case(folder.name, folder.parent), Stage(folder.parent, PACKS))
    assert found == [
        "under default:",
        "  verdict: expected 'review', got 'compliant'",
        "  peak_mm: expected 0.5, got 0.469",
        "under default, judged again:",
        "  verdict: expected 'review', got 'compliant'",
        "  peak_mm: expected 0.5, got 0.469",
        "under us-ca, judged again:",
        "  verdict: expected 'review', got 'violation'",
        "  reasons: expected [], got ['DEPTH_EXCEEDED']",
    ]
