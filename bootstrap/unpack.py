"""Unpacks a program from another suite of the same distribution, beside the system.

apt itself downloads and checks the signature, with the machine's own mirror and key, but with
lists, cache and status in a folder of the project: nothing of the system changes and no rights
are needed. Against an empty status apt names everything that the program needs; of that the
libraries are taken, with their own C library. The program then runs through that C library's
loader, so it never meets the system's older one. The folder takes its final name by one rename,
when all of it is there.
"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from bootstrap import packages, sources, versions
from bootstrap.machine import Machine
from bootstrap.needs import COMPONENTS, Program
from bootstrap.progress import CommandFailed, Log, SetupFailed, doing

LOADER = re.compile(r"ld(-linux[-\w]*|64)?\.so\.\d+")
ORIGINS = {"debian": "Debian", "ubuntu": "Ubuntu"}


def unpack(
    program: Program, suites: Sequence[str], machine: Machine, into: Path, log: Log
) -> list[str]:
    """Fetches the program into the folder and returns the command that runs it."""
    source = sources.own_archive(sources.read(Path("/etc/apt")), machine.family, machine.codename)
    if source is None:
        raise SetupFailed(
            f"Found no entry for the archive of {machine.name} in /etc/apt/sources.list\n"
            f"  or /etc/apt/sources.list.d, so {program.title} cannot be fetched."
        )
    architecture = log.capture(["dpkg", "--print-architecture"], what="dpkg").strip()
    home = into.with_name(into.name + ".part")
    for suite in suites:
        shutil.rmtree(home, ignore_errors=True)
        stanza = sources.for_suite(source, suite, COMPONENTS[machine.family], architecture)
        options = _private_apt(home / "apt", stanza)
        doing(f"looking for {program.title} in {suite}")
        if not _offers(program, options, home, machine, log):
            continue
        doing(f"fetching {program.title} and its libraries from {suite}")
        _extract(program, options, home, log)
        shutil.rmtree(home / "apt")
        shutil.rmtree(into, ignore_errors=True)
        home.rename(into)
        return command(program, into)
    shutil.rmtree(home, ignore_errors=True)
    wanted = versions.dotted(program.minimum)
    raise SetupFailed(
        f"Found no {program.title} {wanted} or newer. Looked in: {', '.join(suites)}.\n"
        f"  What apt said is in {log.path}"
    )


def command(program: Program, folder: Path) -> list[str]:
    """The program through the loader that came with it."""
    places = ("usr/lib/*/lib*.so*", "lib/*/lib*.so*")
    libraries = sorted({file.parent for place in places for file in folder.glob(place)})
    loaders = [
        file
        for library in libraries
        for file in sorted(library.glob("ld*.so.*"))
        if LOADER.fullmatch(file.name) and not file.is_symlink()
    ]
    executables = [
        file
        for place in ("usr/bin", "usr/sbin", "bin", "sbin")
        if (file := folder / place / program.name).is_file()
    ]
    if not loaders or not executables:
        return []
    path = ":".join(str(library) for library in libraries)
    return [str(loaders[0]), "--library-path", path, str(executables[0])]


def wanted_packages(simulation: str, package: str) -> list[str]:
    """Of everything apt would install, the package itself and the libraries."""
    names = re.findall(r"^Inst (\S+) ", simulation, flags=re.MULTILINE)
    return [name for name in names if name == package or name.startswith("lib")]


def _private_apt(home: Path, stanza: str) -> list[str]:
    for folder in ("state/lists/partial", "cache/archives/partial", "sources", "debs"):
        (home / folder).mkdir(parents=True)
    (home / "sources" / "suite.sources").write_text(stanza, encoding="utf-8")
    (home / "status").touch()
    settings = {
        "Dir::State": home / "state",
        "Dir::State::lists": home / "state" / "lists",
        "Dir::State::status": home / "status",
        "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": home / "sources",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Default-Release": "",
        "APT::Update::Error-Mode": "any",
        "Acquire::Retries": "3",
    }
    if os.geteuid() == 0:
        # apt's own account may be unable to enter the project's folder.
        settings["APT::Sandbox::User"] = "root"
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _offers(program: Program, options: Sequence[str], home: Path, machine: Machine, log: Log) -> bool:
    try:
        log.run(["apt-get", "-q", *options, "update"], what="apt-get update")
    except CommandFailed:
        return False
    if not _has_origin(home / "apt" / "state" / "lists", ORIGINS[machine.family]):
        return False
    policy = log.capture(["apt-cache", *options, "policy", program.package], what="apt-cache")
    offered = versions.from_package(packages.candidate_in(policy))
    return versions.is_enough(offered, program.minimum)


def _has_origin(lists: Path, origin: str) -> bool:
    releases = [file for file in lists.iterdir() if file.name.endswith(("InRelease", "_Release"))]
    return any(
        f"Origin: {origin}" in file.read_text(encoding="utf-8", errors="replace").splitlines()
        for file in releases
    )


def _extract(program: Program, options: Sequence[str], home: Path, log: Log) -> None:
    what = f"Fetching {program.title}"
    simulation = log.capture(
        ["apt-get", *options, "-s", "install", "--no-install-recommends", program.package],
        what=what,
    )
    wanted = wanted_packages(simulation, program.package)
    debs = home / "apt" / "debs"
    log.run(["apt-get", "-q", *options, "download", *wanted], what=what, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        log.run(["dpkg-deb", "-x", deb, home], what=what)
