"""pen.json on the maker's side: what a pen is told about itself.

It holds the key, so only its owner may read it, and a file that is there is replaced whole or not
at all.
"""

import json
import os
from pathlib import Path
from typing import Any

from needletrail_gateway.workshop.errors import WorkshopError
from needletrail_protocol.measure import Calibration

FILE = "pen.json"
PRIVATE_MODE = 0o600


def read_pen(path: Path) -> dict[str, Any]:
    """The object in a pen.json; WorkshopError if it is none, or has no name, key or table."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkshopError(
            f"{path}: can not be read: {error.strerror}. `needletrail pen enroll` writes it."
        ) from error
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise WorkshopError(f"{path}:{line}: is not JSON: {error}. Enroll the pen again.") from error
    wanted = {"clinic": str, "pen": str, "epoch": int, "key": str, "board": str, "broker": dict}
    for name, kind in wanted.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise WorkshopError(
                f"{path}: {name} is missing or of another type. `needletrail pen enroll` writes it."
            )
    try:
        Calibration([(int(counts), int(depth)) for counts, depth in found["calibration"]])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkshopError(f"{path}: calibration is no table: {error}.") from error
    return dict(found)


def write_pen(path: Path, pen: dict[str, Any]) -> None:
    """Write a pen.json that only its owner may read; one that is there is replaced."""
    write_private(path, json.dumps(pen, indent=1, ensure_ascii=False) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file at once: whoever reads it meanwhile has the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
