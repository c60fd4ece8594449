"""Ledgers for tests that need hundreds of them: one file and one engine, emptied for each.

Most of what a new ledger costs is migrating it and compiling its statements; an engine that is kept
knows them. Nothing is forced to the disk, since nobody pulls a plug here. There is one ledger at a
time: the one before is gone when the next one is asked for.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from needletrail_gateway.core.registry.model import Keys, Registry
from needletrail_gateway.record.ledger import Ledger


class QuickLedgers:
    """Makes ledgers in a folder."""

    def __init__(self, folder: Path) -> None:
        self._empty, self.path = folder / "empty.sqlite", folder / "ledger.sqlite"
        self._engine: Engine | None = None

    def fresh(self, registry: Registry, keys: Mapping[str, Keys], now_utc_ms: int) -> Ledger:
        """A ledger that holds this registry and nothing else."""
        if self._engine is None:
            Ledger.open(self._empty).close()
            shutil.copyfile(self._empty, self.path)
            self._engine = Ledger.open(self.path).engine
            event.listen(self._engine, "connect", _hurry)
        self._engine.dispose()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        shutil.copyfile(self._empty, self.path)
        ledger = Ledger(self._engine)
        ledger.import_registry(registry, keys, now_utc_ms)
        return ledger

    def close(self) -> None:
        """Let go of the file."""
        if self._engine is not None:
            self._engine.dispose()


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")
