"""What a cartridge's tag says: a GS1 Digital Link in an NDEF URI record.

biip reads the link and checks it by GS1's General Specifications; this module only picks the four
elements that identify a cartridge. Whatever can not be read gives None: the judge then says that
the cartridge is not known.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import biip
from biip.gs1_digital_link_uris import GS1DigitalLinkURI

from needletrail_protocol import ndef


@dataclass(frozen=True)
class Cartridge:
    """One cartridge: GTIN (14 digits), lot, serial number and last day of use, as its tag says."""

    gtin: str
    lot: str | None
    serial: str | None
    expires: date | None


@lru_cache(maxsize=256)  # a tag is read again with each restart, takeover and replay
def read_tag(message: bytes) -> Cartridge | None:
    """The cartridge that an NDEF message names, or None if it names none."""
    text = ndef.uri(message)
    if text is None:
        return None
    try:
        link = GS1DigitalLinkURI.parse(text)
    except (biip.ParseError, ValueError):
        return None
    elements = link.element_strings
    gtin = elements.get(ai="01")
    if gtin is None or gtin.gtin is None:
        return None
    expiry = elements.get(ai="17")
    return Cartridge(
        gtin=gtin.gtin.as_gtin_14(),
        lot=_value(elements.get(ai="10")),
        serial=_value(elements.get(ai="21")),
        expires=expiry.date if expiry is not None else None,
    )


def _value(element: object) -> str | None:
    value = getattr(element, "value", None)
    return value if isinstance(value, str) else None
