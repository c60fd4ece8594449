"""Changing a clinic's registry file without taking it out of its keeper's hands.

Comments, order and spacing stay: tomlkit edits the text, and only the entry of one pen. Before the file
is replaced, the new text is read the way the gateway will read it; what that refuses is not written.
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError
from tomlkit.items import AoT, Array, Table
from tomlkit.toml_document import TOMLDocument

from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.shell.documents import read_registry
from needletrail_gateway.workshop.errors import WorkshopError

Keys = dict[int, str]


class RegistryFile:
    """A registry in a file. Nothing reaches the file before `save`."""

    def __init__(self, path: Path) -> None:
        """Read and check the file; DocumentError if it is no registry."""
        self.path = path
        self.registry: Registry = read_registry(path)
        self._document: TOMLDocument = tomlkit.parse(path.read_bytes().decode("utf-8"))

    def keys(self, pen_id: str, epoch: int = 1) -> Keys:
        """A pen's keys by epoch. One that stands alone, as `key`, is of the epoch that was given."""
        entry = self._entry(pen_id)
        if "keys" in entry:
            return {int(one["epoch"]): str(one["key"]) for one in entry["keys"]}
        return {epoch: str(entry["key"])} if "key" in entry else {}

    def set_keys(self, pen_id: str, keys: Keys) -> None:
        """Write a pen's keys, oldest first, in place of those it has."""
        rows = tomlkit.array()
        for epoch in sorted(keys):
            row = tomlkit.inline_table()
            row.update({"epoch": epoch, "key": keys[epoch]})
            rows.append(row)
        rows.multiline(len(keys) > 1)
        entry = self._entry(pen_id)
        remark = entry["key"].trivia.comment.lstrip("# ") if "key" in entry else ""
        entry.pop("key", None)
        _put(entry, "keys", rows)
        if remark:
            entry["keys"].comment(remark)

    def set_calibration(
        self, pen_id: str, points: list[tuple[int, int]], on: date, remark: str
    ) -> None:
        """Write a pen's table, given in micrometres, its date, and a remark at the end of its line."""
        rows: Array = tomlkit.array()
        for counts, depth_um in points:
            rows.append([counts, depth_um / 1000])
        _put(self._entry(pen_id), "calibration", rows)
        self._entry(pen_id)["calibration"].comment(remark)
        _put(self._entry(pen_id), "calibrated", on)

    def add_pen(self, pen_id: str, facts: Mapping[str, Any], remark: str | None) -> None:
        """Add an entry after the last pen; `remark` stands at its calibration."""
        table = tomlkit.table()
        table["id"] = pen_id
        for name, value in facts.items():
            table[name] = value
        if remark is not None:
            table["calibration"].comment(remark)
        table.add(tomlkit.nl())
        pens = self._document.get("pen")
        if pens is None:
            pens = tomlkit.aot()
            self._document["pen"] = pens
        pens.append(table)

    def save(self, *, is_dry: bool = False) -> None:
        """Check what it has become, then replace the file; its owner and permissions stay."""
        text = tomlkit.dumps(self._document)
        try:
            self.registry = Registry.model_validate(tomllib.loads(text))
        except ValidationError as error:
            found = error.errors()[0]
            place = ".".join(str(part) for part in found["loc"])
            raise WorkshopError(
                f"{self.path}: this change would not make a registry: {place}: {found['msg']}."
            ) from error
        if is_dry:
            return
        part = self.path.with_name(self.path.name + ".part")
        part.touch(mode=0o600)
        part.write_bytes(text.encode())
        was = self.path.stat()
        if os.geteuid() == 0:  # who enrolls on the gateway's machine need not be who keeps the file
            os.chown(part, was.st_uid, was.st_gid)
        part.chmod(was.st_mode & 0o777)
        part.replace(self.path)

    def _entry(self, pen_id: str) -> Table:
        pens = self._document.get("pen")
        if isinstance(pens, AoT):
            for entry in pens:
                if isinstance(entry, Table) and entry["id"] == pen_id:
                    return entry
        raise WorkshopError(
            f"{self.path}: there is no pen {pen_id}. `needletrail pen enroll {pen_id}` adds it."
        )


def _put(entry: Table, name: str, value: Any) -> None:
    """Set a value; a new one comes after the entry's last, before the empty line that ends it."""
    if name in entry:
        entry[name] = value
        return
    entry.value._insert_after(list(entry)[-1], name, value)
