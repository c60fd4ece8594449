"""What the service tells a view of the ledger, and nothing else: a view must not hold the record up.

A view reads the ledger by itself, in its own time and perhaps in a process of its own. `INFLUX` is the
name of InfluxDB's place in the ledger's outbox: up to which entry it has been told.
"""

from typing import Protocol

INFLUX = "influx"


class View(Protocol):
    """Something that follows the ledger. None of these may block or raise."""

    def start(self) -> None:
        """Begin to follow."""

    def notice(self) -> None:
        """Entries have been committed."""

    def stop(self) -> None:
        """The service ends; what has not been told waits in the ledger."""
