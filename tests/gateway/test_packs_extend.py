"""One pack laid over another: what is replaced, what stays, what goes, and where everything is from."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack_files import HEAD, SHIPPED, SMALL, over_small, write

from needletrail_gateway.core.packs.extend import Sheet, assemble, lay, take_apart
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.packs.words import lines
from needletrail_gateway.shell.documents import packs_folder, read_pack, read_pack_file, read_policy

# ---- what a pack can change ----


def small_policy(folder: Path) -> Policy:
    return read_pack_file(write(folder, small=SMALL) / "small.toml").policy


def differing(before: Policy, after: Policy) -> set[str]:
    """The lines that are not the same."""
    old, new = (
        {line.subject: (line.words, line.citations) for line in lines(one)} for one in (before, after)
    )
    return {subject for subject in old.keys() | new.keys() if old.get(subject) != new.get(subject)}


def test_a_pack_that_says_nothing_is_the_other_under_its_own_name(tmp_path: Path) -> None:
    child = over_small(tmp_path).policy
    assert differing(small_policy(tmp_path), child) == set()
    assert (child.name, child.version, child.extends) == ("child", "1", "small")
    assert child.describes == "Laid over small."
    assert child.effective.isoformat() == "2026-02-01"
    assert child.lineage == ["small 1"]


CITED = 'citation = ["Choice: new."]\n'
WHO = '[[tier]]\nname = "{}"\n[[tier.who]]\ncredential = "{}"\nsupervision = "{}"\n' + CITED


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        (WHO.format("medical", "nurse", "none"), {"medical who nurse"}),
        (WHO.format("cosmetic", "barber", "none"), {"cosmetic who barber"}),
        (
            '[[tier]]\nname = "cosmetic"\nmax_mm = 0.3\ncitation = ["Choice: less."]\n',
            {"cosmetic depth", "without badge"},
        ),
        ('[[tier]]\nname = "cosmetic"\nhard = false\n', {"cosmetic interlock"}),
        (
            '[[tier]]\nname = "cosmetic"\n[tier.place]\nwhere = ["home"]\n' + CITED,
            {"cosmetic where"},
        ),
        (
            '[[tier]]\nname = "medical"\n[tier.course]\ntreatments_most = 2\n' + CITED,
            {"medical course"},
        ),
        (
            '[[rule]]\ncode = "RECORD_GAP"\noutcome = "violation"\ntext = "No."\n' + CITED,
            {"finding RECORD_GAP"},
        ),
        ("[grant]\nlife_hours = 1\n", {"grant"}),
        ("[clock]\nagrees_within_s = 60\n", {"clock"}),
        ('[without_badge]\ntier = "medical"\n' + CITED, {"without badge"}),
        (
            '[[refusal]]\ncondition = "hiccups"\ntiers = ["medical"]\ntext = "H."\n' + CITED,
            {"refusal hiccups"},
        ),
    ],
)
def test_nothing_changes_but_what_the_pack_says(text: str, subjects: set[str], tmp_path: Path) -> None:
    child = over_small(tmp_path, text)
    assert differing(small_policy(tmp_path), child.policy) == subjects
    own = {line.subject for line in lines(child.policy) if child.origin(line.path) == "child"}
    assert own <= subjects
    assert own >= subjects - {"without badge"}, "its words name the tier's depth"


def test_a_rule_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the old one stays: not its own limit either."""
    medical = over_small(tmp_path, WHO.format("medical", "nurse", "none")).policy.find_tier("medical")
    assert medical is not None
    nurse = medical.rule_for("nurse")
    assert nurse is not None
    assert (nurse.max_mm, nurse.citation) == (None, ["Choice: new."])
    assert [who.credential for who in medical.who] == ["physician", "nurse"]


def test_the_depths_citation_comes_anew_and_that_for_another_key_stays(tmp_path: Path) -> None:
    text = '[[tier]]\nname = "cosmetic"\nmax_mm = 0.3\ncitation = ["Choice: less."]\n'
    for more, expected in (
        ("", ["Choice: less.", "House rule for `hard`: it stops."]),
        ("hard = false\n", ["Choice: less."]),
    ):
        tier = over_small(tmp_path, text + more).policy.find_tier("cosmetic")
        assert tier is not None
        assert tier.citation == expected
        assert (tier.max_mm, tier.inclusive, tier.hard) == (0.3, False, not more)
        assert len(tier.who) == 2


def test_a_key_without_a_citation_keeps_those_of_the_others(tmp_path: Path) -> None:
    tier = over_small(tmp_path, '[[tier]]\nname = "cosmetic"\nhard = false\n').policy.find_tier(
        "cosmetic"
    )
    assert tier is not None
    assert tier.citation == ["Choice: a depth."]


@pytest.mark.parametrize(
    ("remove", "gone"),
    [
        ("tier.medical.who.nurse", {"medical who nurse"}),
        ("tier.medical.who", {"medical who nurse", "medical who physician", "medical who"}),
        ("tier.medical.place", {"medical where"}),
        ("tier.medical.course", {"medical course"}),
        ("tier.medical.duration.full-face", {"medical duration full-face"}),
        ("refusal.rosacea", {"refusal rosacea"}),
        ("rule.RECORD_GAP", {"finding RECORD_GAP"}),
        ("grant", set()),
    ],
)
def test_things_are_taken_away(remove: str, gone: set[str], tmp_path: Path) -> None:
    """With a tier's last credential comes the line that nobody may work in it."""
    write(tmp_path, small=SMALL + "[grant]\nlife_hours = 24\n")
    (tmp_path / "child.toml").write_text(HEAD + f'remove = ["{remove}"]\n')
    child = read_pack_file(tmp_path / "child.toml").policy
    assert differing(small_policy(tmp_path), child) == gone
    assert child.remove == [remove]


def test_a_tier_is_taken_away_with_all_that_is_in_it(tmp_path: Path) -> None:
    removed = 'remove = ["tier.medical", "refusal.rosacea", "refusal.cold-sores"]\n'
    assert [tier.name for tier in over_small(tmp_path, removed).policy.tier] == ["cosmetic"]


def test_what_is_taken_away_can_be_said_anew(tmp_path: Path) -> None:
    text = 'remove = ["tier.medical"]\n[[tier]]\nname = "medical"\nmax_mm = 1\ninclusive = true\n'
    tier = over_small(tmp_path, text + CITED).policy.find_tier("medical")
    assert tier is not None
    assert (tier.min_mm, tier.max_mm, tier.who, tier.place) == (0, 1, [], None)


def test_three_packs(tmp_path: Path) -> None:
    write(tmp_path, small=SMALL, child=HEAD + WHO.format("cosmetic", "barber", "none"))
    grand = HEAD.replace('name = "child"', 'name = "grand"').replace('"small"', '"child"')
    write(tmp_path, grand=grand + 'remove = ["tier.cosmetic.who.nurse"]\n')
    pack = read_pack_file(tmp_path / "grand.toml")
    assert pack.policy.lineage == ["child 1", "small 1"]
    cosmetic = pack.policy.find_tier("cosmetic")
    assert cosmetic is not None
    assert [who.credential for who in cosmetic.who] == ["esthetician", "barber"]
    origins = {line.subject: pack.origin(line.path) for line in lines(pack.policy)}
    assert origins["cosmetic who barber"] == "child"
    assert origins["cosmetic who esthetician"] == "small"


def test_a_pack_of_ones_own_extends_one_that_comes_with_needletrail(tmp_path: Path) -> None:
    write(tmp_path, child=HEAD.replace('"small"', '"us-ca"') + "[grant]\nlife_hours = 1\n")
    pack = read_pack("child", tmp_path)
    assert [line.split()[0] for line in pack.policy.lineage] == ["us-ca", "default"]
    assert pack.policy.grant.life_hours == 1
    assert pack.policy.grant.citation == read_policy("default").grant.citation
    assert pack.files["us-ca"] == packs_folder() / "us-ca.toml"


def test_the_version_of_the_other_pack_can_be_held(tmp_path: Path) -> None:
    assert over_small(tmp_path, 'extends_version = "1"\n').policy.extends_version == "1"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_value_of_a_shipped_pack_has_an_origin(name: str) -> None:
    pack = read_pack(name)
    names = {name, *(one.split()[0] for one in pack.policy.lineage)}
    for line in lines(pack.policy):
        assert pack.origin(line.path) in names
    assert set(pack.files) == names


def test_what_no_pack_says_is_built_in(tmp_path: Path) -> None:
    child = over_small(tmp_path, "[clock]\nagrees_within_s = 10\n")
    origins = {line.subject: child.origin(line.path) for line in lines(child.policy)}
    assert (origins["grant"], origins["clock"]) == ("built in", "child")
    assert origins["medical interlock"] == "small"


# ---- laws ----


CITATIONS = st.lists(
    st.sampled_from(["Choice: one.", "Choice: two.", "Rule for `hard`: a.", "Rule for `fallback`: b."]),
    min_size=1,
    max_size=3,
    unique=True,
)


def tables(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


def named(key: str, names: list[str], **keys: Any) -> st.SearchStrategy[list[dict[str, Any]]]:
    entry = st.fixed_dictionaries({key: st.sampled_from(names)}, optional=keys)
    return st.lists(entry, max_size=3, unique_by=lambda one: one[key])


NUMBERS = st.integers(0, 3)
TIERS = named(
    "name",
    ["home", "nano", "medical"],
    max_mm=NUMBERS,
    hard=st.booleans(),
    fallback=st.sampled_from(["home", "nano"]),
    citation=CITATIONS,
    who=named("credential", ["nurse", "barber"], max_mm=NUMBERS, citation=CITATIONS),
    course=tables(treatments_most=NUMBERS, citation=CITATIONS),
    duration=named("area", ["face", "scar"], least_minutes=NUMBERS),
)
REMOVED = st.lists(
    st.sampled_from(
        [
            "tier.home",
            "tier.nano.who",
            "tier.medical.who.nurse",
            "tier.medical.course",
            "rule.A",
            "grant",
        ]
    ),
    max_size=2,
    unique=True,
)
DOCUMENTS = tables(
    version=st.sampled_from(["1", "2"]),
    grant=tables(life_hours=NUMBERS, when_expired=NUMBERS, citation=CITATIONS),
    without_badge=tables(tier=NUMBERS, citation=CITATIONS),
    tier=TIERS,
    rule=named("code", ["A", "B"], text=NUMBERS),
    refusal=named("condition", ["C", "D"], text=NUMBERS),
    odd=NUMBERS,
)
WHOLE = DOCUMENTS
PARTIAL = st.tuples(DOCUMENTS, REMOVED).map(lambda both: {**both[0], "remove": both[1]})


def document_of(sheet: Sheet) -> dict[str, Any]:
    return assemble(sheet)[0]


@given(WHOLE, PARTIAL, PARTIAL)
def test_of_three_packs_any_two_may_be_laid_first(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    a, b, c = (take_apart(name, one) for name, one in zip("abc", (first, second, third), strict=True))
    left, right = lay(lay(a, b), c), lay(a, lay(b, c))
    assert document_of(left) == document_of(right)
    assert list(left.pieces) == list(right.pieces)
    assert left.removed == right.removed
    assert assemble(left)[1] == assemble(right)[1], "the origins, too"


@given(WHOLE)
def test_a_pack_over_itself_changes_nothing(document: dict[str, Any]) -> None:
    sheet = take_apart("a", document)
    assert document_of(sheet) == document_of(lay(sheet, sheet))


@given(WHOLE)
def test_taken_apart_and_assembled_it_is_the_same(document: dict[str, Any]) -> None:
    kept = document_of(take_apart("a", document))
    for tier in document.get("tier", []):
        for key in ("who", "duration"):
            if not tier.get(key, True):  # an empty list is as if it were not there
                del tier[key]
    assert kept == {key: one for key, one in document.items() if one != [] or key == "odd"}


@given(WHOLE, PARTIAL)
def test_what_the_child_says_holds(parent: dict[str, Any], child: dict[str, Any]) -> None:
    """Whatever the child gives stands in the outcome, and nothing that neither gave."""
    a, b = take_apart("a", parent), take_apart("b", child)
    both = lay(a, b)
    for address, piece in b.pieces.items():
        for key, value in piece.values.items():
            found = both.pieces[address].values[key]
            assert found == value if key != "citation" else found[: len(value)] == value
    for address, piece in both.pieces.items():
        assert address in a.pieces or address in b.pieces
        assert set(piece.values) <= set(a.pieces.get(address, piece).values) | set(
            b.pieces.get(address, piece).values
        )


KEYS = st.sampled_from(["tier", "who", "name", "grant", "rule", "remove", "code", "course"])
ODD = st.recursive(
    st.none() | NUMBERS | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(ODD)
def test_what_is_out_of_shape_is_carried_along(value: Any) -> None:
    """Nothing fails before the model, which says what is wrong with it."""
    document = value if isinstance(value, dict) else {"tier": value}
    sheet = take_apart("a", document)
    assemble(lay(sheet, sheet))
    for shape in (lay(take_apart("b", {"tier": [{"name": "home"}]}), sheet), lay(sheet, sheet)):
        assert shape.pieces
