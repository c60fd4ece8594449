"""Speaks to the person, and keeps what the tools say in a log.

A person reads one line for each thing done. What apt and pip print goes to `.tools/setup.log`; if
a command fails, its last lines are shown with the log's path. The lock is handed to every command
that runs as this account, so that a set-up killed half-way keeps the next one waiting until its
last command has ended.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 15


class SetupFailed(Exception):
    """Nothing more can be done here; the text says what a person can do."""


class CommandFailed(SetupFailed):
    """A command that should have worked did not; the text holds its last lines."""


def say(text: str) -> None:
    print(text, flush=True)


def done(text: str) -> None:
    say(f"✓ {text}")


def doing(text: str) -> None:
    say(f"… {text}")


def complain(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches the command too. It ends by itself and tidies up, so it is never killed."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt as pressed:
            interrupt = pressed
        else:
            if interrupt is not None:
                raise interrupt
            return code


class Log:
    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        path.write_text("", encoding="utf-8")

    def run(self, command: Sequence[str | Path], *, what: str, cwd: Path | None = None) -> None:
        words = [str(word) for word in command]
        with self.path.open("a+b") as log:
            log.write(f"\n$ {shlex.join(words)}\n".encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen(
                words,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                pass_fds=(self._lock,),
            )
            if wait_for(process) != 0:
                log.seek(start)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise CommandFailed(self._failure(what, lines))

    def capture(self, command: Sequence[str | Path], *, what: str) -> str:
        """The command's standard output, also when there is little to log."""
        words = [str(word) for word in command]
        result = subprocess.run(
            words,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            text=True,
            errors="replace",
            check=False,
        )
        with self.path.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {shlex.join(words)}\n{result.stdout}{result.stderr}")
        if result.returncode != 0:
            raise CommandFailed(self._failure(what, result.stderr.strip().splitlines()))
        return result.stdout

    def _failure(self, what: str, lines: Sequence[str]) -> str:
        shown = "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
        return f"{what} failed. Its last lines:\n{shown}\n  All of it is in {self.path}"
