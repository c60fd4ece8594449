"""A pen's own account at the broker: name, password, and what it may write and read.

Mosquitto keeps passwords as `$7$iterations$salt$hash` (PBKDF2 with HMAC-SHA-512, RFC 8018). That form
is written here, so that the password itself never has to be typed or stored at the broker. A pen's
password is 24 random bytes: no dictionary holds it, and iterations add nothing to that. Their number
is the one of mosquitto_passwd, so that a broker is not kept busy when all pens come back at once.
"""

import hashlib
import secrets
from base64 import b64encode
from dataclasses import dataclass

from needletrail_protocol import topics

ITERATIONS = 101
_SALT_BYTES = 12
_PASSWORD_BYTES = 24


@dataclass(frozen=True)
class Account:
    """What a pen connects with."""

    username: str
    password: str


def make_account(clinic: str, pen: str) -> Account:
    """An account with a new random password."""
    return Account(f"{clinic}.{pen}", secrets.token_urlsafe(_PASSWORD_BYTES))


def password_line(account: Account) -> str:
    """The account's line in Mosquitto's password_file; the password can not be read from it."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", account.password.encode(), salt, ITERATIONS)
    return (
        f"{account.username}:$7${ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}\n"
    )


def access_lines(username: str, clinic: str, pen: str) -> str:
    """The pen's part of Mosquitto's acl_file: it writes its own channels, and reads what is for it."""
    lines = [f"user {username}"]
    lines += [f"topic write {topics.build(clinic, pen, channel)}" for channel in topics.UPWARD]
    lines += [f"topic read {topics.build(clinic, pen, channel)}" for channel in topics.DOWNWARD]
    return "\n".join(lines) + "\n\n"
