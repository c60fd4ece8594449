"""What a session's verdict must be: the oracle for the judge.

Written straight from tapes/bench/README.md and the registry document, as a list of plain questions,
and importing nothing of the gateway's core. The tiers' limits stand here as numbers, because the
truths beside the tapes were made under them; in the product they are data of the policy pack.

A `ledger` is the set of (GTIN, serial) of cartridges with which there was work so far; pass the
same set for all sessions of a clinic, in order of time.
"""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from needletrail_gateway.bench.recorder import Script, Truth

ROOT = Path(__file__).resolve().parents[2]
BENCH_TAPES = ROOT / "tapes" / "bench"
CLINIC = ROOT / "tapes" / "clinic"

COSMETIC_UM = 500  # below, not at
MEDICAL_UM = 2500  # up to and including
NEEDS_SUPERVISION = {"nurse", "nurse_practitioner"}

VIOLATIONS = {
    "DEPTH_EXCEEDED",
    "LICENSE_EXPIRED",
    "PRACTITIONER_UNKNOWN",
    "SUPERVISION_MISSING",
    "CARTRIDGE_REUSED",
    "CARTRIDGE_EXPIRED",
    "CARTRIDGE_RECALLED",
}

Registry = dict[str, Any]
Ledger = set[tuple[str, str]]


class Limit(NamedTuple):
    """The lowest limit. Of two equal ones the exclusive one comes first."""

    um: int
    inclusive: bool


def read_registry(path: Path) -> Registry:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def entry(registry: Registry, table: str, **keys: str) -> dict[str, Any] | None:
    for row in registry[table]:
        if all(row[key] == value for key, value in keys.items()):
            return dict(row)
    return None


def pen_of(registry: Registry, pen: str) -> dict[str, Any]:
    found = entry(registry, "pen", id=pen)
    assert found is not None, pen
    return found


def points_of(registry: Registry, pen: str) -> list[tuple[int, int]]:
    """The pen's calibration as (counts, micrometres)."""
    return [(counts, round(mm * 1000)) for counts, mm in pen_of(registry, pen)["calibration"]]


def tolerance_um(registry: Registry, pen: str) -> int:
    return round(pen_of(registry, pen)["reading_tolerance_mm"] * 1000)


def scope(script: Script, registry: Registry) -> Limit:
    limits = [Limit(round(pen_of(registry, script.pen)["label_max_mm"] * 1000), True)]
    if script.cartridge is not None:
        product = entry(registry, "cartridge_product", gtin=script.cartridge.gtin)
        assert product is not None, "products that nobody knows are left out"
        limits.append(Limit(round(product["needle_max_mm"] * 1000), True))
    assert script.badge is not None, "sessions without any badge are left out"
    person = entry(registry, "practitioner", id=script.badge)
    if person is None or person["license_expires"] < day(script):
        limits.append(Limit(0, True))
    elif person["tier"] == "cosmetic" or lacks_supervision(script, registry):
        limits.append(Limit(COSMETIC_UM, False))
    else:
        limits.append(Limit(MEDICAL_UM, True))
        if "max_mm" in person:
            limits.append(Limit(round(person["max_mm"] * 1000), person["max_inclusive"]))
    return min(limits)


def lacks_supervision(script: Script, registry: Registry) -> bool:
    person = entry(registry, "practitioner", id=script.badge or "")
    return (
        person is not None
        and person["tier"] == "medical"
        and person["license_expires"] >= day(script)
        and person["credential"] in NEEDS_SUPERVISION
        and "supervision" not in person
    )


def day(script: Script) -> date:
    return script.start.date()


def over_um(script: Script, registry: Registry) -> int:
    """Deeper than this is a breach, if it lasts."""
    return scope(script, registry).um + tolerance_um(registry, script.pen)


def reasons(truth: Truth, registry: Registry, ledger: Ledger) -> set[str]:
    script = truth.script
    limit = scope(script, registry)
    found = set()
    if truth.breach_ms(over_um(script, registry)):
        found.add("DEPTH_EXCEEDED")
        if lacks_supervision(script, registry):
            found.add("SUPERVISION_MISSING")
    elif (
        not limit.inclusive
        and truth.peak_um is not None
        and truth.peak_um >= limit.um - tolerance_um(registry, script.pen)
    ):
        found.add("DEPTH_AT_LIMIT")
    person = entry(registry, "practitioner", id=script.badge or "")
    if person is None:
        found.add("PRACTITIONER_UNKNOWN")
    elif person["license_expires"] < day(script):
        found.add("LICENSE_EXPIRED")
    tag = script.cartridge
    if tag is None:
        found.add("CARTRIDGE_MISSING")
        return found
    if tag.expires < day(script):
        found.add("CARTRIDGE_EXPIRED")
    lot = entry(registry, "cartridge_lot", gtin=tag.gtin, lot=tag.lot)
    assert lot is not None, "lots that nobody knows are left out"
    if "recalled" in lot and lot["recalled"] <= day(script):
        found.add("CARTRIDGE_RECALLED")
    if (tag.gtin, tag.serial) in ledger:
        found.add("CARTRIDGE_REUSED")
    return found


def is_near(peak_um: int | None, limit_um: int, registry: Registry, pen: str) -> bool:
    return peak_um is not None and abs(peak_um - limit_um) <= tolerance_um(registry, pen)


def document(truth: Truth, registry: Registry, ledger: Ledger) -> dict[str, Any]:
    """The whole truth, as tapes/bench/*.truth.json; enters the cartridge in the ledger."""
    script = truth.script
    found = reasons(truth, registry, ledger)
    tag = script.cartridge
    if tag is not None and truth.work:
        ledger.add((tag.gtin, tag.serial))
    return truth.document() | {
        "scope_mm": scope(script, registry).um / 1000,
        "breach_ms": truth.breach_ms(over_um(script, registry)),
        "verdict": "violation" if found & VIOLATIONS else "review" if found else "compliant",
        "reasons": sorted(found),
    }
