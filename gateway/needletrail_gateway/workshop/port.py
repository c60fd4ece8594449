"""A pen on a cable, spoken to through mpremote: commands go in, text comes out.

mpremote runs as a program of its own, because its Python interface may change with any version and its
command line does not. What it says when something is wrong is made into what a person can do about it:
the port is not there, may not be opened, is in use, or nothing behind it answers as MicroPython does.
"""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from needletrail_gateway.workshop.errors import ToolError, WorkshopError

ANSWER_TIMEOUT_S = 40.0

Command = Sequence[str]


class Port:
    """A serial port's name, as mpremote takes it ("auto": the first board on USB)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def shown(self, *commands: Command) -> str:
        """The commands as a person would type them."""
        return shlex.join(["mpremote", "connect", self.name, *chained(commands)])

    def ask(self, script: str) -> str:
        """What a script prints on the pen. It begins in a fresh interpreter; main.py does not run."""
        return self.run(["exec", script], timeout_s=ANSWER_TIMEOUT_S)

    def run(
        self,
        *commands: Command,
        timeout_s: float,
        heard: Callable[[str], None] = lambda _line: None,
    ) -> str:
        """Run mpremote's commands in one connection; `heard` is called with each line as it comes.

        ToolError if the pen does not do it; WorkshopError if the port can not be the right one.
        """
        if find_spec("mpremote") is None:
            raise ToolError("mpremote is not installed: pip install 'needletrail[workshop]'.")
        self._check()
        program = [sys.executable, "-m", "mpremote", "connect", self.name, *chained(commands)]
        process = subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        too_late = threading.Event()

        def give_up() -> None:
            too_late.set()
            process.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                heard(line.rstrip())
            process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
        if process.returncode != 0:
            raise self._complaint("".join(said), too_late.is_set())
        return "".join(said)

    def _check(self) -> None:
        path = Path(self.name)
        if not path.is_absolute():
            return
        if not path.exists():
            raise WorkshopError(
                f"there is no port {self.name}. Is the cable one for data, and the pen switched on? "
                "`mpremote devs` lists the ports that are there."
            )
        if not os.access(path, os.R_OK | os.W_OK):
            raise WorkshopError(
                f"you may not use the port {self.name}. On Debian and Ubuntu: "
                "sudo usermod --append --groups dialout $USER, then log in again."
            )

    def _complaint(self, said: str, is_late: bool) -> ToolError:
        if "failed to access" in said:
            return ToolError(
                f"{self.name} can not be opened. Is it a serial port, and does no other program use it?"
            )
        if "no device" in said:
            return ToolError(
                "no pen was found on any USB port. Is the cable one for data, and the pen switched on? "
                "--port names a port that is not found by itself."
            )
        if is_late or "raw repl" in said or "timeout waiting" in said:
            return ToolError(
                f"nothing at {self.name} answers as MicroPython does. Is it the right port? Switch the "
                "pen off and on and try again; a new board needs MicroPython first "
                "(docs/how-to/make-a-pen.md)."
            )
        last = re.sub(r"\s+", " ", said).strip()[-300:]
        return ToolError(
            f"the pen at {self.name} did not do what was asked: {last or 'it said nothing'}"
        )


def chained(commands: Sequence[Command]) -> list[str]:
    """mpremote's command line for several commands."""
    words: list[str] = []
    for command in commands:
        words += ["+", *command] if words else list(command)
    return words
