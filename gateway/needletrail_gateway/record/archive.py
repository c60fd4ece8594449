"""The ledger as a file: whole and readable by others (export, import), or as it is (backup).

An export is JSON lines in gzip (RFC 1952): a head that says what follows, each entry, each row of the
other tables, and a trailer with the SHA-256 of all before it. The same ledger gives the same lines. It
is written and read a line at a time. An import writes a new ledger in one transaction, which stands
only if the trailer is right and what came out of it proves as intact. docs/reference/ledger.md has the
format.
"""

import gzip
import hashlib
import json
import os
import sqlite3
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import NEWEST_SCHEMA, Ledger
from needletrail_gateway.record.proof import Proof, prove, prove_on
from needletrail_gateway.record.snapshot import entries, number, open_file, rows, snapshot

FORMAT = "needletrail ledger"
VERSION = 1
KEYS = "pen_key"
# Every table but the entries and the keys, with the order in which its rows are written.
TABLES = {
    "session": "opened_entry, session_id",
    "visit": "session_id",
    "alert": "entry, session_id, code",
    "lane": "pen, epoch",
    "pin": "entry",
    "quarantine": "id",
    "tally": "name",
    "outbox": "view",
}
LINE_MAX_BYTES = 64_000_000
_ROWS_AT_ONCE = 1_000
_PROGRESS_EVERY = 500
_BACKUP_PAGES = 2_000
_ZLIB_LEVEL = 6

OnProgress = Callable[[int, int], None]


class ArchiveError(LedgerError):
    """An export or a backup that can not be made or used: the file, the place, and why."""


@dataclass(frozen=True)
class Moved:
    """What an export or import moved."""

    entries: int
    rows: int
    keys: int
    bytes: int


# ---- export ----


def export(
    location: str | Path, path: Path, *, with_keys: bool = False, progress: OnProgress | None = None
) -> Moved:
    """Write the whole ledger into a new file, which is there whole or not at all. The gateway may run.

    ArchiveError if the file is there already, LedgerError if the ledger can not be read.
    """
    with snapshot(location) as connection, _new_file(path, is_secret=with_keys) as part:
        with part.open("wb") as raw:
            with gzip.GzipFile("", "wb", _ZLIB_LEVEL, raw, mtime=0) as packed:
                lines = _Lines(packed)
                entry_count = number(connection, "SELECT COUNT(*) FROM entry")
                lines.write(_head(connection, entry_count, with_keys))
                for done, row in enumerate(entries(connection), 1):
                    lines.write(_entry_line(row._asdict()))
                    if progress is not None and done % _PROGRESS_EVERY == 0:
                        progress(done, entry_count)
                if progress is not None:
                    progress(entry_count, entry_count)
                row_count = 0
                for table, order in TABLES.items():
                    for found in rows(connection, table, order):
                        lines.write({"table": table} | _packed_row(found))
                        row_count += 1
                key_count = 0
                for found in rows(connection, KEYS, "pen, epoch") if with_keys else ():
                    lines.write({"table": KEYS} | _packed_row(found))
                    key_count += 1
                lines.write({"end": lines.count, "sha256": lines.sha256.hexdigest()})
            raw.flush()
            os.fsync(raw.fileno())
        size = part.stat().st_size
    return Moved(entry_count, row_count, key_count, size)


class _Lines:
    """Writes objects as lines of JSON, and keeps their SHA-256."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.count = 0

    def write(self, said: Mapping[str, Any]) -> None:
        line = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        self._file.write(line)
        self.sha256.update(line)
        self.count += 1


def _head(connection: Connection, entry_count: int, with_keys: bool) -> dict[str, Any]:
    last = connection.execute(
        select(schema.entry.c.chain).order_by(schema.entry.c.id.desc()).limit(1)
    ).scalar()
    return {
        "format": FORMAT,
        "version": VERSION,
        "schema": NEWEST_SCHEMA,
        "entries": entry_count,
        "last_chain": None if last is None else last.hex(),
        "tables": list(TABLES),
        "keys": with_keys,
    }


def _entry_line(row: dict[str, Any]) -> dict[str, Any]:
    """An entry: digests in hex, its body as text if it is JSON, else in base64. Null is left out."""
    said = {name: value for name, value in row.items() if value is not None}
    for name in ("chain", "pen_chain", "body_sha256"):
        if name in said:
            said[name] = said[name].hex()
    body = said.pop("body")
    if "body_sha256" not in said:
        try:
            text = body.decode() if body[:1] == b"{" else None
        except UnicodeDecodeError:
            text = None
        said |= {"base64": b64encode(body).decode()} if text is None else {"text": text}
    return said


def _packed_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of another table: bytes become {"base64": …}."""
    return {
        name: {"base64": b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in row.items()
    }


# ---- import ----


def import_from(
    path: Path, location: str | Path, progress: OnProgress | None = None
) -> tuple[Moved, Proof]:
    """Make a ledger of an export, and prove it. `location` must hold no ledger, or one without entries.

    ArchiveError if the file was cut short or altered, or is not intact; nothing is then left behind.
    """
    if "://" in str(location):
        return _import_into(path, str(location), progress)
    target = Path(location)
    if target.exists() and not _is_empty(target):
        raise ArchiveError(f"{target}: is there already and is not empty. Name a new file.")
    with _new_file(target, may_exist=True) as part:
        try:
            done = _import_into(path, part, progress)
            _close_log(part)
        finally:
            for suffix in ("-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)
    return done


def _is_empty(path: Path) -> bool:
    if path.is_file() and path.stat().st_size == 0:
        return True
    with snapshot(path) as connection:
        return number(connection, "SELECT COUNT(*) FROM entry") == 0


def _import_into(path: Path, location: str | Path, progress: OnProgress | None) -> tuple[Moved, Proof]:
    ledger = Ledger.open(location)
    try:
        with ledger.engine.begin() as connection:
            if connection.scalar(select(func.count()).select_from(schema.entry)):
                raise ArchiveError(f"{path}: the ledger that it is to go into is not empty.")
            try:
                moved = _Reader(path, connection, progress).read()
            except (SQLAlchemyError, OverflowError, ValueError, TypeError) as error:
                cause = getattr(error, "orig", None) or error
                raise ArchiveError(f"{path}: {cause}. {_ALTERED}") from error
            proof = prove_on(connection)
            if not proof.is_intact:
                raise ArchiveError(f"{path}: {proof.findings[0]}. {_ALTERED}")
    finally:
        ledger.close()
    return moved, proof


_ALTERED = "The file was altered, or the ledger that it is from; nothing was imported."
_CUT = "The file was cut short or altered; nothing was imported. Copy it again."


class _Reader:
    """Reads an export into an open transaction."""

    def __init__(self, path: Path, connection: Connection, progress: OnProgress | None) -> None:
        self._path = path
        self._connection = connection
        self._progress = progress
        self._line = 0
        self._sha256 = hashlib.sha256()
        self._waiting: list[dict[str, Any]] = []
        self._table: Table = schema.entry

    def read(self) -> Moved:
        """Every line; ArchiveError, with the line's number, at the first that is wrong."""
        try:
            with gzip.open(self._path, "rb") as file:
                return self._read(file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ArchiveError(f"{self._path}: {error}. {_CUT}") from error
        except OSError as error:
            raise ArchiveError(f"{self._path}: can not be read: {error.strerror or error}.") from error

    def _read(self, file: Any) -> Moved:
        head = self._next(file)
        if head.get("format") != FORMAT:
            raise ArchiveError(f"{self._path}: is not an export of a ledger.")
        if head.get("version") != VERSION or head.get("schema") != NEWEST_SCHEMA:
            raise ArchiveError(
                f"{self._path}: is of version {head.get('version')}, schema {head.get('schema')}; this "
                f"program reads version {VERSION}, schema {NEWEST_SCHEMA}."
            )
        entry_count = head.get("entries")
        if type(entry_count) is not int:
            raise self._wrong("the head does not say how many entries follow")
        counts = dict.fromkeys((schema.entry.name, *TABLES, KEYS), 0)
        while True:
            digest, count = self._sha256.hexdigest(), self._line
            said = self._next(file)
            if "end" in said:
                break
            table = self._store(said)
            counts[table] += 1
            if self._progress is not None and table == "entry" and counts[table] % 500 == 0:
                self._progress(counts[table], entry_count)
        self._flush()
        if said != {"end": count, "sha256": digest}:
            raise self._wrong("the lines before are not those that were written")
        if file.read(1):
            raise self._wrong("something follows the end")
        if counts["entry"] != entry_count:
            raise self._wrong(f"there are {counts['entry']} entries, not {entry_count}")
        return Moved(
            counts["entry"],
            sum(counts[table] for table in TABLES),
            counts[KEYS],
            self._path.stat().st_size,
        )

    def _next(self, file: Any) -> dict[str, Any]:
        line = file.readline(LINE_MAX_BYTES)
        self._line += 1
        if not line.endswith(b"\n"):
            raise self._wrong("the line has no end")
        self._sha256.update(line)
        try:
            said = json.loads(line)
        except ValueError:
            raise self._wrong("this is no JSON") from None
        if not isinstance(said, dict):
            raise self._wrong("this is no JSON object")
        return said

    def _store(self, said: dict[str, Any]) -> str:
        """Queue a row for its table; which one that is."""
        name = str(said.pop("table", schema.entry.name))
        if name != schema.entry.name and name not in (*TABLES, KEYS):
            raise self._wrong(f"there is no table {name}")
        table = schema.metadata.tables[name]
        try:
            row = _entry_row(said) if name == schema.entry.name else _row(table, said)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._wrong(f"this is no row of {name}") from None
        if table is not self._table or len(self._waiting) >= _ROWS_AT_ONCE:
            self._flush()
            self._table = table
        self._waiting.append(row)
        return name

    def _flush(self) -> None:
        if self._waiting:
            self._connection.execute(insert(self._table), self._waiting)
        self._waiting = []

    def _wrong(self, why: str) -> ArchiveError:
        return ArchiveError(f"{self._path}:{self._line}: {why}. {_CUT}")


def _entry_row(said: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: said.pop(column.name, None) for column in schema.entry.columns}
    for name in ("chain", "pen_chain", "body_sha256"):
        row[name] = None if row[name] is None else bytes.fromhex(row[name])
    if row["body_sha256"] is not None:
        row["body"] = b""
    elif "text" in said:
        row["body"] = said.pop("text").encode()
    else:
        row["body"] = b64decode(said.pop("base64"), validate=True)
    if said or type(row["id"]) is not int:
        raise ValueError
    return row


def _row(table: Table, said: dict[str, Any]) -> dict[str, Any]:
    row = {}
    for column in table.columns:
        value = said.pop(column.name)
        row[column.name] = (
            b64decode(value["base64"], validate=True) if isinstance(value, dict) else value
        )
        if value is not None and column.type.python_type is bool:
            row[column.name] = bool(value)
    if said:
        raise ValueError
    return row


# ---- backup ----


def backup(location: str | Path, path: Path, progress: OnProgress | None = None) -> Proof:
    """Copy the ledger's database, keys and all, while the gateway may run; then prove the copy.

    The copy is of one moment, and there whole or not at all. A ledger that is not intact is copied
    as well: the proof says so, and the copy is evidence. ArchiveError if the file is there already, or
    the ledger is no SQLite file.
    """
    if "://" in str(location):
        raise ArchiveError("a backup copies a SQLite file. For a database server use its own backup.")
    source = Path(location)
    with snapshot(source), _new_file(path, is_secret=True) as part:
        with closing(open_file(source)) as from_file, closing(sqlite3.connect(part)) as to_file:
            # Fix the moment before the first page: what is committed meanwhile would begin it anew.
            from_file.execute("BEGIN")
            from_file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()

            def tell(_status: int, remaining: int, total: int) -> None:
                if progress is not None:
                    progress(total - remaining, total)

            from_file.backup(to_file, pages=_BACKUP_PAGES, progress=tell)
            to_file.execute("PRAGMA journal_mode = DELETE")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        return prove(part)


# ---- files ----


@contextmanager
def _new_file(path: Path, *, is_secret: bool = False, may_exist: bool = False) -> Iterator[Path]:
    """A file beside the one to be, which takes its name when the block ends well, and else goes."""
    if path.exists() and not may_exist:
        raise ArchiveError(f"{path}: is there already. Name a new file.")
    if not path.parent.is_dir():
        raise ArchiveError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_secret else 0o666)
        os.close(handle)
    except OSError as error:
        raise ArchiveError(f"{part}: can not be written: {error.strerror}.") from error
    try:
        yield part
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def _close_log(path: Path) -> None:
    """Everything into the one file, and onto the disk."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb") as file:
        os.fsync(file.fileno())
