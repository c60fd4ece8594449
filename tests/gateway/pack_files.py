"""Pack files for the tests: a small pack that stands alone, and folders of packs made of text."""

from pathlib import Path

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.shell.documents import Pack, packs_folder, read_pack_file

SHIPPED = sorted(path.stem for path in packs_folder().glob("*.toml"))

SMALL = """\
name = "small"
version = "1"
effective = 2026-01-01
describes = "Two tiers."

[without_badge]
tier = "cosmetic"
citation = ["Choice: nobody is known."]

[[tier]]
name = "cosmetic"
max_mm = 0.5
inclusive = false
hard = true
citation = ["Choice: a depth.", "House rule for `hard`: it stops."]

[[tier.who]]
credential = "esthetician"
supervision = "none"
citation = ["Choice: an esthetician."]

[[tier.who]]
credential = "nurse"
supervision = "none"
citation = ["Choice: a nurse."]

[[tier]]
name = "medical"
min_mm = 0.5
max_mm = 2.5
inclusive = true
fallback = "cosmetic"
citation = ["Choice: deeper."]

[[tier.who]]
credential = "physician"
supervision = "none"
citation = ["Choice: a physician."]

[[tier.who]]
credential = "nurse"
supervision = "on_premises"
max_mm = 2.0
citation = ["Choice: a nurse, looked after."]

[tier.place]
where = ["clinic_with_director"]
citation = ["Choice: a place."]

[tier.device]
kinds = ["pen", "roller"]
cleared_class_ii = true
citation = ["Choice: a device."]

[tier.cartridge]
sterile = false
citation = ["Choice: a cartridge."]

[tier.screening]
needed = true
citation = ["Choice: a question."]

[tier.course]
interval_least_days = 28
treatments_least = 3
treatments_most = 5
citation = ["Choice: a course."]

[[tier.duration]]
area = "full-face"
least_minutes = 45
most_minutes = 60
tolerance_percent = 50
citation = ["Choice: a duration."]

[tier.healing]
least_hours = 48
most_hours = 168
tell = "One week."
citation = ["Choice: a time."]

[[refusal]]
condition = "rosacea"
tiers = ["medical"]
text = "Rosacea."
citation = ["Choice: a refusal."]

[[refusal]]
condition = "cold-sores"
action = "prevent"
tiers = ["medical"]
text = "Cold sores."
citation = ["Choice: a prevention."]

[[rule]]
code = "DEPTH_EXCEEDED"
outcome = "violation"
text = "Too deep."
citation = ["Choice: a rule."]

[[rule]]
code = "RECORD_GAP"
outcome = "review"
severity = "soft"
text = "A gap."
citation = ["Choice: another rule."]
"""

HEAD = """\
name = "child"
version = "1"
effective = 2026-02-01
describes = "Laid over small."
extends = "small"
"""


def write(folder: Path, **packs: str) -> Path:
    """The packs as files of a folder."""
    for name, text in packs.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def over_small(folder: Path, text: str = "") -> Pack:
    """What the small pack becomes with that text laid over it."""
    return read_pack_file(write(folder, small=SMALL, child=HEAD + text) / "child.toml")


def small(folder: Path, *changes: tuple[str, str]) -> Policy:
    """The small pack, with texts of it replaced; each must be there once."""
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return read_pack_file(write(folder, small=text) / "small.toml").policy


def line_with(text: str, wanted: str, nth: int = 1) -> int:
    """The number of the n-th line that holds `wanted`."""
    found = [number for number, line in enumerate(text.splitlines(), 1) if wanted in line]
    return found[nth - 1]
