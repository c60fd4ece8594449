"""Registry and policy files: what is wrong is told with file, line, key and cause."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from needletrail_gateway.core.packs.model import ClockRule, Code, GrantRule, TierRule
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.shell.documents import (
    DocumentError,
    keys_of,
    packs_folder,
    read_policy,
    read_registry,
)

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tapes" / "bench" / "registry.toml"


def complaint(read: Callable[[Path], object], path: Path, text: str | bytes) -> str:
    """What is said about a file with that text."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DocumentError) as caught:
        read(path)
    return str(caught.value)


def changed(old: str, new: str, count: int = 1) -> str:
    """The sample registry with one line changed."""
    text = SAMPLE.read_text()
    assert old in text
    return text.replace(old, new, count)


def line_with(text: str, wanted: str, nth: int = 1) -> int:
    """The number of the n-th line that holds `wanted`."""
    found = [number for number, line in enumerate(text.splitlines(), 1) if wanted in line]
    return found[nth - 1]


ARABIC_DIGITS = "".join(chr(0x660 + int(digit)) for digit in "09506000134352")

REGISTRY_ERRORS = [
    # old text, new text, what the line must hold (and which such line), what must be said
    ('name = "Esthetician one"', 'nmae = "Esthetician one"', "nmae", 1, "practitioner.0.nmae"),
    ('name = "Esthetician one"', 'nmae = "Esthetician one"', "[[practitioner]]", 1, "Field required"),
    ('id = "rn-02"', 'id = "rn-01"', 'id = "rn-01"', 2, "practitioner.3.id: entry 3 has the same id"),
    ('id = "rn-02"', 'id = "rn 02"', 'id = "rn 02"', 1, "practitioner.3.id: must be 1 to 64"),
    ('id = "rn-02"', 'id = "ärztin"', 'id = "ärztin"', 1, "practitioner.3.id: must be 1 to 64"),
    ('id = "rn-02"', r'id = "rn\\02"', r"rn\\02", 1, "practitioner.3.id: must be 1 to 64"),
    ('id = "rn-02"', 'id = "rn/02"', "rn/02", 1, "practitioner.3.id: must be 1 to 64"),
    ('supervisor = "md-01"', 'supervisor = "md-09"', "md-09", 1, "md-09 is not registered"),
    ('medical_director = "md-01"', 'medical_director = "md-09"', "md-09", 1, "md-09 is not registered"),
    ("max_mm = 1.5", "max_mm = -0.1", "max_mm = -0.1", 1, "practitioner.1.max_mm"),
    ("max_mm = 1.5", "max_mm = nan", "max_mm = nan", 1, "practitioner.1.max_mm"),
    ("max_mm = 1.5", "max_mm = inf", "max_mm = inf", 1, "practitioner.1.max_mm"),
    ('tier = "cosmetic"', 'tier = "cosmic"', "cosmic", 1, "practitioner.0.tier"),
    ('supervision = "on_premises"', 'supervision = "yes"', '"yes"', 1, "practitioner.2.supervision"),
    ("license_expires = 2026-05-31", 'license_expires = "soon"', "soon", 1, "practitioner.4"),
    ('id = "pen-01"', 'id = "Pen-01"', "Pen-01", 1, "pen.0.id"),
    ("[1010, 0.5]", "[410, 0.5]", "calibration = ", 1, "pen.0.calibration"),
    ("[1010, 0.5]", "[1010, 0.0]", "calibration = ", 1, "rise in counts and in depth"),
    ("[4060, 3.0]", "[4096, 3.0]", "calibration = ", 1, "outside the dial"),
    ("[4060, 3.0]", "[3481, 3.0]", "calibration = ", 1, "beyond 20 mm"),
    ("[4060, 3.0]", "[4060]", "calibration = ", 1, "pen.0.calibration.6"),
    ("b3b8a5e0", "b3b8a5e", "key = ", 1, "64 hexadecimal digits"),
    ("b3b8a5e0", "xxxxxxxx", "key = ", 1, "64 hexadecimal digits"),
    ('gtin = "09506000134352"', 'gtin = "09506000134353"', "134353", 1, "wrong check digit"),
    ('gtin = "09506000134352"', "gtin = 9506000134352", "gtin = 950", 1, "14 digits, in quotes"),
    ('gtin = "09506000134352"', f'gtin = "{ARABIC_DIGITS}"', ARABIC_DIGITS, 1, "14 digits"),
    ("received = 40", "received = -1", "received = -1", 1, "cartridge_lot.0.received"),
    ('policy = "default"', 'policy = "De fault"', "De fault", 1, "clinic.policy"),
    ("[clinic]", "[clinics]", "[clinics]", 1, "clinics: this key is not known here"),
    ('name = "Harbor Skin Clinic"', "", "[clinic]", 1, "clinic.name: Field required"),
]


@pytest.mark.parametrize(("old", "new", "at", "nth", "said"), REGISTRY_ERRORS)
def test_a_registry_error_names_file_line_key_and_cause(
    old: str, new: str, at: str, nth: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "registry.toml"
    text = changed(old, new)
    found = complaint(read_registry, path, text)
    assert f"{path}:{line_with(text, at, nth)}: " in found
    assert said in found


def test_every_error_is_told_at_once(tmp_path: Path) -> None:
    text = changed("max_mm = 1.5", "max_mm = 99").replace("received = 40", "received = 4.5")
    found = complaint(read_registry, tmp_path / "r.toml", text)
    assert len(found.splitlines()) == 2


def test_lots_belong_to_a_product(tmp_path: Path) -> None:
    text = changed('gtin = "09506000134369"\nname', 'gtin = "00000012345670"\nname')
    found = complaint(read_registry, tmp_path / "r.toml", text)
    assert f":{line_with(text, '[[cartridge_lot]]', 2) + 1}: cartridge_lot.1.gtin" in found


@pytest.mark.parametrize("section", ["pen", "cartridge_product", "cartridge_lot"])
def test_nothing_is_registered_twice(section: str, tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    start = text.index(f"[[{section}]]")
    end = text.find("\n[[", start + 1)
    twice = text + "\n" + text[start : None if end < 0 else end]
    found = complaint(read_registry, tmp_path / "r.toml", twice)
    assert "entry 1 has the same" in found
    assert section in found


@pytest.mark.parametrize("text", ["[clinic", b"\xff\xfe", 'a = "', "x = 1\nx = 2", "[clinic]\nid = 1e"])
def test_what_is_no_toml_is_told_with_its_place(text: str | bytes, tmp_path: Path) -> None:
    found = complaint(read_registry, tmp_path / "r.toml", text)
    assert found.startswith(f"{tmp_path / 'r.toml'}: ")
    assert "line" in found or "byte 0" in found or "end of document" in found


def test_what_can_not_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.toml"):
        with pytest.raises(DocumentError, match="can not be read"):
            read_registry(path)


@pytest.mark.parametrize("broken", ["b3b8a5e", "b3b8a5exx"])
def test_a_key_is_never_shown(broken: str, tmp_path: Path) -> None:
    """Not in the error about it, nor when a registry is printed."""
    found = complaint(read_registry, tmp_path / "r.toml", changed("b3b8a5e0", broken))
    assert "c1d24f6e" not in found
    registry = read_registry(SAMPLE)
    assert "c1d24f6e" not in repr(registry) + str(registry.model_dump()) + registry.model_dump_json()


KEY_1, KEY_2 = "11" * 32, "22" * 32
KEYS_ERRORS = [
    (f'[{{epoch = 0, key = "{KEY_1}"}}]', "pen.0.keys.0.epoch"),
    (f'[{{epoch = 4294967296, key = "{KEY_1}"}}]', "pen.0.keys.0.epoch"),
    (f'[{{epoch = 1, key = "{KEY_1[1:]}"}}]', "pen.0.keys.0.key: must be 64 hexadecimal digits"),
    (f'[{{epoch = 1, key = "{KEY_1}"}}, {{epoch = 1, key = "{KEY_2}"}}]', "the same epoch"),
    (f'[{{key = "{KEY_1}"}}]', "pen.0.keys.0.epoch: Field required"),
    ("[]", "pen.0.keys"),
]


def with_keys(keys: str) -> str:
    """The sample registry, its first pen with keys by epoch instead of its key."""
    lines = SAMPLE.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("key ="))
    return "\n".join([*lines[:at], f"keys = {keys}", *lines[at + 1 :]])


def test_a_pen_may_have_keys_by_epoch(tmp_path: Path) -> None:
    keys = f'[{{epoch = 3, key = "{KEY_1}"}}, {{epoch = 4, key = "{KEY_2}"}}]'
    (tmp_path / "r.toml").write_text(with_keys(keys))
    registry = read_registry(tmp_path / "r.toml")
    first, *others = registry.pen
    found = keys_of(registry)
    assert found[first.id] == {3: bytes.fromhex(KEY_1), 4: bytes.fromhex(KEY_2)}
    assert all(isinstance(found[pen.id], bytes) for pen in others)
    shown = repr(registry) + str(registry.model_dump()) + registry.model_dump_json()
    assert KEY_1 not in shown
    assert KEY_2 not in shown


@pytest.mark.parametrize(("keys", "said"), KEYS_ERRORS)
def test_what_is_wrong_with_keys_is_told_without_them(keys: str, said: str, tmp_path: Path) -> None:
    found = complaint(read_registry, tmp_path / "r.toml", with_keys(keys))
    assert said in found
    assert KEY_1[1:] not in found


def test_a_pen_has_either_a_key_or_keys(tmp_path: Path) -> None:
    text = with_keys(f'[{{epoch = 1, key = "{KEY_1}"}}]\nkey = "{KEY_2}"')
    assert "a pen has either key or keys" in complaint(read_registry, tmp_path / "r.toml", text)


def test_a_pen_without_a_key_can_be_registered(tmp_path: Path) -> None:
    text = "\n".join(line for line in SAMPLE.read_text().splitlines() if not line.startswith("key ="))
    (tmp_path / "r.toml").write_text(text)
    assert keys_of(read_registry(tmp_path / "r.toml")) == {}


def test_a_registry_survives_the_ledgers_json() -> None:
    registry = read_registry(SAMPLE)
    again = Registry.model_validate_json(registry.model_dump_json())
    assert again.find_practitioner("rn-01") == registry.find_practitioner("rn-01")
    assert again.find_pen("pen-01") is not None
    assert again.model_dump() == registry.model_dump()


# ---- policy packs ----


PACK = (packs_folder() / "default.toml").read_text()

POLICY_ERRORS = [
    ('version = "2026.12.1"', 'version = "a version with spaces"', "version", 1, "version"),
    ('name = "cosmetic"', 'name = "medical"', 'name = "medical"', 2, "entry 1 has the same name"),
    ('code = "DEPTH_AT_LIMIT"', 'code = "DEPTH_EXCEEDED"', 'code = "DEPTH_EX', 2, "entry 1 has the sa"),
    ('code = "DEPTH_AT_LIMIT"', 'code = "TOO_DEEP"', "TOO_DEEP", 1, "rule.1.code"),
    ('fallback = "cosmetic"', 'fallback = "radio-frequency"', "fallback", 1, "leads nowhere"),
    ('fallback = "cosmetic"', 'fallback = "medical"', "fallback", 1, "leads nowhere"),
    ('tier = "cosmetic"', 'tier = "face"', 'tier = "face"', 1, "without_badge.tier"),
    ("max_mm = 2.5", "max_mm = 25", "max_mm = 25", 1, "tier.1.max_mm"),
    ("inclusive = false", "", "[[tier]]", 1, "tier.0.inclusive: Field required"),
    ('outcome = "review"', 'outcome = "compliant"', 'outcome = "compliant"', 1, "rule.1.outcome"),
    (
        'citation = ["21 CFR 878.4430: class II."]',
        "citation = []",
        "citation = []",
        1,
        "citation",
    ),
    ('when_expired = "warn"', 'when_expired = "stop"', "when_exp", 1, "grant.when_expired"),
    ("life_hours = 24", "life_hours = 0", "life_hours", 1, "grant.life_hours"),
    ("agrees_within_s = 10", "agrees_within_s = 0", "agrees_within_s", 1, "clock.agrees_within_s"),
    ('supervision = "none"\nmax_mm', 'supervison = "none"\nmax_mm', "supervison", 1, "tier.1.who.4"),
]


@pytest.mark.parametrize(("old", "new", "at", "nth", "said"), POLICY_ERRORS)
def test_a_policy_error_names_file_line_key_and_cause(
    old: str, new: str, at: str, nth: int, said: str, tmp_path: Path
) -> None:
    if old.startswith("citation"):
        old = next(line for line in PACK.splitlines() if line.startswith("citation"))
    assert old in PACK
    text = PACK.replace(old, new, 1)
    path = tmp_path / "mine.toml"
    found = complaint(lambda where: read_policy("mine", where.parent), path, text)
    assert f"{path}:{line_with(text, at, nth)}: " in found
    assert said in found


def test_a_pack_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"no policy pack 'mine'.*Known packs: default"):
        read_policy("mine")
    with pytest.raises(DocumentError, match="Known packs: none"):
        read_policy("default", tmp_path)


def test_the_default_pack_has_a_cited_rule_for_every_code() -> None:
    policy = read_policy("default")
    codes = set(Code.__args__)  # type: ignore[attr-defined]
    assert {rule.code for rule in policy.rule} == codes
    assert all(rule.citation for rule in policy.rule)
    assert policy.grant.citation
    assert policy.clock.citation
    assert all(tier.citation for tier in policy.tier)
    assert all(who.citation for tier in policy.tier for who in tier.who)


# ---- what comes with Needletrail ----


@pytest.mark.parametrize("path", sorted((ROOT / "tapes").glob("*/registry.toml")), ids=str)
def test_a_registry_that_comes_with_needletrail_loads(path: Path) -> None:
    registry = read_registry(path)
    read_policy(registry.clinic.policy)
    assert keys_of(registry).keys() == {pen.id for pen in registry.pen}


@pytest.mark.parametrize("path", sorted(packs_folder().glob("*.toml")), ids=str)
def test_a_pack_that_comes_with_needletrail_loads_and_has_its_files_name(path: Path) -> None:
    assert read_policy(path.stem).name == path.stem == tomllib.loads(path.read_text())["name"]


# ---- what the documentation says of packs ----


def rows(path: str) -> list[list[str]]:
    """The rows of a document's tables, cell by cell."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]


def test_every_setting_of_a_pack_is_documented_with_its_default() -> None:
    documented = {row[1]: row[3] for row in rows("docs/reference/settings.md") if len(row) == 4}
    for model in (GrantRule, ClockRule):
        for name, field in model.model_fields.items():
            if name != "citation":
                assert documented[f"`{name}`"] == f"`{field.default}`"
    assert documented["`hard`"] == f"`{str(TierRule.model_fields['hard'].default).lower()}`"


def test_every_reason_is_documented_with_what_the_default_pack_makes_of_it() -> None:
    documented = {row[0]: row[1] for row in rows("docs/reference/verdicts.md") if len(row) == 3}
    for rule in read_policy("default").rule:
        if rule.code != "RECORD_TAMPERED":  # which the text below the table explains
            assert documented[f"`{rule.code}`"] == rule.outcome
