"""Reading the one NDEF record that badges and cartridges carry: a URI.

NFC Forum NDEF 1.0 and URI RTD 1.0: a single short record, well-known type "U", whose first payload
byte abbreviates the beginning of the URI. The pen stores and sends a tag's bytes as it read them;
both sides use this module to see what they say. A tag that says nothing readable gives None: that
is a finding about the treatment, not an error of the peer.
"""

# URI RTD 1.0, table 3; codes above 4 are for schemes that no badge or cartridge uses.
_PREFIXES = ("", "http://www.", "https://www.", "http://", "https://")
_SHORT_URI_HEAD = b"\xd1\x01"  # MB, ME, SR set, TNF well-known; type length 1
MESSAGE_MAX_LENGTH = 888  # user memory of an NTAG216 (NXP NTAG213/215/216 data sheet, 8.5)


def uri(message: bytes) -> "str | None":
    """The URI of a one-record NDEF message, or None if it does not hold exactly that."""
    if len(message) < 5 or message[:2] != _SHORT_URI_HEAD or message[3:4] != b"U":
        return None
    if message[2] != len(message) - 4 or message[4] >= len(_PREFIXES):
        return None
    for byte in message[5:]:
        if not 0x21 <= byte <= 0x7E:
            return None
    return _PREFIXES[message[4]] + message[5:].decode()


def badge_id(message: bytes) -> "str | None":
    """ID of a badge whose URI is https://HOST/badge/ID, or None."""
    text = uri(message)
    if text is None or not text.startswith("https://"):
        return None
    parts = text[8:].split("/")
    if len(parts) != 3 or not parts[0] or parts[1] != "badge" or not parts[2]:
        return None
    return parts[2]
