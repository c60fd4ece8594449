"""A pack that can not be used: each mistake with its file, its line, and what was expected."""

from pathlib import Path

import pytest
from pack_files import HEAD, SMALL, line_with, write

from needletrail_gateway.shell.documents import DocumentError, packs_folder, read_pack_file

CITED = 'citation = ["Choice: new."]\n'


def complaints(folder: Path, name: str = "small", **packs: str) -> list[str]:
    """What is said of a pack, a line a mistake."""
    write(folder, **packs)
    with pytest.raises(DocumentError) as caught:
        read_pack_file(folder / f"{name}.toml")
    text = str(caught.value)
    assert text == "\n".join(map(str, caught.value.complaints)) or not caught.value.complaints
    return text.splitlines()


# (text of the small pack, what stands there instead, what the line holds that must be named, which such
# line, what must be said)
MISTAKES: list[tuple[str, str, str, int, str]] = [
    ('name = "small"', 'name = "Small Pack"', "Small Pack", 1, "name: must be 1 to 32 of a-z"),
    ('name = "small"', 'name = "big"', '"big"', 1, "name: expected the file's own name, small"),
    ('name = "small"\n', "", 'version = "1"', 1, "name: Field required"),
    ('version = "1"', 'version = "a version"', "a version", 1, "version: String should match pattern"),
    ('version = "1"', "version = 1", "version = 1", 1, "version: Input should be a valid string"),
    ('version = "1"', 'version = "1"\nlineage = []', "lineage", 1, "is filled in by Needletrail"),
    ("2026-01-01", '"soon"', "soon", 1, "effective: Input should be a valid date"),
    ('describes = "Two tiers."', 'describes = ""', "describes", 1, "at least 1 character"),
    ('describes = "Two tiers."', "extends = 3", "extends = 3", 1, "expected the name of a pack"),
    ('tier = "cosmetic"', 'tier = "face"', '"face"', 1, "without_badge.tier: Input should be 'home'"),
    (
        'tier = "cosmetic"',
        'tier = "home"',
        '"home"',
        1,
        "without_badge.tier: the pack has no tier home",
    ),
    ('tier = "cosmetic"\n', "", "[without_badge]", 1, "without_badge.tier: Field required"),
    ("[without_badge]", "[without_bagde]", "[without_bagde]", 1, "perhaps without_badge is meant"),
    (
        "max_mm = 0.5",
        "max_mm = 20.5",
        "20.5",
        1,
        "tier.0.max_mm: Input should be less than or equal to 20",
    ),
    ("max_mm = 0.5", "max_mm = -0.5", "-0.5", 1, "tier.0.max_mm: Input should be greater than"),
    ("max_mm = 0.5", "max_mm = nan", "nan", 1, "tier.0.max_mm"),
    ("max_mm = 0.5", 'max_mm = "0.5 mm"', "0.5 mm", 1, "tier.0.max_mm: Input should be a valid number"),
    (
        "inclusive = false",
        "inclusive = 7",
        "= 7",
        1,
        "tier.0.inclusive: Input should be a valid boolean",
    ),
    ("inclusive = false\n", "", "[[tier]]", 1, "tier.0.inclusive: Field required"),
    (
        "min_mm = 0.5",
        "min_mm = 2.6",
        "max_mm = 2.5",
        1,
        "no depth lies between min_mm = 2.6 and max_mm",
    ),
    ("min_mm = 0.5", "min_mm = 2.5\nmin_inclusive = false", "max_mm = 2.5", 1, "no depth lies between"),
    (
        "hard = true",
        "hart = true",
        "hart = true",
        1,
        "not known here; check its spelling; perhaps hard",
    ),
    (
        "hard = true",
        "qwertz = true",
        "qwertz",
        1,
        "expected one of name, min_mm, min_inclusive, max_mm",
    ),
    ('name = "medical"', 'name = "cosmetic"', 'name = "cosmetic"', 2, "entry 1 has the same name"),
    ('name = "medical"', 'name = "deep"', '"deep"', 1, "tier.1.name: Input should be 'home'"),
    ('name = "medical"\n', "", "[[tier]]", 2, "tier.1.name: Field required"),
    ('fallback = "cosmetic"', 'fallback = "nano"', '"nano"', 1, "the fallback to nano leads nowhere"),
    ('fallback = "cosmetic"', 'fallback = "medical"', "fallback", 1, "tier.1.fallback"),
    ('= "on_premises"', '= "nearby"', "nearby", 1, "'none', 'documented' or 'on_premises'"),
    ('credential = "physician"', 'credential = "nurse"', '"nurse"', 3, "who.1.credential: entry 1"),
    (
        '["clinic_with_director"]',
        '["office"]',
        "office",
        1,
        "tier.1.place.where.0: Input should be 'home'",
    ),
    (
        '["clinic_with_director"]',
        "[]",
        "where = []",
        1,
        "tier.1.place.where: List should have at least 1",
    ),
    (
        'kinds = ["pen", "roller"]',
        'kinds = "pen"',
        'kinds = "pen"',
        1,
        "device.kinds: Input should be a",
    ),
    ("cleared_class_ii", "class_ii", "class_ii = ", 1, "perhaps cleared_class_ii is meant"),
    ("needed = true\n", "", "[tier.screening]", 1, "tier.1.screening.needed: Field required"),
    (
        "treatments_least = 3",
        "treatments_least = 6",
        "= 6",
        1,
        "must not be more than treatments_most, 5",
    ),
    ("interval_least_days = 28", "interval_least_days = 2.5", "days = 2.5", 1, "integer"),
    ("least_minutes = 45", "least_minutes = 61", "= 61", 1, "must not be more than most_minutes, 60"),
    ("tolerance_percent = 50", "tolerance_percent = 101", "101", 1, "less than or equal to 100"),
    ("least_hours = 48", "least_hours = 200", "= 200", 1, "must not be more than most_hours, 168"),
    ('tell = "One week."\n', "", "[tier.healing]", 1, "tier.1.healing.tell: Field required"),
    (
        '["Choice: a place."]',
        "[]",
        "citation = []",
        1,
        "tier.1.place.citation: List should have at least",
    ),
    ('["Choice: a place."]', '["because of it"]', "because", 1, "must begin with where it is from"),
    ('["Choice: a place."]', '["000: it says so."]', "it says so", 1, "must quote the document"),
    (
        'condition = "cold-sores"',
        'condition = "rosacea"',
        '"rosacea"',
        2,
        "refusal.1.condition: entry 1",
    ),
    (
        'action = "prevent"',
        'action = "wait"',
        '"wait"',
        1,
        "refusal.1.action: Input should be 'refuse'",
    ),
    ('tiers = ["medical"]\ntext = "R', 'tiers = ["home"]\ntext = "R', '"home"', 1, "no tier home"),
    ('code = "DEPTH_EXCEEDED"', 'code = "TOO_DEEP"', "TOO_DEEP", 1, "rule.0.code: Input should be"),
    ('code = "RECORD_GAP"', 'code = "DEPTH_EXCEEDED"', "DEPTH_EXCEEDED", 2, "rule.1.code: entry 1 has"),
    ('outcome = "review"', 'outcome = "compliant"', "compliant", 1, "'review' or 'violation'"),
    (
        'severity = "soft"',
        'severity = "gentle"',
        "gentle",
        1,
        "rule.1.severity: Input should be 'hard'",
    ),
    (
        '[[rule]]\ncode = "RECORD_GAP"',
        '[[rules]]\ncode = "RECORD_GAP"',
        "[[rules]]",
        1,
        "perhaps rule is",
    ),
    (
        '[[rule]]\ncode = "DEPTH',
        '[grant]\nlife_hours = 0\n[[rule]]\ncode = "DEPTH',
        "hours = 0",
        1,
        "grant",
    ),
    (
        '[[rule]]\ncode = "DEPTH',
        '[clock]\ntick = 1\n[[rule]]\ncode = "DEPTH',
        "tick",
        1,
        "expected one of agr",
    ),
]


@pytest.mark.parametrize(("old", "new", "at", "nth", "said"), MISTAKES)
def test_a_mistake_is_told_with_its_line_and_what_was_expected(
    old: str, new: str, at: str, nth: int, said: str, tmp_path: Path
) -> None:
    assert old in SMALL
    text = SMALL.replace(old, new, 1)
    found = complaints(tmp_path, small=text)
    wanted = f"{tmp_path / 'small.toml'}:{line_with(text, at, nth)}: "
    assert [one for one in found if one.startswith(wanted) and said in one], found


SHAPES = [
    ("tier = 3\n", 5, "tier: Input should be a valid list"),
    ("tier = [3]\n", 5, "tier.0: Input should be a valid dictionary"),
    ("grant = []\n", 5, "grant: Input should be a valid dictionary"),
    ('[[tier]]\nname = "medical"\nwho = "nurse"\n', 7, "tier.0.who: Input should be a valid list"),
    ('[[tier]]\nname = "medical"\nwho = ["nurse"]\n', 7, "tier.0.who.0: Input should be"),
    ('[[tier]]\nname = "medical"\nplace = "home"\n', 7, "tier.0.place: Input should be"),
    ("[[tier]]\nname = 3\n", 6, "tier.0.name: Input should be 'home'"),
    ("[tier]\nname = 3\n", 5, "tier: Input should be a valid list"),
    ("remove = 3\n", 5, "remove: Input should be a valid list"),
    ("remove = [3]\n", 5, "remove.0: Input should be a valid string"),
]


@pytest.mark.parametrize(("text", "line", "said"), SHAPES)
@pytest.mark.parametrize("is_laid_over", [False, True])
def test_what_is_no_table_where_one_should_be(
    text: str, line: int, said: str, is_laid_over: bool, tmp_path: Path
) -> None:
    own = HEAD + text if is_laid_over else HEAD.replace('extends = "small"\n', "") + text
    found = complaints(tmp_path, "child", small=SMALL, child=own)
    wanted = f"{tmp_path / 'child.toml'}:{line + is_laid_over}: {said}"
    assert [one for one in found if one.startswith(wanted)], found


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("max_mm = 2.5", "max_mm = 25").replace('"nurse"', '""')
    text = text.replace('severity = "soft"', "severity = 1").replace("needed = true", "need = true")
    found = complaints(tmp_path, small=text)
    lines = {int(one.split(":")[1]) for one in found}
    wanted = [("max_mm = 25", 1), ('credential = ""', 1), ('credential = ""', 2), ("severity = 1", 1)]
    wanted += [("need = true", 1), ("[tier.screening]", 1)]
    assert lines == {line_with(text, at, nth) for at, nth in wanted}
    assert len(found) == 6


def test_every_mistake_of_sense_is_told_at_once(tmp_path: Path) -> None:
    text = SMALL.replace('fallback = "cosmetic"', 'fallback = "nano"')
    text = text.replace('tier = "cosmetic"', 'tier = "home"')
    text = text.replace('code = "RECORD_GAP"', 'code = "DEPTH_EXCEEDED"')
    text = text.replace('tiers = ["medical"]', 'tiers = ["medical", "home"]', 1)
    found = complaints(tmp_path, small=text)
    wanted = ['code = "DEPTH_EXCEEDED"', 'tier = "home"', 'fallback = "nano"', '["medical", "home"]']
    expected = [line_with(text, one, 1 + one.startswith("code")) for one in wanted]
    assert [int(one.split(":")[1]) for one in found] == expected


# ---- over another pack ----


OVER = [
    # the child's text, what its line holds, what must be said
    (
        '[[tier]]\nname = "medical"\nmax_mm = 25\n' + CITED,
        "max_mm",
        "tier.0.max_mm: Input should be less",
    ),
    (
        '[[tier]]\nname = "medical"\n[[tier.who]]\ncredential = "barber"\n' + CITED,
        "[[tier.who]]",
        "tier.0.who.0.supervision: Field required",
    ),
    (
        '[[tier]]\nname = "medical"\n[[tier.who]]\ncredential = "nurse"\nsupervison = "none"\n' + CITED,
        "supervison",
        "tier.0.who.0.supervison: this key is not known here; check its spelling; perhaps supervision",
    ),
    ('[[tier]]\nname = "home"\n', "[[tier]]", "tier.0.max_mm: Field required"),
    ('[[tier]]\nname = "medical"\nmax_mm = 1\n', "[[tier]]", "so its citation is expected here"),
    ('[[tier]]\nname = "medical"\nmax_mm = 0.4\n' + CITED, "max_mm", "no depth lies between"),
    ('[[tier]]\nname = "medical"\nmin_mm = 2.7\n' + CITED, "min_mm", "no depth lies between"),
    (
        '[[tier]]\nname = "medical"\n[tier.course]\n' + CITED,
        "[tier.course]",
        "expected at least one of",
    ),
    ('[[rule]]\ncode = "RECORD_GAP"\noutcome = "review"\n' + CITED, "[[rule]]", "rule.0.text: Field"),
    ('[[refusal]]\ncondition = "x"\ntiers = ["home"]\ntext = "X."\n' + CITED, "tiers", "no tier home"),
    ("[grant]\nlife_hours = 9000\n", "life_hours", "grant.life_hours: Input should be less"),
    ('remove = ["tier.nano"]\n', "remove", "remove.0: tier.nano is not in small"),
    ('remove = [\n  "rule.RECORD_GAP",\n  "rule.SENSOR_FAULT"\n]\n', "SENSOR", "remove.1: rule.SENSOR"),
    ('extends_version = "2"\n', "extends_version", "was written over small 2, which is now 1"),
    ('[[tier]]\nname = "medical"\n[[tier]]\nname = "medical"\n', "[[tier]]", "Field required"),
]


@pytest.mark.parametrize(("text", "at", "said"), OVER)
def test_a_mistake_in_a_pack_that_is_laid_over_another(
    text: str, at: str, said: str, tmp_path: Path
) -> None:
    own = HEAD + text
    found = complaints(tmp_path, "child", small=SMALL, child=own)
    lines = [number for number, line in enumerate(own.splitlines(), 1) if at in line]
    wanted = {f"{tmp_path / 'child.toml'}:{line}: " for line in lines}
    assert [one for one in found if one.partition(": ")[0] + ": " in wanted and said in one], found
    assert not [one for one in found if "small.toml" in one]


def test_what_is_wrong_in_the_other_pack_is_told_with_its_file(tmp_path: Path) -> None:
    broken = SMALL.replace("needed = true", "needed = 7")
    found = complaints(tmp_path, "child", small=broken, child=HEAD)
    line = line_with(broken, "needed = 7")
    assert found[0].startswith(f"{tmp_path / 'small.toml'}:{line}: tier.1.screening.needed: ")
    assert len(found) == 1


def test_what_a_pack_makes_wrong_in_the_other_is_told_with_both_files(tmp_path: Path) -> None:
    gone = '[without_badge]\ntier = "medical"\n' + CITED
    child = HEAD + 'remove = ["tier.cosmetic"]\n' + gone
    found = complaints(tmp_path, "child", small=SMALL, child=child)
    small, own = tmp_path / "small.toml", tmp_path / "child.toml"
    line = line_with(SMALL, "fallback = ")
    assert found == [
        f"{small}:{line}: tier.1.fallback: the fallback to cosmetic leads nowhere "
        f"(once {own} is laid over it)."
    ]


def test_a_place_in_the_other_packs_list_is_told_as_it_is_there(tmp_path: Path) -> None:
    """In the outcome `cold-sores` is the first refusal; in its own file it is the second."""
    child = HEAD + 'remove = ["refusal.rosacea", "tier.medical"]\n'
    found = complaints(tmp_path, "child", small=SMALL, child=child)
    line = line_with(SMALL, 'tiers = ["medical"]', 2)
    assert found[0].startswith(f"{tmp_path / 'small.toml'}:{line}: refusal.1.tiers.0: ")


# ---- what is extended ----


def test_an_unknown_pack_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    [found] = complaints(tmp_path, "child", child=HEAD)
    assert found.startswith(f"{tmp_path / 'child.toml'}:5: extends: there is no policy pack 'small'. ")
    assert found.endswith(".")
    for known in ("child", "default", "us-ca"):
        assert known in found.partition("Known packs: ")[2]


@pytest.mark.parametrize("name", ["../small", "/small", "a/../small", ""])
def test_a_pack_is_extended_by_its_name_alone(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    write(tmp_path, small=SMALL)
    [found] = complaints(folder, "child", child=HEAD.replace('"small"', f'"{name}"'))
    assert "there is no policy pack" in found


def test_a_pack_can_not_extend_itself(tmp_path: Path) -> None:
    own = HEAD.replace('"small"', '"child"')
    [found] = complaints(tmp_path, "child", child=own)
    assert found == (
        f"{tmp_path / 'child.toml'}:5: extends: a pack can not extend itself: child extends child."
    )


def test_packs_can_not_extend_each_other(tmp_path: Path) -> None:
    packs = {
        name: HEAD.replace('"child"', f'"{name}"').replace('"small"', f'"{below}"')
        for name, below in (("a", "b"), ("b", "c"), ("c", "a"))
    }
    [found] = complaints(tmp_path, "a", **packs)
    assert found.startswith(f"{tmp_path / 'c.toml'}:5: ")
    assert "a extends b extends c extends a" in found


def test_a_clinics_pack_can_not_take_the_name_of_the_one_that_it_extends(tmp_path: Path) -> None:
    own = HEAD.replace('"child"', '"default"').replace('"small"', '"default"')
    [found] = complaints(tmp_path, "default", default=own)
    assert "default extends default" in found


def test_text_that_is_no_toml(tmp_path: Path) -> None:
    [found] = complaints(tmp_path, "small", small="[tier\n")
    assert found.startswith(f"{tmp_path / 'small.toml'}: is not valid TOML: ")
    assert "line 1" in found


def test_every_pack_that_comes_with_needletrail_is_in_order() -> None:
    for path in packs_folder().glob("*.toml"):
        assert read_pack_file(path).policy.name == path.stem
