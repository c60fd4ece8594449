"""Sets up one profile: looks, installs what apt has, unpacks what it has not, then looks again.

Everything is found out before a person is told what is missing, and what needs no rights is done
even if other things cannot be. One set-up at a time works in a folder; a second one waits, and
then mostly finds its work done. The stamp is written last, so a set-up that was interrupted
anywhere is simply run again.
"""

import fcntl
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootstrap import environment, machine, messages, packages, stamps, unpack, versions, wasm
from bootstrap.files import write_wrapper
from bootstrap.machine import Found, Machine
from bootstrap.needs import MICROPYTHON, NPM, PROFILES, SUITES, Profile, Program
from bootstrap.progress import Log, SetupFailed, complain, doing, done, say

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PROFILES:
        complain(f"Usage: python3 -m bootstrap {'|'.join(PROFILES)}")
        return 2
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    name = arguments[0]
    if stamps.is_fresh(ROOT, name):
        return 0
    try:
        with locked(ROOT / ".tools") as lock:
            if not stamps.is_fresh(ROOT, name):
                SetUp(name, Log(ROOT / ".tools" / "setup.log", lock)).run()
    except SetupFailed as failure:
        complain(f"✗ {failure}")
        return 1
    except OSError as failure:
        complain(f"✗ The set-up cannot go on: {failure}")
        return 1
    except KeyboardInterrupt:
        complain("\n✗ Stopped. The same command goes on from here.")
        return 130
    return 0


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            doing("waiting for another set-up in this folder")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


class SetUp:
    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.profile: Profile = PROFILES[name]
        self.log = log
        self.machine: Machine = machine.describe()
        self.venv = ROOT / ".venv"
        self.search_path = machine.search_path(excluding=self.venv / "bin")
        self.needs: set[str] = set()
        self.installed: list[str] = []
        self.services: list[str] = []
        self.advice: list[str] = []

    def run(self) -> None:
        say(f"Setting up Needletrail ({self.name}) on {self.machine.name}")
        self.install_packages()
        if not environment.can_be_made():
            raise SetupFailed(self.without_venv())
        environment.make(ROOT, development=self.profile.development, log=self.log)
        self.needs.add(str(self.venv / "bin" / "python"))
        problems = [problem for program in self.programs if (problem := self.provide(program))]
        if problems:
            raise SetupFailed("\n".join([messages.missing(problems), *self.advice]))
        npm = self.found(NPM)
        if self.profile.wasm and npm is not None:
            self.needs.update(map(str, wasm.install(ROOT / ".tools", npm.path, self.log)))
        stamps.write(ROOT, (self.name, *self.profile.includes), self.needs)
        if self.installed:
            enabled = [service for service in self.services if machine.enabled_at_boot(service)]
            say(messages.installed(self.installed, enabled))

    @property
    def programs(self) -> tuple[Program, ...]:
        return (*self.profile.programs, *((MICROPYTHON,) if self.profile.micropython else ()))

    def found(self, program: Program) -> Found | None:
        return machine.find(program, self.search_path)

    def is_here(self, program: Program) -> bool:
        found = self.found(program)
        return found is not None and versions.is_enough(found.version, program.minimum)

    def is_unpacked(self, program: Program) -> bool:
        return bool(unpack.command(program, self.folder_of(program)))

    def folder_of(self, program: Program) -> Path:
        return ROOT / ".tools" / program.name

    def install_packages(self) -> None:
        """Installs what apt has, and keeps advice for what this account may not install."""
        venv_package = "" if environment.can_be_made() else environment.distribution_package()
        wanted = [
            program
            for program in self.programs
            if not self.is_here(program) and not self.is_unpacked(program)
        ]
        if not wanted and not venv_package:
            return
        if not self.machine.family:
            self.advice.append(messages.other_system(self.machine.name))
            return
        needs_rights = venv_package or any(
            self.in_apt(program) or not self.can_unpack(program) for program in wanted
        )
        as_root = packages.rights(ask=bool(needs_rights))
        if as_root is not None:
            doing("asking apt what it has")
            packages.update(as_root, self.log)
        offered = [program for program in wanted if self.in_apt(program)]
        absent = [
            program.package
            for program in wanted
            if program not in offered and not self.can_unpack(program)
        ]
        names = [*((venv_package,) if venv_package else ()), *(item.package for item in offered)]
        if as_root is None:
            names += absent
            # What can be unpacked without rights is no reason to send a person to root.
            names = [name for name in names if name != MICROPYTHON.package]
            if names:
                self.advice.append(messages.no_rights(names, has_sudo=bool(shutil.which("sudo"))))
        elif names:
            doing(f"installing {', '.join(names)}")
            services = [service for program in offered for service in program.services]
            packages.install(names, services, as_root, self.log)
            self.installed, self.services = names, services
        if absent and as_root is not None:
            self.advice.append(messages.no_package(absent, self.machine.family))

    def in_apt(self, program: Program) -> bool:
        offered = versions.from_package(packages.candidate(program.package, self.log))
        return bool(offered) and versions.is_enough(offered, program.minimum)

    def can_unpack(self, program: Program) -> bool:
        return program.package in SUITES[self.machine.family]

    def provide(self, program: Program) -> messages.Missing | None:
        """Makes sure of one program, and returns it if it is still missing."""
        found = self.found(program)
        if found and versions.is_enough(found.version, program.minimum):
            self.needs.add(found.path)
            if program is MICROPYTHON:
                self.wrap(program, [found.path])
            done(f"{program.title} {versions.dotted(found.version)}")
            return None
        if self.machine.family and self.can_unpack(program) and not self.left_to_apt(program):
            try:
                self.provide_unpacked(program)
            except SetupFailed as failure:
                self.advice.append(f"  {failure}")
            else:
                return None
        return program, found.version if found else ()

    def without_venv(self) -> str:
        package = environment.distribution_package()
        if not (package and self.machine.family):
            return messages.no_venv(self.machine.name, environment.base_python())
        problems: list[messages.Missing] = [
            (program, ()) for program in self.profile.programs if not self.is_here(program)
        ]
        return "\n".join([messages.missing(problems, package), *self.advice])

    def left_to_apt(self, program: Program) -> bool:
        """A server that apt has is left to apt; only the interpreter is unpacked in its stead."""
        return program is not MICROPYTHON and self.in_apt(program)

    def provide_unpacked(self, program: Program) -> None:
        folder = self.folder_of(program)
        command = unpack.command(program, folder)
        if not command or not self.wrap(program, command):
            suites = SUITES[self.machine.family][program.package]
            own = (self.machine.codename,) if self.in_apt(program) else ()
            suites = tuple(dict.fromkeys((*own, *suites)))
            command = unpack.unpack(program, suites, self.machine, folder, self.log)
            if not command or not self.wrap(program, command):
                raise SetupFailed(
                    f"{program.title} was unpacked into {folder} but does not run.\n"
                    f"  All that was done is in {self.log.path}"
                )
        self.needs.update(part for part in command if Path(part).is_file())
        version = machine.version_of(program, str(self.venv / "bin" / program.name))
        done(f"{program.title} {versions.dotted(version)} in .tools")

    def wrap(self, program: Program, command: Sequence[str]) -> bool:
        """Writes the wrapper into .venv/bin and tells whether it runs and is new enough."""
        wrapper = self.venv / "bin" / program.name
        write_wrapper(wrapper, command)
        self.needs.add(str(wrapper))
        return versions.is_enough(machine.version_of(program, str(wrapper)), program.minimum)
