"""The ledger: what was committed is the record; the rest of the database are projections of it.

One writer thread hands over a `Group` at a time; it is committed in one transaction (SQLite: WAL,
synchronous FULL, so a commit has reached the disk when it returns). Nothing is acknowledged before.
Entries are numbered without holes and chained by SHA-256 (record/chain): each covers the one before, so
whatever is changed, removed or put in between later shows. Another process (an import on the command
line) may write between two groups; numbers and chains are therefore taken inside the transaction.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    bindparam,
    delete,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Compiled, Dialect

from needletrail_gateway.core.registry.changes import Change, differences
from needletrail_gateway.core.registry.history import History, Version
from needletrail_gateway.core.registry.model import Keys, Registry
from needletrail_gateway.record import chain, schema
from needletrail_gateway.record.databases import engine_of
from needletrail_gateway.record.errors import LedgerError

NEWEST_SCHEMA = "0005"
QUARANTINE_KEPT = 10_000  # the newest so many; the tallies count all
QUARANTINE_MESSAGE_KEPT = 4_096
SALT = "salt"  # in the body of what people say; it says nothing
CONFLICT = "conflict"  # an entry: two different records claim one place in a session
CHANGE = "change"  # an entry: what changed in the registry, who, why
_VERSIONS = (CHANGE, "registry")  # the second: a whole registry, in ledgers of schema 0002 and before
_LAST_LINK = select(schema.entry.c.id, schema.entry.c.chain).order_by(schema.entry.c.id.desc()).limit(1)
_NEWS = (
    select(schema.entry.c.id, schema.entry.c.kind, schema.entry.c.session_id)
    .where(
        schema.entry.c.kind.in_(bindparam("kinds", expanding=True)),
        schema.entry.c.id > bindparam("after_id"),
    )
    .order_by(schema.entry.c.id)
)
# A pen's records have rising numbers and its other entries none, so an index answers both.
_OF_PEN = select(schema.entry.c.id, schema.entry.c.pen_chain).where(
    schema.entry.c.pen == bindparam("of_pen"), schema.entry.c.epoch == bindparam("of_epoch")
)
_LAST_OF_PEN = union_all(
    *(
        select(one.order_by(order.desc()).limit(1).subquery())
        for one, order in (
            (_OF_PEN.where(schema.entry.c.seq.is_not(None)), schema.entry.c.seq),
            (_OF_PEN.where(schema.entry.c.seq.is_(None)), schema.entry.c.id),
        )
    )
)


@dataclass
class NewEntry:
    """An entry to be: `body` is the message as received, or JSON."""

    kind: str
    body: bytes
    pen: str | None = None
    epoch: int | None = None
    seq: int | None = None
    session_id: str | None = None


@dataclass
class Group:
    """What one commit writes. Rows that refer to an entry give its index in `entries`."""

    entries: list[NewEntry] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    session_changes: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    pins: list[dict[str, Any]] = field(default_factory=list)
    visits: list[dict[str, Any]] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)
    lanes: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    repeats: list[tuple[str, int, int, str, bytes]] = field(default_factory=list)
    acks: dict[tuple[str, int], int] = field(default_factory=dict)
    amend: dict[str, str] = field(default_factory=dict)  # sessions to be judged again after it, and why

    def is_empty(self) -> bool:
        """True if there is nothing to commit and nobody to answer."""
        return not (self.entries or self.quarantined or self.tally or self.repeats or self.acks)


@dataclass(frozen=True)
class Entry:
    """A committed entry."""

    id: int
    kind: str
    pen: str | None
    epoch: int | None
    seq: int | None
    session_id: str | None
    committed_utc_ms: int
    body: bytes
    body_sha256: bytes | None = None

    @property
    def is_removed(self) -> bool:
        """Whether the body has been removed (record/retention); its SHA-256 is all that is left."""
        return self.body_sha256 is not None

    def json(self) -> dict[str, Any]:
        """The body of an entry that is not a message, without its salt."""
        found: dict[str, Any] = json.loads(self.body)
        found.pop(SALT, None)
        return found


def to_json(statement: Mapping[str, Any]) -> bytes:
    """JSON in one form: keys in the order given, no spaces, UTF-8."""
    return json.dumps(statement, separators=(",", ":"), ensure_ascii=False).encode()


class Ledger:
    """A ledger in a database. Threads may share it; each call takes its own connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(is_writer=False)
        self._versions = History()  # as far as it was read
        self._versions_lock = Lock()
        self._ends = _Ends()

    @classmethod
    def open(cls, location: str | Path, *, must_exist: bool = False) -> Self:
        """Open or create the ledger at a file path or a database URL, and bring it up to date.

        must_exist: a file that is not there is an error, and none is made.
        LedgerError if the file can not be opened, is no database, or is from a newer version.
        """
        text = str(location)
        shown = text.rpartition("@")[2]  # a URL may hold a password
        try:
            url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
            if url.get_backend_name() == "sqlite":
                parent = Path(url.database or "").parent
                if not parent.is_dir():
                    raise LedgerError(f"the folder {parent} does not exist. Create it first.")
                if must_exist and not Path(url.database or "").is_file():
                    raise LedgerError(
                        "there is no such ledger. `needletrail registry import` makes a new one."
                    )
            engine = engine_of(url)
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _configure_sqlite)
                event.listen(engine, "begin", _begin_sqlite)
            _migrate(engine)
        except LedgerError as error:
            raise LedgerError(f"{shown}: {error}") from error
        except Exception as error:
            cause = getattr(error, "orig", error)
            raise LedgerError(
                f"{shown}: this is not a ledger that can be used ({cause}). "
                "Check the path, its permissions and the free space."
            ) from error
        return cls(engine)

    def reading(self) -> Connection:
        """A connection for reading alone: its transaction does not take the writer's lock."""
        return self._reader.connect()

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    # ---- writing ----

    def commit(self, group: Group, now_utc_ms: int) -> dict[str, str]:
        """Write a group, whole or not at all. When this returns, it has reached the disk.

        Returns the sessions whose verdict is to be amended now, and why: those of the group, and those
        of which it is new that two different records claim one place in them ("conflict").
        """
        quarantined = list(group.quarantined)
        tally = group.tally.copy()
        conflicts: dict[str, NewEntry] = {}
        with self.engine.begin() as connection:
            for repeat in group.repeats:
                conflict = _compare_repeat(connection, group, repeat, now_utc_ms)
                tally["repeats" if conflict is None else "refused sequence_conflict"] += 1
                if conflict is not None:
                    quarantined.append(conflict)
                    _note_conflict(connection, group, repeat, conflicts)
            entries = [*group.entries, *conflicts.values()]
            first_id, ends = append(connection, entries, now_utc_ms, self._ends)
            _write_sessions(connection, group, first_id)
            if group.pins:
                connection.execute(
                    insert(schema.pin), [row | {"entry": first_id + row["entry"]} for row in group.pins]
                )
            if group.visits:
                _upsert(connection, schema.visit, ("session_id",), group.visits)
            if group.lanes:
                _upsert(connection, schema.lane, ("pen", "epoch"), list(group.lanes.values()))
            if quarantined:
                connection.execute(insert(schema.quarantine), quarantined)
                newest = connection.scalar(select(func.max(schema.quarantine.c.id))) or 0
                connection.execute(
                    delete(schema.quarantine).where(schema.quarantine.c.id <= newest - QUARANTINE_KEPT)
                )
            _count(connection, tally)
        self._ends = ends
        return group.amend | dict.fromkeys(conflicts, "conflict")

    def import_registry(
        self,
        registry: Registry,
        keys: Mapping[str, Keys],
        now_utc_ms: int,
        who: str = "",
        why: str = "",
    ) -> int:
        """Record what changes with this registry, and enrol its pens or change their keys.

        Returns the entry of the version that is in force then. A key that stands alone is epoch 1's, or
        the next epoch's if it is another one than before. Keys by epoch are all that the pen has: each
        that is new is enrolled, each that is no longer named is retired. An import that changes nothing
        appends nothing. LedgerError if a used epoch would get another key.
        """
        with self._versions_lock, self.engine.begin() as connection:
            history = self._versions
            _read_on(connection, history)
            newest = history.newest()
            known = None if newest is None else history.registry(newest)
            if known is not None and known.clinic.id != registry.clinic.id:
                raise LedgerError(
                    f"this ledger is of the clinic {known.clinic.id}, the registry of "
                    f"{registry.clinic.id}. Each clinic has a ledger of its own."
                )
            for pen_id, found in keys.items():
                if isinstance(found, bytes):
                    _enrol(connection, pen_id, found, now_utc_ms, is_new_epoch=False)
                else:
                    _enrol_epochs(connection, pen_id, found, now_utc_ms)
            changes = differences(known, registry)
            if newest is not None and not changes:
                return newest
            body = {"who": who, "why": why, "changes": [one.model_dump() for one in changes]}
            return append(connection, [NewEntry(CHANGE, to_json(body))], now_utc_ms)[0]

    def note(
        self,
        kind: str,
        body: Mapping[str, Any],
        now_utc_ms: int,
        session_id: str | None = None,
        visit: Mapping[str, Any] | None = None,
    ) -> int:
        """Append what a person has to say (core/notes). Returns the entry's id.

        With salt: should the body be removed one day, its SHA-256 stays, and what it said must not be
        found by trying. visit: of a treatment without a pen; a row without session and note.
        """
        entry = NewEntry(kind, to_json({**body, SALT: secrets.token_hex(16)}), session_id=session_id)
        with self.engine.begin() as connection:
            entry_id = append(connection, [entry], now_utc_ms)[0]
            if visit is not None:
                row = {**visit, "session_id": f"attested-{entry_id}", "note_entry": entry_id}
                connection.execute(insert(schema.visit), [row])
        return entry_id

    def enter(
        self,
        kind: str,
        body: Mapping[str, Any],
        now_utc_ms: int,
        session_id: str | None = None,
    ) -> int:
        """Append one entry that is nobody's message. Returns its id."""
        with self.engine.begin() as connection:
            entry = NewEntry(kind, to_json(body), session_id=session_id)
            return append(connection, [entry], now_utc_ms)[0]

    def enrol_anew(self, pen_id: str, key: bytes, now_utc_ms: int) -> int:
        """Give a pen with an empty journal its next key epoch, and return that."""
        with self.engine.begin() as connection:
            return _enrol(connection, pen_id, key, now_utc_ms, is_new_epoch=True)

    # ---- reading ----

    def newest_version(self) -> int | None:
        """The entry of the registry's newest version, or None if none was imported yet."""
        query = select(func.max(schema.entry.c.id)).where(schema.entry.c.kind.in_(_VERSIONS))
        with self.reading() as connection:
            newest: int | None = connection.scalar(query)
        return newest

    def registry(self) -> tuple[int, Registry] | None:
        """The registry in force and its entry's id, or None if none was imported yet."""
        with self._history() as history:
            newest = history.newest()
            return None if newest is None else (newest, history.registry(newest))

    def registry_at(self, entry_id: int) -> Registry:
        """The registry as that entry made it."""
        with self._history() as history:
            return history.registry(entry_id)

    def version_at(self, utc_ms: int) -> int | None:
        """The entry of the registry's version that was in force then."""
        with self._history() as history:
            return history.entry_at(utc_ms)

    def versions(self) -> list[Version]:
        """Every change of the registry, oldest first."""
        with self._history() as history:
            return list(history.versions)

    @contextmanager
    def _history(self) -> Iterator[History]:
        with self._versions_lock:
            with self.reading() as connection:
                _read_on(connection, self._versions)
            yield self._versions

    def pen_keys(self) -> dict[tuple[str, int], bytes]:
        """The keys under which pens are heard, by (pen, epoch)."""
        query = select(schema.pen_key).where(schema.pen_key.c.retired_utc_ms.is_(None))
        with self.reading() as connection:
            return {(row.pen, row.epoch): row.key for row in connection.execute(query)}

    def lanes(self) -> list[dict[str, Any]]:
        """Where each pen stands."""
        return self._rows(select(schema.lane))

    def records(self, pen_id: str, epoch: int, from_seq: int) -> Iterator[Entry]:
        """A pen's entries from a number on, in order."""
        columns = schema.entry.c
        yield from self._entries(
            select(schema.entry)
            .where(columns.pen == pen_id, columns.epoch == epoch, columns.seq >= from_seq)
            .order_by(columns.seq)
        )

    def entries(self, after_id: int = 0, kind: str | None = None, most: int = 1_000) -> list[Entry]:
        """Entries after a number, oldest first."""
        query = select(schema.entry).where(schema.entry.c.id > after_id)
        if kind is not None:
            query = query.where(schema.entry.c.kind == kind)
        return list(self._entries(query.order_by(schema.entry.c.id).limit(most)))

    def visits(self, client: str, before_utc_ms: int) -> list[dict[str, Any]]:
        """What a client had before a time, as rows, oldest first."""
        columns = schema.visit.c
        return self._rows(
            select(schema.visit)
            .where(columns.client == client, columns.started_utc_ms < before_utc_ms)
            .order_by(columns.started_utc_ms)
        )

    def visit(self, session_id: str) -> dict[str, Any] | None:
        """What a session is in its client's history, as a row; None if it is in none."""
        found = self._rows(select(schema.visit).where(schema.visit.c.session_id == session_id))
        return found[0] if found else None

    def all_entries(self, *kinds: str, after_id: int = 0, until_id: int | None = None) -> list[Entry]:
        """Every entry of these kinds whose body is still there, oldest first."""
        columns = schema.entry.c
        query = (
            select(schema.entry)
            .where(columns.kind.in_(kinds), columns.id > after_id)
            .order_by(columns.id)
        )
        if until_id is not None:
            query = query.where(columns.id <= until_id)
        return [entry for entry in self._entries(query) if not entry.is_removed]

    def news(self, kinds: Sequence[str], after_id: int) -> list[tuple[int, str, str | None]]:
        """(id, kind, session_id) of each entry of these kinds after a number, oldest first."""
        with self.reading() as connection:
            found = connection.execute(_NEWS, {"kinds": kinds, "after_id": after_id})
            return [(row[0], row[1], row[2]) for row in found]

    def pins(self, pen_id: str, epoch: int, from_boot: int) -> list[dict[str, Any]]:
        """A pen's clock pins of a boot and of later ones, as rows, oldest first."""
        columns = schema.pin.c
        return self._rows(
            select(schema.pin)
            .where(columns.pen == pen_id, columns.epoch == epoch, columns.boot >= from_boot)
            .order_by(columns.entry)
        )

    def session_entries(self, session_id: str) -> list[Entry]:
        """Everything that was entered about one session, oldest first."""
        query = select(schema.entry).where(schema.entry.c.session_id == session_id)
        return list(self._entries(query.order_by(schema.entry.c.id)))

    def sessions(self, after_entry: int = 0) -> list[dict[str, Any]]:
        """Sessions opened after an entry, oldest first."""
        columns = schema.session.c
        return self._rows(
            select(schema.session)
            .where(columns.opened_entry > after_entry)
            .order_by(columns.opened_entry)
        )

    def session(self, session_id: str) -> dict[str, Any]:
        """The row of one session; LedgerError if there is none."""
        found = self._rows(select(schema.session).where(schema.session.c.session_id == session_id))
        if not found:
            raise LedgerError(f"the ledger has no session {session_id}")
        return found[0]

    def last_session(self, pen_id: str, epoch: int) -> int:
        """The number of the newest session in a key epoch, 0 if there is none."""
        columns = schema.session.c
        query = (
            select(columns.session_id)
            .where(columns.pen == pen_id, columns.epoch == epoch)
            .order_by(columns.opened_entry.desc())
            .limit(1)
        )
        with self.reading() as connection:
            found = connection.scalar(query)
        return 0 if found is None else int(found.rsplit("-", 1)[1])

    def statement(self, session: Mapping[str, Any]) -> dict[str, Any] | None:
        """The verdict's statement on a row of sessions(), with its alerts; None while it is open."""
        if session["verdict_entry"] is None:
            return None
        with self.reading() as connection:
            body = connection.scalar(
                select(schema.entry.c.body).where(schema.entry.c.id == session["verdict_entry"])
            )
        found: dict[str, Any] = json.loads(body or b"{}")
        found["alerts"] = self.alerts(session["session_id"])
        return found

    def alerts(self, session_id: str | None = None) -> list[dict[str, Any]]:
        """Alerts as rows, in the order in which they were raised."""
        query = select(schema.alert).order_by(schema.alert.c.entry)
        if session_id is not None:
            query = query.where(schema.alert.c.session_id == session_id)
        return self._rows(query)

    def early_alerts(self) -> list[dict[str, Any]]:
        """Alerts whose session's records have not come yet."""
        known = select(schema.session.c.session_id)
        return self._rows(select(schema.alert).where(schema.alert.c.session_id.not_in(known)))

    def last_entry_id(self) -> int:
        """The number of the newest entry, 0 if there is none."""
        with self.reading() as connection:
            return connection.scalar(select(func.max(schema.entry.c.id))) or 0

    def tallies(self) -> dict[str, int]:
        """How often what was counted: messages refused by reason, repeats, gaps."""
        return {row["name"]: row["count"] for row in self._rows(select(schema.tally))}

    def quarantined(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest refused messages, newest first."""
        columns = schema.quarantine.c
        return self._rows(select(schema.quarantine).order_by(columns.id.desc()).limit(most))

    def set_aside(self, reason: str, detail: str, what: bytes) -> None:
        """Keep what a view refused, for a person to look at."""
        row = {
            "received_utc_ms": 0,
            "topic": "",
            "reason": reason,
            "detail": detail,
            "message": what[:QUARANTINE_MESSAGE_KEPT],
        }
        self.commit(Group(quarantined=[row], tally=Counter({f"refused {reason}": 1})), 0)

    # ---- the outbox: a view's place in the ledger ----

    def delivered(self, view: str) -> int:
        """Up to which entry a view has been told."""
        with self.reading() as connection:
            found = connection.scalar(
                select(schema.outbox.c.delivered_entry).where(schema.outbox.c.view == view)
            )
        return found or 0

    def deliver(self, view: str, entry_id: int) -> None:
        """Note that a view has been told everything up to an entry."""
        row = {"view": view, "delivered_entry": entry_id}
        with self.engine.begin() as connection:
            _upsert(connection, schema.outbox, ("view",), [row])

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        with self.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def _entries(self, query: Any) -> Iterator[Entry]:
        with self.reading() as connection:
            for row in connection.execute(query):
                yield _entry(row)


def _entry(row: Any) -> Entry:
    return Entry(
        row.id,
        row.kind,
        row.pen,
        row.epoch,
        row.seq,
        row.session_id,
        row.committed_utc_ms,
        row.body,
        row.body_sha256,
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader's transaction must not take the writer's lock.
    is_writer = connection.get_execution_options().get("is_writer", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _migrate(engine: Engine) -> None:
    # Alembic is slow to import; a ledger of the newest version needs only a look.
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if tables and "entry" not in tables:
            raise LedgerError("this database belongs to something else. Name a file of its own.")
        if "alembic_version" in tables:
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if version == NEWEST_SCHEMA:
                return
            if version is not None and version > NEWEST_SCHEMA:
                raise LedgerError(
                    f"the ledger has schema {version}, this program knows up to {NEWEST_SCHEMA}. "
                    "Upgrade Needletrail."
                )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@dataclass(frozen=True)
class _Ends:
    """Where the chains ended after our last commit: the newest entry's id and link, and each pen's.

    It is good while the ledger still ends there; a link covers all before it. Otherwise another process
    has written, or our own transaction was undone, and the pens' links are read again.
    """

    last_id: int = 0
    link: bytes = chain.FIRST
    of_pens: Mapping[tuple[str, int], bytes] = field(default_factory=dict)


def append(
    connection: Connection, entries: list[NewEntry], now_utc_ms: int, ends: _Ends | None = None
) -> tuple[int, _Ends]:
    """Number, chain and insert; returns the id of the first one, and where the chains end now."""
    last = connection.execute(_LAST_LINK).first()
    last_id, link = (0, chain.FIRST) if last is None else (last.id, last.chain)
    of_pens: dict[tuple[str, int], bytes] = {}
    if ends is not None and (ends.last_id, ends.link) == (last_id, link):
        of_pens.update(ends.of_pens)
    rows: list[tuple[Any, ...]] = []
    for number, new in enumerate(entries, last_id + 1):
        named = (number, new.kind, new.pen, new.epoch, new.seq, new.session_id, now_utc_ms)
        columns = chain.head(*named)
        digest = chain.body_digest(new.body)
        of_pen = None
        if new.pen is not None and new.epoch is not None:
            lane_id = (new.pen, new.epoch)
            before = of_pens.get(lane_id) or last_of_pen(connection, *lane_id)
            of_pen = of_pens[lane_id] = chain.pen_link(before, columns, digest)
        link = chain.link(link, columns, digest, of_pen)
        rows.append((*named, new.body, None, link, of_pen))
    if rows:
        _insert(connection, schema.entry, rows)
    return last_id + 1, _Ends(last_id + len(rows), link, of_pens)


def last_of_pen(connection: Connection, pen_id: str, epoch: int) -> bytes:
    """The newest link of a pen in a key epoch: of its last record, or of what came after that."""
    found = connection.execute(_LAST_OF_PEN, {"of_pen": pen_id, "of_epoch": epoch}).all()
    return max(found)[1] if found else chain.FIRST


def _read_on(connection: Connection, history: History) -> None:
    """Add the versions that were recorded since."""
    columns = schema.entry.c
    query = (
        select(columns.id, columns.kind, columns.committed_utc_ms, columns.body)
        .where(columns.kind.in_(_VERSIONS), columns.id > (history.newest() or 0))
        .order_by(columns.id)
    )
    for row in connection.execute(query):
        body = json.loads(row.body)
        if row.kind == CHANGE:
            who, why = body["who"], body["why"]
            changes = [Change.model_validate(one) for one in body["changes"]]
        else:  # the whole document, as older ledgers have it
            who, why = "", ""
            newest = history.newest()
            before = None if newest is None else history.registry(newest)
            changes = differences(before, Registry.model_validate(body))
        history.add(Version(row.id, row.committed_utc_ms, who, why, tuple(changes)))


def _enrol(
    connection: Connection, pen_id: str, key: bytes, now_utc_ms: int, *, is_new_epoch: bool
) -> int:
    table = schema.pen_key
    last = connection.execute(
        select(table).where(table.c.pen == pen_id).order_by(table.c.epoch.desc()).limit(1)
    ).first()
    if last is not None and last.key == key and not is_new_epoch:
        return int(last.epoch)
    epoch = 1 if last is None else int(last.epoch) + 1
    connection.execute(insert(table), [{"pen": pen_id, "epoch": epoch, "key": key}])
    _append_key(connection, "enrolment", pen_id, epoch, key, now_utc_ms)
    return epoch


def _enrol_epochs(
    connection: Connection, pen_id: str, keys: Mapping[int, bytes], now_utc_ms: int
) -> None:
    """Make these the keys under which the pen is heard. A retired one is kept: the record needs it."""
    table = schema.pen_key
    known = {row.epoch: row for row in connection.execute(select(table).where(table.c.pen == pen_id))}
    for epoch, key in sorted(keys.items()):
        row = known.pop(epoch, None)
        if row is None:
            connection.execute(insert(table), [{"pen": pen_id, "epoch": epoch, "key": key}])
        elif row.key != key:
            raise LedgerError(
                f"{pen_id} has had another key in epoch {epoch}. A new key gets the next epoch."
            )
        elif row.retired_utc_ms is not None:
            _retire(connection, pen_id, epoch, None)
        else:
            continue
        _append_key(connection, "enrolment", pen_id, epoch, key, now_utc_ms)
    for epoch, row in sorted(known.items()):
        if row.retired_utc_ms is None:
            _retire(connection, pen_id, epoch, now_utc_ms)
            _append_key(connection, "retirement", pen_id, epoch, row.key, now_utc_ms)


def _retire(connection: Connection, pen_id: str, epoch: int, retired_utc_ms: int | None) -> None:
    table = schema.pen_key
    connection.execute(
        update(table)
        .where(table.c.pen == pen_id, table.c.epoch == epoch)
        .values(retired_utc_ms=retired_utc_ms)
    )


def _append_key(
    connection: Connection, kind: str, pen_id: str, epoch: int, key: bytes, now_utc_ms: int
) -> None:
    statement = {"pen": pen_id, "epoch": epoch, "key_sha256": hashlib.sha256(key).hexdigest()}
    append(connection, [NewEntry(kind, to_json(statement))], now_utc_ms)


def _write_sessions(connection: Connection, group: Group, first_id: int) -> None:
    if group.sessions:
        connection.execute(
            insert(schema.session),
            [row | {"opened_entry": first_id + row["opened_entry"]} for row in group.sessions],
        )
    for change in group.session_changes:
        values = dict(change)
        session_id = values.pop("session_id")
        if "verdict_entry" in values:
            values["verdict_entry"] += first_id
        connection.execute(
            update(schema.session).where(schema.session.c.session_id == session_id).values(values)
        )
    if group.alerts:
        connection.execute(
            insert(schema.alert),
            [row | {"entry": first_id + row["entry"]} for row in group.alerts],
        )
    if group.shown:
        connection.execute(
            update(schema.alert)
            .where(
                schema.alert.c.session_id == bindparam("of_session"),
                schema.alert.c.code == bindparam("of_code"),
            )
            .values(reached_pen=True),
            [{"of_session": session_id, "of_code": code} for session_id, code in group.shown],
        )


def _compare_repeat(
    connection: Connection, group: Group, repeat: tuple[str, int, int, str, bytes], now_utc_ms: int
) -> dict[str, Any] | None:
    """A record that came again. The same bytes: None. Other bytes: the quarantine's row."""
    pen_id, epoch, seq, topic, message = repeat
    table = schema.entry
    row = connection.execute(
        select(table.c.body, table.c.body_sha256).where(
            table.c.pen == pen_id, table.c.epoch == epoch, table.c.seq == seq
        )
    ).first()
    if row is not None and row.body_sha256 is not None:  # it has expired
        known, message_now = row.body_sha256, chain.body_digest(message)
    elif row is not None:
        known, message_now = row.body, message
    else:  # its first copy is in this very group, or it was lost for ever
        known = next(
            (e.body for e in group.entries if (e.pen, e.epoch, e.seq) == (pen_id, epoch, seq)), None
        )
        message_now = message
    if known is None or known == message_now:
        return None
    return {
        "received_utc_ms": now_utc_ms,
        "topic": topic,
        "reason": "sequence_conflict",
        "detail": f"record {seq} of epoch {epoch} is already in the ledger with other content",
        "message": message,
    }


def _note_conflict(
    connection: Connection,
    group: Group,
    repeat: tuple[str, int, int, str, bytes],
    conflicts: dict[str, NewEntry],
) -> None:
    """One entry a session is enough to say that it was tampered with."""
    pen_id, epoch, seq, _, message = repeat
    columns = schema.entry.c
    of_record = (columns.pen == pen_id, columns.epoch == epoch, columns.seq == seq)
    session_id = connection.scalar(select(columns.session_id).where(*of_record))
    if session_id is None:
        in_group = (e for e in group.entries if (e.pen, e.epoch, e.seq) == (pen_id, epoch, seq))
        session_id = next((entry.session_id for entry in in_group), None)
    if session_id is None or session_id in conflicts:
        return
    known = select(columns.id).where(columns.session_id == session_id, columns.kind == CONFLICT)
    if connection.scalar(known.limit(1)) is None:
        body = {"seq": seq, "other_sha256": hashlib.sha256(message).hexdigest()}
        conflicts[session_id] = NewEntry(CONFLICT, to_json(body), pen_id, epoch, None, session_id)


def _upsert(
    connection: Connection, table: Table, keys: tuple[str, ...], rows: list[dict[str, Any]]
) -> None:
    """Insert rows, or replace those with the same keys."""
    _execute(connection, _upsert_statement(connection.dialect, table, keys), rows)


def _count(connection: Connection, tally: Counter[str]) -> None:
    if tally:
        rows = [{"name": name, "count": count} for name, count in tally.items()]
        _execute(connection, _count_statement(connection.dialect), rows)


# What every group writes is compiled once: SQLAlchemy would compile an upsert each time it runs, and
# look at the type of every value of an insert.


@cache
def _insert_statement(dialect: Dialect, table: Table) -> Compiled:
    return insert(table).compile(dialect=dialect, column_keys=[column.name for column in table.columns])


@cache
def _upsert_statement(dialect: Dialect, table: Table, keys: tuple[str, ...]) -> Compiled:
    statement = _dialect_insert(dialect, table)
    others = [column.name for column in table.columns if column.name not in keys]
    changes = {name: statement.excluded[name] for name in others}
    upsert = statement.on_conflict_do_update(index_elements=list(keys), set_=changes)
    return upsert.compile(dialect=dialect, column_keys=[*keys, *others])


@cache
def _count_statement(dialect: Dialect) -> Compiled:
    table = schema.tally
    statement = _dialect_insert(dialect, table)
    total = table.c.count + statement.excluded.count
    upsert = statement.on_conflict_do_update(index_elements=["name"], set_={"count": total})
    return upsert.compile(dialect=dialect, column_keys=["name", "count"])


def _dialect_insert(dialect: Dialect, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def _execute(connection: Connection, compiled: Compiled, rows: list[dict[str, Any]]) -> None:
    order = getattr(compiled, "positiontup", None)
    parameters: list[Any] = (
        rows if order is None else [tuple(row[key] for key in order) for row in rows]
    )
    connection.exec_driver_sql(str(compiled), parameters)


def _insert(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows that are in the order of the table's columns."""
    compiled = _insert_statement(connection.dialect, table)
    names = [column.name for column in table.columns]
    order = getattr(compiled, "positiontup", None)
    parameters: list[Any] = rows
    if order is None:
        parameters = [dict(zip(names, row, strict=True)) for row in rows]
    elif order != names:
        places = [names.index(name) for name in order]
        parameters = [tuple(row[place] for place in places) for row in rows]
    connection.exec_driver_sql(str(compiled), parameters)
