"""The workshop's tests: typing commands in an empty folder, and pens on a cable."""

import os
import pty
import subprocess
import sys
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from needletrail_gateway import cli

RAW_REPL = Path(__file__).with_name("raw_repl.py")
HEAP = "1m"


@dataclass
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Needletrail = Callable[..., Answer]


def keyboard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> Needletrail:
    """Type commands in that folder."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("NEEDLETRAIL_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["needletrail", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), *captured)

    return run


class CabledPen:
    """A MicroPython at the other end of a terminal, with `flash` as its file system.

    `with CabledPen(…) as pen:` switches it on; `pen.port` is what mpremote connects to.
    """

    def __init__(self, micropython: Path, flash: Path) -> None:
        self._micropython = micropython
        self.flash = flash
        self.port = ""

    def __enter__(self) -> Self:
        self.flash.mkdir(exist_ok=True)
        self._host, self._pen = pty.openpty()
        tty.setraw(self._pen)
        self.port = os.ttyname(self._pen)
        self._process = subprocess.Popen(
            [self._micropython, "-X", f"heapsize={HEAP}", RAW_REPL],
            cwd=self.flash,
            stdin=self._host,
            stdout=self._host,
        )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._host)
        os.close(self._pen)
