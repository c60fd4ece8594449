"""MicroPython for WebAssembly is installed as pinned, or again if the pins have changed."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootstrap import wasm


class Npm:
    """Stands where the log is: does what npm does to the folder, and counts."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, command: Sequence[Any], *, what: str, cwd: Path) -> None:
        assert list(command[1:3]) == ["ci", "--ignore-scripts"], what
        self.runs += 1
        home = cwd / "node_modules" / wasm.PACKAGE
        home.mkdir(parents=True)
        for end in ("mjs", "wasm"):
            (home / f"micropython.{end}").write_text("x")


def test_it_is_installed_once(tmp_path: Path) -> None:
    npm: Any = Npm()
    first = wasm.install(tmp_path, "npm", npm)
    assert all(path.is_file() for path in first)
    assert wasm.install(tmp_path, "npm", npm) == first
    assert npm.runs == 1


def test_other_pins_or_a_missing_file_install_it_anew(tmp_path: Path) -> None:
    npm: Any = Npm()
    wasm.install(tmp_path, "npm", npm)
    (tmp_path / "wasm" / "package-lock.json").write_text("{}")
    wasm.install(tmp_path, "npm", npm)
    found = wasm.install(tmp_path, "npm", npm)
    found[1].unlink()
    wasm.install(tmp_path, "npm", npm)
    assert npm.runs == 3


def test_the_version_is_pinned_by_its_hash() -> None:
    lock = json.loads((wasm.HERE / "package-lock.json").read_text())
    package = lock["packages"][f"node_modules/{wasm.PACKAGE}"]
    assert package["version"] == wasm.version()
    assert re.fullmatch(r"sha512-[\w+/]{86}==", package["integrity"])
