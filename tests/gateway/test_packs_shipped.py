"""The packs that come with Needletrail: what each says, and that it quotes what was written.

The source documents lie beside the repository, where there are any. What was once compared with them is
kept as digests (verified_quotations.json): no quotation can be changed or added without them, and then
`python tests/gateway/test_packs_shipped.py` compares all anew and writes the digests.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pack_files import SHIPPED

from needletrail_gateway.core.packs.model import Code, Policy
from needletrail_gateway.core.packs.schema import FILE, pack_schema
from needletrail_gateway.core.packs.words import lines
from needletrail_gateway.core.registry.model import Tier
from needletrail_gateway.shell.documents import packs_folder, read_pack, read_policy

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ROOT.parent / "shared" / "seeds"
VERIFIED = Path(__file__).with_name("verified_quotations.json")

TIERS = list(Tier.__args__)  # type: ignore[attr-defined]
PROFESSIONALS = ("esthetician", "master_esthetician", "nurse", "nurse_practitioner")
PROFESSIONALS += ("physician_assistant", "physician")


def band(policy: Policy, tier: str) -> tuple[float, bool, float, bool]:
    found = policy.find_tier(tier)
    assert found is not None
    return found.min_mm, found.min_inclusive, found.max_mm, found.inclusive


def who(policy: Policy, tier: str) -> dict[str, tuple[Any, ...]]:
    """{credential: (supervision, own limit, inclusive)} of a tier."""
    found = policy.find_tier(tier)
    assert found is not None
    return {one.credential: (one.supervision, one.max_mm, one.inclusive) for one in found.who}


FREE = ("none", None, True)
WATCHED = ("on_premises", None, True)
DOCTORS = {
    "physician": FREE,
    "nurse_practitioner": WATCHED,
    "physician_assistant": WATCHED,
    "nurse": WATCHED,
}


# ---- all of them ----


def test_they_are_those_that_the_documents_name() -> None:
    documents = [f"document-{number:03}" for number in range(5)]
    assert ["default", *documents, "us-az", "us-ca", "us-fl", "us-ut"] == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_whole(name: str) -> None:
    policy = read_policy(name)
    assert {tier.name for tier in policy.tier} == set(TIERS)
    assert {rule.code for rule in policy.rule} == set(Code.__args__)  # type: ignore[attr-defined]
    for line in lines(policy):
        assert line.words
        assert line.citations or line.address[1:] == ("interlock",), line
    for tier in policy.tier:
        assert tier.place is not None
        assert tier.device is not None
        assert tier.who
        if tier.name in ("medical", "radio-frequency"):
            assert tier.requires_medical_director
            assert tier.requires_cleared_device


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "default"])
def test_each_says_something_that_default_does_not(name: str) -> None:
    pack = read_pack(name)
    assert pack.policy.lineage == [f"default {read_policy('default').version}"]
    own = [line for line in lines(pack.policy) if pack.origin(line.path) == name]
    assert own
    assert not [line for line in own if line.address[0] in ("finding", "grant", "clock")]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_names_its_schema_for_editors(name: str) -> None:
    assert (packs_folder() / f"{name}.toml").read_text().startswith(f"#:schema ./{FILE}\n")


def test_what_may_be_overridden_is_never_a_violation() -> None:
    for rule in read_policy("default").rule:
        assert rule.severity == ("soft" if rule.outcome == "review" else "hard"), rule.code


# ---- what each says ----


BANDS = {
    # home, nano, cosmetic, medical, radio-frequency
    "default": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
    "document-000": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
    "document-001": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
    "document-002": ("<=0.25", "<=0.25", "<=0.25", "0.5..2", "0.5..2"),
    "document-003": ("<0.5", "<=0.25", "0.2..0.3", "0.5..3", "0.5..2.5"),
    "document-004": ("<=0.5", "<=0.25", "<=0", "0.5..2.5", "0.5..2.5"),
    "us-az": ("<0.5", "<=0.25", "<=0.5", "0.5..2.5", "0.5..2.5"),
    "us-ca": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
    "us-fl": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
    "us-ut": ("<0.5", "<=0.25", "<0.5", "0.5..2.5", "0.5..2.5"),
}


def spelt(least: float, least_inclusive: bool, most: float, most_inclusive: bool) -> str:
    assert least_inclusive
    if least:
        assert most_inclusive
        return f"{least:g}..{most:g}"
    return f"{'<=' if most_inclusive else '<'}{most:g}"


@pytest.mark.parametrize("name", SHIPPED)
def test_depths(name: str) -> None:
    policy = read_policy(name)
    found = tuple(spelt(*band(policy, tier)) for tier in TIERS)
    assert found == BANDS[name]


ZERO = ("none", 0, True)
BELOW_250_UM = ("none", 0.25, False)
UTAH = ("none", 1.5, True)
MEDICAL = {
    "default": {**DOCTORS, "master_esthetician": UTAH},
    "document-000": DOCTORS,
    "document-001": {name: ("documented", None, True) for name in PROFESSIONALS} | {"physician": FREE},
    "document-002": {**DOCTORS, "master_esthetician": UTAH},
    "document-003": {"physician": FREE, "nurse": WATCHED, "technician": WATCHED},
    "document-004": DOCTORS,
    "us-az": DOCTORS,
    "us-ca": DOCTORS,
    "us-fl": DOCTORS,
    "us-ut": {**DOCTORS, "master_esthetician": UTAH},
}
ALL_FREE = dict.fromkeys(PROFESSIONALS, FREE)
COSMETIC = dict.fromkeys(SHIPPED, ALL_FREE) | {
    "document-001": {**ALL_FREE, "client": FREE},
    "document-003": {"esthetician": FREE, "master_esthetician": FREE},
    "us-ca": {**ALL_FREE, "esthetician": ZERO, "master_esthetician": ZERO},
    "us-fl": {
        **ALL_FREE,
        "esthetician": BELOW_250_UM,
        "master_esthetician": BELOW_250_UM,
        "facial_specialist": BELOW_250_UM,
    },
}
NANO = dict.fromkeys(SHIPPED, ALL_FREE) | {
    "document-004": {**ALL_FREE, "esthetician": ZERO, "master_esthetician": ZERO},
    "us-ca": COSMETIC["us-ca"],
    "us-fl": COSMETIC["us-fl"],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_who(name: str) -> None:
    policy = read_policy(name)
    assert who(policy, "medical") == MEDICAL[name]
    assert who(policy, "cosmetic") == COSMETIC[name]
    assert who(policy, "nano") == NANO[name]
    assert who(policy, "home") == {"client": FREE}
    assert who(policy, "radio-frequency") == DOCTORS


def test_whom_document_000_refuses_medical_needling() -> None:
    policy = read_policy("document-000")
    refused = {
        "collagen-vascular-disease",
        "cardiac-abnormality",
        "rosacea",
        "blood-clotting-problem",
        "blood-thinner",
        "active-bacterial-infection",
        "active-fungal-infection",
        "immunosuppression",
        "scar-under-six-months",
    }
    for name in ("default", "document-000"):
        policy = read_policy(name)
        assert {one.condition for one in policy.refusals_for("medical")} == {
            *refused,
            "untested-product",
        }
        assert {one.condition for one in policy.refusals_for("cosmetic")} == {"untested-product"}
        assert policy.refusals_for("home") == []
        assert [one.condition for one in policy.preventions_for("medical")] == ["cold-sores"]
        assert policy.preventions_for("cosmetic") == []


def test_course_duration_and_healing() -> None:
    default, by_004 = read_policy("default"), read_policy("document-004")
    course = default.course_for("medical")
    assert course is not None
    assert (course.interval_least_days, course.treatments_least, course.treatments_most) == (28, 3, 5)
    face, scar = (default.duration_for("medical", area) for area in ("full-face", "single-scar"))
    assert face is not None
    assert scar is not None
    assert face.plausible_ms == (22.5 * 60_000, 90 * 60_000)
    assert scar.plausible_ms == (2.5 * 60_000, 7.5 * 60_000)
    literal = by_004.duration_for("medical", "full-face")
    assert literal is not None
    assert literal.plausible_ms == (45 * 60_000, 60 * 60_000)
    assert default.duration_for("cosmetic", "full-face") is None
    told = {tier: default.healing_for(tier) for tier in ("cosmetic", "medical")}
    hours = {tier: (one.least_hours, one.most_hours) for tier, one in told.items() if one}
    assert hours == {"cosmetic": (48, 72), "medical": (48, 168)}


def test_no_document_asks_for_a_questionnaire_on_record() -> None:
    for name in SHIPPED:
        policy = read_policy(name)
        assert [tier for tier in TIERS if policy.screening_for(tier)] == []


def test_what_is_asked_of_cartridges() -> None:
    policy = read_policy("default")
    for tier in ("nano", "cosmetic", "medical", "radio-frequency"):
        rule = policy.cartridge_for(tier)
        assert rule is not None
        assert rule.single_use
        assert rule.unexpired
        assert rule.not_recalled
        assert rule.needle_limits_depth
        assert rule.sterile is (tier in ("medical", "radio-frequency"))


# ---- quotations ----


def plain(text: str) -> str:
    """One form of spaces, dashes and quotation marks."""
    for old, new in ("\u2019'", "\u2018'", "\u2013-", "\u2014-", '\u201c"', '\u201d"'):
        text = text.replace(old, new)
    return " ".join(text.split())


def quotations(citation: str) -> Iterator[tuple[str, str]]:
    """(document, what is quoted) of a citation; a quotation is of the document named last before it."""
    document = None
    for number, quoted in re.findall(r"\b(00[0-4])\b|“([^“”]*)”", citation):
        document = number or document
        if quoted and document is not None:
            yield document, plain(quoted)


def citations(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value.get("citation", [])
        for one in value.values():
            yield from citations(one)
    elif isinstance(value, list):
        for one in value:
            yield from citations(one)


def quoted_in_packs() -> set[tuple[str, str]]:
    found = set()
    for name in SHIPPED:
        text = (packs_folder() / f"{name}.toml").read_text(encoding="utf-8")
        for citation in citations(tomllib.loads(text)):
            found.update(quotations(citation))
    return found


def digest(document: str, quoted: str) -> str:
    return hashlib.sha256(f"{document}: {quoted}".encode()).hexdigest()


def not_in_the_documents() -> list[tuple[str, str]]:
    texts = {path.name[:3]: plain(path.read_text(encoding="utf-8")) for path in DOCUMENTS.iterdir()}
    return [(number, quoted) for number, quoted in quoted_in_packs() if quoted not in texts[number]]


def test_every_quotation_stands_in_its_document() -> None:
    if DOCUMENTS.is_dir():
        assert not_in_the_documents() == []
    verified = set(json.loads(VERIFIED.read_text(encoding="utf-8")))
    found = quoted_in_packs()
    assert len(found) > 50
    assert {digest(*one) for one in found} == verified


def test_quotations_are_found_and_told_apart() -> None:
    text = "Conflict kept visible: 002: “a  b”; 003 says “c\u2019d”, and 004: “e \u2013 f”."
    assert list(quotations(text)) == [("002", "a b"), ("003", "c'd"), ("004", "e - f")]
    assert list(quotations("Utah R156: “does not exceed 1.5 mm”.")) == []


# ---- the schema ----


def test_the_schema_beside_the_packs_is_that_of_the_model() -> None:
    kept = json.loads((packs_folder() / FILE).read_text(encoding="utf-8"))
    assert kept == pack_schema()


def mistakes(value: Any, schema: dict[str, Any], root: dict[str, Any], place: str = "") -> list[str]:
    """What a schema says against a TOML document: as much of JSON Schema as this one uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]] | {
            key: one for key, one in schema.items() if key != "$ref"
        }
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool}
    kinds |= {"number": (int, float), "integer": int}  # type: ignore[dict-item]
    if "format" in schema:
        value = value.isoformat() if hasattr(value, "isoformat") else value
    is_number = schema.get("type") in ("number", "integer")
    if not isinstance(value, kinds[schema["type"]]) or (is_number and isinstance(value, bool)):
        return [f"{place}: type"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: enum")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{place}: pattern")
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{place}: range")
    if isinstance(value, str | list):
        least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if not schema.get(least, 0) <= len(value) <= schema.get(most, len(value)):
            found.append(f"{place}: length")
    if isinstance(value, list):
        for index, one in enumerate(value):
            found += mistakes(one, schema["items"], root, f"{place}.{index}")
    if isinstance(value, dict):
        required = set(schema.get("required", []))
        if "if" in schema and "extends" not in value:
            required |= set(schema["then"]["required"])
        found += [f"{place}.{key}: required" for key in sorted(required - value.keys())]
        for key, one in value.items():
            if key in schema["properties"]:
                found += mistakes(one, schema["properties"][key], root, f"{place}.{key}")
            else:
                found.append(f"{place}.{key}: unknown")
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_an_editor_finds_no_mistake_in_a_shipped_pack(name: str) -> None:
    schema = pack_schema()
    document = tomllib.loads((packs_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    assert mistakes(document, schema, schema) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hard = true", "harsh = true", ".tier.0.harsh: unknown"),
        ("max_mm = 2.5", 'max_mm = "2.5"', ".tier.1.max_mm: type"),
        ("max_mm = 2.5", "max_mm = 25", ".tier.1.max_mm: range"),
        ('name = "nano"', 'name = "micro"', ".tier.3.name: enum"),
        ('version = "2026.12.1"', "", ".version: required"),
        ('tier = "cosmetic"', "", ".without_badge.tier: required"),
        ('supervision = "none"', "", ".tier.0.who.0.supervision: required"),
        (
            '["000: “Collagen vascular diseases',
            '["“Collagen vascular diseases',
            ".refusal.0.citation.0: pattern",
        ),
        ('where = ["home"]', "where = []", ".tier.2.place.where: length"),
        ('outcome = "violation"', 'outcome = "compliant"', ".rule.0.outcome: enum"),
    ],
)
def test_an_editor_finds_mistakes(old: str, new: str, said: str) -> None:
    schema = pack_schema()
    text = (packs_folder() / "default.toml").read_text(encoding="utf-8")
    assert old in text
    assert said in mistakes(tomllib.loads(text.replace(old, new, 1)), schema, schema)


def test_an_editor_asks_a_pack_that_stands_alone_for_everything() -> None:
    schema = pack_schema()
    alone = {"name": "a", "version": "1", "effective": "2026-01-01", "describes": "A."}
    assert mistakes(alone, schema, schema) == [
        f".{key}: required" for key in ("rule", "tier", "without_badge")
    ]
    assert mistakes(alone | {"extends": "default"}, schema, schema) == []


if __name__ == "__main__":
    wrong = not_in_the_documents()
    for one in wrong:
        print("not in the document:", *one)
    if not wrong:
        found = sorted(digest(*one) for one in quoted_in_packs())
        VERIFIED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} quotations stand in their documents.")
