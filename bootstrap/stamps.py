"""Remembers what is set up, so that the second run does nothing.

A stamp is the last thing written. It holds a hash of everything that decides the outcome, and the
paths that must still be there: if `.venv` vanished, the folder moved or a program was removed,
the stamp does not count.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bootstrap.files import write_whole


def key(root: Path) -> str:
    digest = hashlib.sha256(str(root).encode())
    own = root / "bootstrap"
    own_files = [*sorted(own.glob("*.py")), *sorted(own.glob("*/*.py")), *sorted(own.glob("*/*.json"))]
    for file in [root / "pyproject.toml", *own_files]:
        digest.update(f"\0{file.name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_fresh(root: Path, profile: str) -> bool:
    try:
        stamp = json.loads(_path(root, profile).read_text(encoding="utf-8"))
        return stamp["key"] == key(root) and all(Path(path).exists() for path in stamp["needs"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(root: Path, profiles: Iterable[str], needs: Iterable[str]) -> None:
    text = json.dumps({"key": key(root), "needs": sorted(needs)}, indent=1)
    for profile in profiles:
        write_whole(_path(root, profile), text + "\n")


def _path(root: Path, profile: str) -> Path:
    return root / ".venv" / f"set-up-{profile}.json"
