"""The ledger's two chains: what each link covers, and nothing else.

Each entry's `chain` covers the entry before it, so the whole record is one row of links. Each entry of
a pen in a key epoch also has a `pen_chain`, which covers that pen's entry before it: one pen's record
can be shown, and proven, without showing another's. Both cover the SHA-256 of the body and not the
body, so that a body can be removed one day and the links still be checked. A link's text has one
meaning only: a column can not be moved into the next, as long as none holds a line's end.
"""

import hashlib

FIRST = bytes(32)  # what the first entry covers, of the ledger and of each pen's epoch


def head(
    number: int,
    kind: str,
    pen: str | None,
    epoch: int | None,
    seq: int | None,
    session_id: str | None,
    committed_utc_ms: int,
) -> bytes:
    """The columns of an entry as both links take them: a line each, `None` for what is not there."""
    return f"{number}\n{kind}\n{pen}\n{epoch}\n{seq}\n{session_id}\n{committed_utc_ms}\n".encode()


def pen_link(before: bytes, columns: bytes, body_sha256: bytes) -> bytes:
    """An entry's place in its pen's chain: 32 bytes over the pen's link before, columns and body."""
    return hashlib.sha256(b"pen\n" + before + columns + body_sha256).digest()


def link(before: bytes, columns: bytes, body_sha256: bytes, of_pen: bytes | None) -> bytes:
    """An entry's place in the ledger's chain: 32 bytes, which cover the pen's link as well."""
    return hashlib.sha256(b"all\n" + before + columns + body_sha256 + (of_pen or b"")).digest()


def body_digest(body: bytes) -> bytes:
    """What the links take of a body."""
    return hashlib.sha256(body).digest()
