"""One exception for whatever a peer can get wrong.

A `ProtocolError` always means that the *other side* sent something we refuse. Our own misuse of
this package raises ValueError or TypeError instead, so that the two are never confused. `reason`
is one of the fixed words below; it is counted, stored with a quarantined message, and written in
the invalid vectors. `detail` says what exactly was wrong, for a person.
"""

TOPIC_UNKNOWN = "topic_unknown"  # not a topic of this protocol
VERSION_UNKNOWN = "version_unknown"  # a major version that we do not speak
PEN_UNKNOWN = "pen_unknown"  # no such pen in the registry of this clinic
EPOCH_UNKNOWN = "epoch_unknown"  # the pen has no key of that epoch
ENVELOPE_MALFORMED = "envelope_malformed"  # not the one COSE_Mac0 shape that we accept
MAC_INVALID = "mac_invalid"  # wrong key, other topic, other epoch, or altered bytes
PAYLOAD_MALFORMED = "payload_malformed"  # not deterministically encoded CBOR
PAYLOAD_INVALID = "payload_invalid"  # CBOR, but not a message of this protocol
KIND_UNKNOWN = "kind_unknown"  # a record kind that this version does not define
SEQUENCE_CONFLICT = "sequence_conflict"  # a second, different record under a used number
SEQUENCE_GAP = "sequence_gap"  # a record that came before its predecessor
STATE_INVALID = "state_invalid"  # well formed, but impossible after the pen's earlier records

REASONS = (
    TOPIC_UNKNOWN,
    VERSION_UNKNOWN,
    PEN_UNKNOWN,
    EPOCH_UNKNOWN,
    ENVELOPE_MALFORMED,
    MAC_INVALID,
    PAYLOAD_MALFORMED,
    PAYLOAD_INVALID,
    KIND_UNKNOWN,
    SEQUENCE_CONFLICT,
    SEQUENCE_GAP,
    STATE_INVALID,
)


class ProtocolError(Exception):
    """A peer's message is refused. `reason` is one of REASONS, `detail` is for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason + ": " + detail)
        self.reason = reason
        self.detail = detail
