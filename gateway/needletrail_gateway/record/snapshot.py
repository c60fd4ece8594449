"""A ledger opened only to be read: one moment of it, whatever the gateway writes meanwhile.

SQLite files are opened with `mode=ro`: nothing is migrated, created or written, and a running gateway
is not held up. A file on a medium that can not be written, closed in good order, is opened too. Rows
come as the driver has them, since what is to be proven may hold anything.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from needletrail_gateway.record.databases import engine_of
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import NEWEST_SCHEMA

AT_ONCE = 1_000
_NO_LEDGER = "this is not a ledger"


class Row(NamedTuple):
    """An entry as it stands in the table; nothing is certain about its values."""

    id: Any
    kind: Any
    pen: Any
    epoch: Any
    seq: Any
    session_id: Any
    committed_utc_ms: Any
    body: Any
    body_sha256: Any
    chain: Any
    pen_chain: Any


@contextmanager
def snapshot(location: str | Path) -> Iterator[Connection]:
    """A connection that sees one moment. LedgerError: there is no ledger, or of another schema."""
    text = str(location)
    shown = text.rpartition("@")[2]  # a URL may hold a password
    with ExitStack() as open_things:
        try:
            engine = _engine(text)
            open_things.callback(engine.dispose)
            connection = open_things.enter_context(engine.connect())
            _check_schema(connection)
        except LedgerError as error:
            raise LedgerError(f"{shown}: {error}") from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise LedgerError(f"{shown}: {_NO_LEDGER} that can be read ({_cause(error)}).") from error
        try:
            yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise LedgerError(f"{shown}: it can not be read to its end ({_cause(error)}).") from error
        connection.rollback()


def _cause(error: Exception) -> object:
    return getattr(error, "orig", None) or error


def _engine(text: str) -> Engine:
    if "://" in text and make_url(text).get_backend_name() != "sqlite":
        return engine_of(make_url(text), poolclass=NullPool)
    path = Path(make_url(text).database or "") if "://" in text else Path(text)
    engine = create_engine("sqlite://", creator=lambda: open_file(path), poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def open_file(path: Path) -> sqlite3.Connection:
    """A SQLite file, only to be read."""
    if not path.is_file():
        raise LedgerError("there is no such file")
    name = quote(str(path.resolve()))
    try:
        return _opened(f"file:{name}?mode=ro")
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        # The medium takes no files beside this one. Nobody can be writing there either.
        return _opened(f"file:{name}?immutable=1")


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # whatever may be in it
    try:
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check_schema(connection: Connection) -> None:
    tables = inspect(connection).get_table_names()
    if "entry" not in tables or "alembic_version" not in tables:
        raise LedgerError(_NO_LEDGER)
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version is not None and version > NEWEST_SCHEMA:
        raise LedgerError(
            f"it has schema {version}, this program knows up to {NEWEST_SCHEMA}. Upgrade Needletrail."
        )
    if version != NEWEST_SCHEMA:
        raise LedgerError(
            f"it has schema {version}, this program proves {NEWEST_SCHEMA}. Start the gateway on it "
            "once, or on a copy of it: that brings it up to date, and checks its old links."
        )


def entries(
    connection: Connection, after_id: int | None = None, at_once: int = AT_ONCE
) -> Iterator[Row]:
    """Every entry, or those after a number, in the order of the numbers; so many are read at once."""
    columns = ", ".join(Row._fields)
    later = "" if after_id is None else f" WHERE id > {after_id:d}"
    found = connection.execution_options(stream_results=True).exec_driver_sql(
        f"SELECT {columns} FROM entry{later} ORDER BY id"
    )
    for rows in found.partitions(at_once):
        for row in rows:
            yield Row(*row)


def rows(connection: Connection, table: str, order: str) -> Iterator[dict[str, Any]]:
    """Every row of another table."""
    found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY {order}")
    for row in found.mappings():
        yield dict(row)


def number(connection: Connection, query: str) -> int:
    """The one number that a query gives."""
    return int(connection.exec_driver_sql(query).scalar() or 0)
