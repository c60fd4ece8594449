"""The registry's rows as CSV (RFC 4180), one section a file, for people who keep lists in spreadsheets.

The first line names the columns: the fields of a row, in any order. An empty cell is a field that is
not given. A field that is itself a list, a pen's calibration, is written as JSON in its cell. Whatever
is wrong is told with line and column, all of it at once, and nothing of the file is used. A pen's
secret key is never in such a file.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from needletrail_gateway.core.registry.changes import SECTIONS, Row, key_of
from needletrail_gateway.core.registry.model import (
    CartridgeLot,
    CartridgeProduct,
    Consumable,
    Pen,
    Practitioner,
)
from needletrail_gateway.shell.documents import DocumentError

_MODELS: dict[str, type[BaseModel]] = {
    "practitioner": Practitioner,
    "pen": Pen,
    "cartridge_product": CartridgeProduct,
    "cartridge_lot": CartridgeLot,
    "consumable": Consumable,
}
_BOOLEANS = {"true": True, "false": False}


def columns(section: str) -> list[str]:
    """The columns of a section, in the order of its model."""
    return [name for name, field in _MODELS[section].model_fields.items() if not field.exclude]


def write_table(section: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV text of the rows, with all columns of the section."""
    names = columns(section)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return out.getvalue()


def read_table(path: Path, section: str) -> dict[str, Row]:
    """Rows by key, each checked by itself. DocumentError names every line and column that is wrong."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"{path}: can not be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{path}: is not UTF-8 text (byte {error.start}). Save the table as UTF-8."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, [])
        _check_columns(path, section, names)
        complaints: list[str] = []
        rows: dict[str, Row] = {}
        lines: dict[str, int] = {}
        for cells in reader:
            line = reader.line_num
            if not any(cells):
                continue
            row = _row(path, line, section, names, cells, complaints)
            if row is None:
                continue
            key = key_of(section, row)
            if key in lines:
                complaints.append(f"{path}:{line}: {key} stands in line {lines[key]} already.")
            lines[key] = line
            rows[key] = row
    except csv.Error as error:
        raise DocumentError(f"{path}:{reader.line_num}: is not CSV: {error}.") from error
    if complaints:
        raise DocumentError("\n".join(complaints))
    return rows


def _check_columns(path: Path, section: str, names: list[str]) -> None:
    known = columns(section)
    for name in names:
        if name not in known:
            raise DocumentError(
                f"{path}:1: there is no column {name!r} in a {section}. "
                f"Known columns: {', '.join(known)}."
            )
        if names.count(name) > 1:
            raise DocumentError(f"{path}:1: the column {name!r} is there twice.")
    for name in SECTIONS[section]:
        if name not in names:
            raise DocumentError(f"{path}:1: the column {name!r} is missing; it names the rows.")


def _row(
    path: Path, line: int, section: str, names: list[str], cells: list[str], complaints: list[str]
) -> Row | None:
    if len(cells) != len(names):
        complaints.append(f"{path}:{line}: {len(cells)} cells where there are {len(names)} columns.")
        return None
    given = {
        name: _value(cell, _MODELS[section], name)
        for name, cell in zip(names, cells, strict=True)
        if cell
    }
    try:
        made = _MODELS[section].model_validate(given)
    except ValidationError as error:
        for found in error.errors():
            place = (*found["loc"], *found.get("ctx", {}).get("place", ()))
            column = str(place[0]) if place else ""
            message = str(found["msg"]).removeprefix("Value error, ")
            if found["type"] == "missing":
                message = "must be given"
            complaints.append(f"{path}:{line}: {column}: {message}.")
        return None
    row: Row = made.model_dump(mode="json", exclude_defaults=True)
    return row


def _value(cell: str, model: type[BaseModel], name: str) -> Any:
    """What a cell says. Text stays text: pydantic reads numbers and dates from it."""
    if cell.startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    if model.model_fields[name].annotation is bool:
        return _BOOLEANS.get(cell.strip().lower(), cell)
    return cell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value)
    return str(value)
