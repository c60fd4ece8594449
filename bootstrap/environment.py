"""Makes `.venv` and installs the project and its Python packages into it.

The requirements of a dependency group are read from `pyproject.toml` and handed to pip as they
are, because the pip of a fresh environment may be too old to know groups. pip's own configuration
on this machine decides where packages come from. A file marks the time in which pip works: an
environment that still has it was left half-done and is made anew.

A group named `stubs-PORT` does not go into the environment but into a folder beside its packages, for
those groups bring modules of the same names.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from bootstrap.progress import Log, SetupFailed, doing, done

UNFINISHED = "set-up-unfinished"
STUBS = "stubs"


def base_python() -> str:
    """The Python below us, even if we run inside an environment: it may be the one to remake."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return base


def can_be_made() -> bool:
    probe = [base_python(), "-c", "import venv, ensurepip"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def distribution_package() -> str:
    """Debian's and Ubuntu's package of venv for this Python; empty for a Python of other origin."""
    if sys.base_prefix != "/usr":
        return ""
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def is_usable(venv: Path) -> bool:
    python = venv / "bin" / "python"
    if (venv / UNFINISHED).exists() or not python.exists() or not was_made_here(venv):
        return False
    probe = [str(python), "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def was_made_here(venv: Path) -> bool:
    """False for an environment that was copied or moved: its scripts still name the old place."""
    try:
        configuration = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    made = re.search(r"^command\s*=.* -m venv (?:.* )?(/.*)$", configuration, flags=re.MULTILINE)
    return made is None or Path(made.group(1).strip()) == venv


def group(pyproject: dict[str, Any], name: str) -> list[str]:
    """The requirements of a dependency group, with the groups that it includes."""
    requirements: list[str] = []
    for entry in pyproject["dependency-groups"][name]:
        if isinstance(entry, str):
            requirements.append(entry)
        else:
            requirements += group(pyproject, entry["include-group"])
    return requirements


def stubs(pyproject: dict[str, Any]) -> dict[str, list[str]]:
    """The requirements of the groups `stubs-PORT`, by port."""
    prefix = f"{STUBS}-"
    return {
        name.removeprefix(prefix): group(pyproject, name)
        for name in pyproject["dependency-groups"]
        if name.startswith(prefix)
    }


def make(root: Path, *, development: bool, log: Log) -> None:
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if not is_usable(venv):
        doing("making .venv")
        if venv.is_symlink() or venv.is_file():
            raise SetupFailed(f"{venv} is not a folder. Move it away, then run the same command again.")
        shutil.rmtree(venv, ignore_errors=True)
        log.run([base_python(), "-m", "venv", venv], what="Making .venv")
    unfinished = venv / UNFINISHED
    unfinished.touch()
    extra: list[str] = []
    beside: dict[str, list[str]] = {}
    if development:
        with (root / "pyproject.toml").open("rb") as file:
            pyproject = tomllib.load(file)
        extra = group(pyproject, "dev")
        beside = stubs(pyproject)
    doing("installing Python packages (a minute or two)")
    pip = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "install"]
    log.run([*pip, "--editable", root, *extra], what="Installing Python packages", cwd=root)
    for port, requirements in beside.items():
        target = venv / STUBS / port
        shutil.rmtree(target, ignore_errors=True)
        command = [*pip, "--no-deps", "--target", str(target), *requirements]
        log.run(command, what=f"Installing the type stubs of {port}", cwd=root)
    unfinished.unlink()
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    )
    done(f"Python {version.stdout.strip()} in .venv, with the packages of pyproject.toml")
