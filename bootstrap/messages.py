"""Puts into words what is missing and how to get it.

Pure text, no look at the machine: each function is told what was found. A message names every
missing thing at once, then one command, so that a person needs only one more try.
"""

import shlex
from collections.abc import Sequence

from bootstrap import versions
from bootstrap.needs import PYTHON_MINIMUM, Program, Version

Missing = tuple[Program, Version]  # the version found, or () for none


def missing(problems: Sequence[Missing], venv_package: str = "") -> str:
    lines = ["Not everything is here yet. Missing:"]
    if venv_package:
        lines.append(f"    Python's venv with pip ({venv_package})")
    for program, found in problems:
        line = f"    {program.title} {versions.dotted(program.minimum)} or newer ({program.purpose})"
        lines.append(line + (f"; found {versions.dotted(found)}" if found else ""))
    return "\n".join(lines)


def no_rights(packages: Sequence[str], *, has_sudo: bool) -> str:
    install = f"apt-get install --no-install-recommends {shlex.join(packages)}"
    if has_sudo:
        return (
            "  This account may not install packages: it is not root, and sudo said no.\n"
            "  Run this, then the same make command again:\n"
            f"    sudo apt-get update && sudo {install}"
        )
    return (
        "  This account may not install packages: it is not root, and there is no sudo.\n"
        "  Have root run this, then run the same make command again:\n"
        f"    apt-get update && {install}"
    )


def no_package(packages: Sequence[str], family: str) -> str:
    text = f"  apt knows no package that is new enough for: {', '.join(packages)}."
    if family == "ubuntu":
        text += "\n  If Ubuntu's universe is off, turn it on: sudo add-apt-repository universe"
    return text


def other_system(name: str) -> str:
    return (
        f"  The set-up installs programs on Debian 12 and 13 and Ubuntu 24.04. This is {name}.\n"
        "  Put the programs above on PATH, then run the same make command again."
    )


def no_venv(name: str, python: str) -> str:
    return (
        f"{python} cannot make a virtual environment: it has no ensurepip.\n"
        f"  On {name} it takes Python {versions.dotted(PYTHON_MINIMUM)} or newer, with venv.\n"
        "  To use another Python: make PYTHON=/path/to/python3 demo"
    )


def installed(packages: Sequence[str], enabled: Sequence[str]) -> str:
    text = f"  apt installed: {', '.join(packages)}. No server was started."
    if enabled:
        names = shlex.join(enabled)
        text += (
            f"\n  These start when the machine boots: {', '.join(enabled)}."
            f"\n  To prevent that: sudo systemctl disable {names}"
        )
    return text
