"""MQTT topics, built and parsed by exact inverses: needletrail/1/CLINIC/PEN/CHANNEL.

The version stands in the topic, and the topic is bound into every message's MAC, so a message can
not be moved to another version, clinic, pen or direction. Identifiers are lower-case pseudonyms of
places and things; nothing about a client ever appears in a topic.
"""

from needletrail_protocol import PROTOCOL_VERSION
from needletrail_protocol.errors import TOPIC_UNKNOWN, VERSION_UNKNOWN, ProtocolError

ROOT = "needletrail"

HELLO = "hello"  # pen to gateway: I am here, and this is what I hold
RECORD = "record"  # pen to gateway: one record of the journal
URGENT = "urgent"  # pen to gateway: a copy of a record that is to come later
WILL = "will"  # pen to gateway, sent by the broker: that connection is gone
ACK = "ack"  # gateway to pen: committed up to here
GRANT = "grant"  # gateway to pen: who may go how deep
ALERT = "alert"  # gateway to pen: tell the practitioner now

UPWARD = (HELLO, RECORD, URGENT, WILL)
DOWNWARD = (ACK, GRANT, ALERT)
CHANNELS = UPWARD + DOWNWARD

_ID_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789-"
ID_MAX_LENGTH = 32


def is_identifier(text: str) -> bool:
    """True for 1 to 32 of a-z, 0-9 and "-", not beginning with "-"."""
    if not 1 <= len(text) <= ID_MAX_LENGTH or text[0] == "-":
        return False
    for byte in text.encode():  # MicroPython keeps a text of one character for ever
        if byte not in _ID_CHARACTERS:
            return False
    return True


def build(clinic: str, pen: str, channel: str) -> str:
    """The topic of one pen's channel. ValueError if an identifier or the channel is not ours."""
    if not is_identifier(clinic) or not is_identifier(pen) or channel not in CHANNELS:
        raise ValueError("no topic for clinic %r, pen %r, channel %r" % (clinic, pen, channel))
    return "%s/%d/%s/%s/%s" % (ROOT, PROTOCOL_VERSION, clinic, pen, channel)


def parse(topic: str) -> tuple[str, str, str]:
    """(clinic, pen, channel) of a topic; ProtocolError if it is not one of this protocol."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != ROOT:
        raise ProtocolError(TOPIC_UNKNOWN, "not needletrail/VERSION/CLINIC/PEN/CHANNEL")
    if parts[1] != str(PROTOCOL_VERSION):
        raise ProtocolError(
            VERSION_UNKNOWN,
            "the message is of version %s; this side speaks %d" % (parts[1][:8], PROTOCOL_VERSION),
        )
    clinic, pen, channel = parts[2], parts[3], parts[4]
    if not is_identifier(clinic) or not is_identifier(pen) or channel not in CHANNELS:
        raise ProtocolError(TOPIC_UNKNOWN, "clinic, pen or channel is not one of this protocol")
    return clinic, pen, channel
