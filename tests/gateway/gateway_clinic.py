"""A small clinic for the gateway's tests: registry, keys, and what its tags say.

The dial of its pens is so calibrated that a count is a micrometre, so that a test can say how deep.
"""

from datetime import UTC, date, datetime
from typing import Any

from needletrail_gateway.core.judging.cartridge import Cartridge
from needletrail_gateway.core.registry.model import Pen, Registry

GTIN = "09506000134352"  # single-use, 2.5 mm
OTHER_GTIN = "09506000134369"  # multi-use, 1.0 mm
TOLERANCE_UM = 30
TODAY = date(2026, 7, 1)
NOW_UTC_MS = round(datetime(2026, 7, 1, 9, tzinfo=UTC).timestamp() * 1000)
PENS = ("pen-01", "pen-02", "pen-03")
KEYS = {pen_id: bytes([number]) * 32 for number, pen_id in enumerate(PENS, 1)}


def person(person_id: str, credential: str, tier: str, **more: Any) -> dict[str, Any]:
    """A practitioner as the document has it."""
    return {
        "id": person_id,
        "name": f"Name of {person_id}",
        "credential": credential,
        "license": f"L-{person_id}",
        "license_expires": date(2027, 12, 31),
        "tier": tier,
    } | more


def pen(pen_id: str, **more: Any) -> dict[str, Any]:
    """A pen as the document has it."""
    return {
        "id": pen_id,
        "model": "test pen",
        "cleared_class_ii": True,
        "label_max_mm": 2.5,
        "accuracy_mm": 0.15,
        "reading_tolerance_mm": TOLERANCE_UM / 1000,
        "calibration": [(0, 0.0), (4000, 4.0)],
        "key": KEYS.get(pen_id, bytes(32)).hex(),
    } | more


def clinic_document(**more: Any) -> dict[str, Any]:
    """The registry as a document; `more` replaces whole sections."""
    return {
        "clinic": {
            "id": "harbor",
            "name": "Harbor Skin Clinic",
            "policy": "default",
            "medical_director": "md-01",
        },
        "practitioner": [
            person("est-01", "esthetician", "cosmetic"),
            person("md-01", "physician", "medical"),
            person("rn-01", "nurse", "medical", supervision="on_premises", supervisor="md-01"),
            person("rn-02", "nurse", "medical"),
            person("me-01", "master_esthetician", "medical"),
            person("old-01", "physician", "medical", license_expires=date(2026, 5, 31)),
        ],
        "pen": [pen(pen_id) for pen_id in PENS],
        "cartridge_product": [
            {"gtin": GTIN, "name": "single", "needle_max_mm": 2.5, "sterile_single_use": True},
            {"gtin": OTHER_GTIN, "name": "multi", "needle_max_mm": 1.0, "sterile_single_use": False},
        ],
        "cartridge_lot": [
            {"gtin": GTIN, "lot": "LOT24A", "received": 40},
            {"gtin": GTIN, "lot": "BAD", "received": 40, "recalled": date(2026, 6, 15)},
            {"gtin": OTHER_GTIN, "lot": "LOT25Q", "received": 200},
        ],
    } | more


def clinic(**more: Any) -> Registry:
    """The registry; `more` replaces whole sections of its document."""
    return Registry.model_validate(clinic_document(**more))


def the_pen(registry: Registry, pen_id: str = "pen-01") -> Pen:
    """A pen that is there."""
    found = registry.find_pen(pen_id)
    assert found is not None
    return found


def uri_tag(uri: str) -> bytes:
    """The NDEF message of a tag that holds a URI."""
    rest = uri.removeprefix("https://").encode()
    code = 4 if uri.startswith("https://") else 0
    return bytes([0xD1, 1, len(rest) + 1]) + b"U" + bytes([code]) + rest


def badge(person_id: str) -> bytes:
    """A practitioner's badge."""
    return uri_tag(f"https://clinic.example/badge/{person_id}")


def cartridge_tag(
    serial: str = "000001", lot: str = "LOT24A", gtin: str = GTIN, expires: str = "271231"
) -> bytes:
    """A cartridge's tag."""
    return uri_tag(f"https://id.gs1.org/01/{gtin}/10/{lot}/21/{serial}?17={expires}")


def cartridge(**more: Any) -> Cartridge:
    """What a cartridge's tag says."""
    said: dict[str, Any] = {
        "gtin": GTIN,
        "lot": "LOT24A",
        "serial": "000001",
        "expires": date(2027, 12, 31),
    }
    return Cartridge(**(said | more))
