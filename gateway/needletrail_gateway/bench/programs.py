"""Finding the programs that the bench needs beside Python."""

import shutil
import subprocess
import sys
from pathlib import Path

MICROPYTHON_LEAST = (1, 25)


class MissingProgramError(Exception):
    """A program is not there; the text says which, and what installs it."""

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(f"{program} was not found. {remedy} installs it.")


def find_micropython() -> str:
    """The Unix port of MicroPython: the environment's own, else the system's if it is new enough."""
    beside = Path(sys.executable).parent / "micropython"
    program = str(beside) if beside.exists() else shutil.which("micropython")
    if program is None:
        raise MissingProgramError("MicroPython", "`make setup`")
    told = subprocess.run(
        [program, "-c", "import sys; print(*sys.implementation.version[:2])"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if len(told) != 2 or (int(told[0]), int(told[1])) < MICROPYTHON_LEAST:
        raise MissingProgramError("MicroPython 1.25 or newer", "`make setup`")
    return program
