"""Which databases hold a ledger, and their engines: SQLite, which is always there, and PostgreSQL.

PostgreSQL's driver is psycopg 3, an extra of the package; a URL need not name it.
"""

from typing import Any

from sqlalchemy import URL, Engine, create_engine

from needletrail_gateway.record.errors import LedgerError

_POSTGRESQL_DRIVER = "postgresql+psycopg"


def engine_of(url: URL, **options: Any) -> Engine:
    """An engine that has not connected yet. LedgerError if it is none of the two, or has no driver."""
    if url.drivername == "postgresql":
        url = url.set(drivername=_POSTGRESQL_DRIVER)
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise LedgerError(
            f"a ledger is kept in SQLite or in PostgreSQL, not in {backend}. Give a file, or a URL "
            "such as postgresql://needletrail@localhost/ledger."
        )
    try:
        return create_engine(url, **options)
    except ModuleNotFoundError as error:
        raise LedgerError(
            f"its driver, {error.name}, is not installed. Install it: "
            "pip install 'needletrail[postgresql]'"
        ) from error
