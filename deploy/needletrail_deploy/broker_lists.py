"""Mosquitto's two lists: who may connect, and what each may write and read.

Both follow from the accounts alone. A pen's account is CLINIC.PEN, and names its topics; the gateway's
account has what a gateway of its clinic needs and nothing else; `health` reads how long the broker is
up. What nobody is given is forbidden.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable

from needletrail_gateway.workshop.broker_access import ITERATIONS, access_lines
from needletrail_protocol import PROTOCOL_VERSION, topics

GATEWAY = "gateway"
HEALTH = "health"
HEALTH_TOPIC = "$SYS/broker/uptime"
_LINE = re.compile(r"([^:\s]+):\$7\$(\d+)\$([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]+=*)\s*")
_PEN = re.compile(r"([a-z0-9][a-z0-9-]*)\.([a-z0-9][a-z0-9-]*)")


def username_of(line: str) -> str | None:
    """Whose line of a password_file this is; None if it is none."""
    found = _LINE.fullmatch(line)
    return found[1] if found else None


def fits(line: str, password: str) -> bool:
    """True if this line of a password_file is of that password."""
    found = _LINE.fullmatch(line)
    if found is None:
        return False
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), b64decode(found[3]), int(found[2]))
    return int(found[2]) == ITERATIONS and b64encode(digest).decode() == found[4]


def pen_of(username: str) -> tuple[str, str] | None:
    """(clinic, pen) of a pen's account; None if it is not a pen's."""
    found = _PEN.fullmatch(username)
    if found is None or not all(map(topics.is_identifier, found.groups())):
        return None
    return found[1], found[2]


def access_list(clinic: str, pens: Iterable[str]) -> str:
    """The acl_file for the gateway of a clinic, for `health`, and for these pens' accounts."""
    lines = [f"user {GATEWAY}"]
    # "+" for the version, as the gateway subscribes: it refuses other versions with a reason.
    lines += [f"topic read {topics.ROOT}/+/{clinic}/+/{channel}" for channel in topics.UPWARD]
    downward = f"{topics.ROOT}/{PROTOCOL_VERSION}/{clinic}/+"
    lines += [f"topic write {downward}/{channel}" for channel in topics.DOWNWARD]
    lines += ["", f"user {HEALTH}", f"topic read {HEALTH_TOPIC}", "", ""]
    text = "\n".join(lines)
    for username in pens:
        place = pen_of(username)
        if place is None:
            raise ValueError(f"{username!r} is no pen's account")
        text += access_lines(username, *place)
    return text
