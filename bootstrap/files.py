"""Writes a file whole or not at all.

The text goes to a neighbour first and takes the name by one rename. An interrupted set-up leaves
at most a neighbour that nobody reads.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(mode)
    part.replace(path)


def write_wrapper(path: Path, command: Sequence[str]) -> None:
    """An executable at `path` that becomes `command`, with the caller's arguments after it."""
    write_whole(path, f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', mode=0o755)
