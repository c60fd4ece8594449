"""Looks at the machine and changes nothing.

Programs are looked for on PATH and in the administrator's folders, which an ordinary account's
PATH leaves out on Debian. The project's own `.venv/bin` is left out, so that a wrapper is never
taken for the real thing.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bootstrap import versions
from bootstrap.needs import Program, Version

ADMINISTRATOR_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Machine:
    name: str
    family: str  # "debian", "ubuntu" or "" for anything else
    codename: str


@dataclass(frozen=True)
class Found:
    path: str
    version: Version


def describe(os_release: Path = Path("/etc/os-release")) -> Machine:
    try:
        fields = parse_os_release(os_release.read_text(encoding="utf-8"))
    except OSError:
        return Machine(sys.platform, "", "")
    identities = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    family = next((name for name in ("ubuntu", "debian") if name in identities), "")
    key = "UBUNTU_CODENAME" if family == "ubuntu" else "DEBIAN_CODENAME"
    codename = fields.get(key) or fields.get("VERSION_CODENAME", "")
    has_tools = all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb"))
    return Machine(fields.get("PRETTY_NAME", "this system"), family if has_tools else "", codename)


def parse_os_release(text: str) -> dict[str, str]:
    pairs = (line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def search_path(excluding: Path) -> str:
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *ADMINISTRATOR_FOLDERS]
    return os.pathsep.join(folder for folder in folders if folder and Path(folder) != excluding)


def find(program: Program, path: str) -> Found | None:
    executable = shutil.which(program.name, path=path)
    return Found(executable, version_of(program, executable)) if executable else None


def version_of(program: Program, executable: str) -> Version:
    """What the program says of itself; nothing if it does not even start."""
    try:
        result = subprocess.run(
            [executable, *program.version_arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return versions.from_output(result.stdout + result.stderr)


def enabled_at_boot(service: str, root: Path = Path("/")) -> bool:
    links = (
        *root.glob(f"etc/systemd/system/*.wants/{service}.service"),
        *root.glob(f"etc/rc5.d/S*{service}"),
    )
    return bool(links)
