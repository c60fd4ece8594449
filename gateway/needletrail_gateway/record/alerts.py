"""Alerts and whoever acknowledged them, read from the ledger; and one more acknowledgement.

An alert is open until a person acknowledges it, which can be done once. Entry and row are one
commit, so of two people who acknowledge at the same moment the second is told so.
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update

from needletrail_gateway.core.notes import ACKNOWLEDGED, Acknowledgement
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import (
    SALT,
    Ledger,
    NewEntry,
    append,
    to_json,
)


@dataclass(frozen=True)
class Raised:
    """An alert as it was raised, its session as far as its records came, and who acknowledged it.

    said: the alert's statement. practitioner: None if nobody badged in, or no record has come yet.
    acknowledged: None while it is open; else with its entry's number and time.
    """

    entry: int
    session_id: str
    code: str
    committed_utc_ms: int
    reached_pen: bool
    pen: str
    practitioner: str | None
    said: dict[str, Any]
    acknowledged: Acknowledgement | None = None
    acknowledged_entry: int | None = None
    acknowledged_utc_ms: int | None = None


_RAISED, _SEEN = schema.entry.alias("raised"), schema.entry.alias("seen")
_ALERTS = (
    select(
        schema.alert,
        _RAISED.c.pen,
        _RAISED.c.committed_utc_ms,
        _RAISED.c.body,
        schema.session.c.practitioner,
        _SEEN.c.body.label("word"),
        _SEEN.c.committed_utc_ms.label("acknowledged_utc_ms"),
    )
    .join(_RAISED, _RAISED.c.id == schema.alert.c.entry)
    .outerjoin(schema.session, schema.session.c.session_id == schema.alert.c.session_id)
    .outerjoin(_SEEN, _SEEN.c.id == schema.alert.c.acknowledged_entry)
    .order_by(schema.alert.c.entry)
)


def alerts(ledger: Ledger, *, is_open: bool = False) -> list[Raised]:
    """Every alert in the order in which they were raised; or only those that are open."""
    query = _ALERTS
    if is_open:
        query = query.where(schema.alert.c.acknowledged_entry.is_(None))
    with ledger.reading() as connection:
        return [_raised(row) for row in connection.execute(query)]


def acknowledge(ledger: Ledger, word: Acknowledgement, now_utc_ms: int) -> int:
    """Enter that somebody has seen an alert. Returns the entry's number.

    LedgerError if there is no such alert, or if it was acknowledged before.
    """
    alert = schema.alert
    is_that = (alert.c.session_id == word.session, alert.c.code == word.code)
    with ledger.engine.begin() as connection:
        known = connection.execute(select(alert).where(*is_that)).first()
        if known is None:
            codes = connection.scalars(
                select(alert.c.code).where(alert.c.session_id == word.session).order_by(alert.c.entry)
            ).all()
            raise LedgerError(_no_alert(word, codes))
        if known.acknowledged_entry is not None:
            before = connection.scalar(
                select(schema.entry.c.body).where(schema.entry.c.id == known.acknowledged_entry)
            )
            who = json.loads(before or b"{}").get("who", "somebody")
            raise LedgerError(
                f"the alert {word.code} of session {word.session} was acknowledged already, by {who} "
                f"(entry {known.acknowledged_entry})"
            )
        body = to_json(word.model_dump(mode="json") | {SALT: secrets.token_hex(16)})
        new = NewEntry(ACKNOWLEDGED, body, session_id=word.session)
        entry = append(connection, [new], now_utc_ms)[0]
        connection.execute(update(alert).where(*is_that).values(acknowledged_entry=entry))
    return entry


def _no_alert(word: Acknowledgement, codes: Any) -> str:
    if not codes:
        return f"no alert was raised in a session {word.session}. See: needletrail alert list"
    return f"session {word.session} has no alert {word.code}. It has: {', '.join(codes)}"


def _raised(row: Row[Any]) -> Raised:
    word = None
    if row.word:
        said = json.loads(row.word)
        said.pop(SALT, None)
        word = Acknowledgement.model_validate(said)
    return Raised(
        row.entry,
        row.session_id,
        row.code,
        row.committed_utc_ms,
        bool(row.reached_pen),
        row.pen,
        row.practitioner,
        json.loads(row.body),
        word,
        row.acknowledged_entry,
        row.acknowledged_utc_ms,
    )
