"""Two interpreters, one suite; and the programs that tests need.

Plain test files in tests/device and tests/protocol (not in their folders `cpython_only`) are
collected twice: by pytest as usual, and once more as items that run on the real MicroPython, one
process a file. Programs that are missing make a test fail, never skip.
"""

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from needletrail_gateway.bench.broker import Broker

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
PLAIN_FOLDERS = (TESTS / "device", TESTS / "protocol")
RUNNER = TESTS / "on_micropython.py"
FILE_TIMEOUT_S = 240

for _folder in ("protocol", "device", "tests/device"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(ROOT / _folder))


def find_program(name: str) -> Path:
    """The program's path; fails the test if it is not on this machine."""
    beside_python = Path(sys.executable).parent
    places = [str(beside_python), os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.fail(f"{name} is not on this machine; `make setup` installs it", pytrace=False)
    return Path(found)


# ---- plain test files, on MicroPython ----


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    is_plain = file_path.parent in PLAIN_FOLDERS and file_path.match("test_*.py")
    return MicroPythonFile.from_parent(parent, path=file_path) if is_plain else None


class MicroPythonFile(pytest.File):
    """A plain test file's tests on MicroPython; the file runs when its first test is asked for."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self._outputs: dict[str, tuple[bool, str]] | None = None
        self._rest = ""

    def collect(self) -> Iterator[pytest.Item]:
        tree = ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield MicroPythonItem.from_parent(self, name=f"{node.name}[micropython]")

    def outcome(self, name: str) -> tuple[bool, str]:
        """(passed, what MicroPython printed)."""
        if self._outputs is None:
            self._run()
        assert self._outputs is not None
        missing = (False, f"the test did not run to its end\n{self._rest}")
        return self._outputs.get(name, missing)

    def _run(self) -> None:
        command = [find_program("micropython"), "-X", "heapsize=8m", RUNNER, self.path]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FILE_TIMEOUT_S,
            check=False,
            cwd=ROOT,
        )
        self._outputs = {}
        printed: list[str] = []
        for line in done.stdout.splitlines():
            verdict, _, name = line.partition(" ")
            if verdict in ("ok", "failed") and name.startswith("test_"):
                self._outputs[name] = (verdict == "ok", "\n".join(printed))
                printed = []
            else:
                printed.append(line)
        self._rest = "\n".join(printed) + f"\nexit code {done.returncode}"


class MicroPythonItem(pytest.Item):
    """One test function on MicroPython."""

    def runtest(self) -> None:
        assert isinstance(self.parent, MicroPythonFile)
        passed, printed = self.parent.outcome(self.name.partition("[")[0])
        if not passed:
            pytest.fail(printed, pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


# ---- programs ----


@pytest.fixture(scope="session")
def micropython() -> Path:
    """The MicroPython interpreter."""
    return find_program("micropython")


class RoughBroker(Broker):
    """The bench's Mosquitto, and what a bad day can do to it."""

    def restart(self) -> None:
        """Cut every connection: kill -9, and start anew on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Keep connections open but answer nothing, until thaw."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RoughBroker]:
    """A running broker with `host` and `port`; it can be killed, restarted and frozen."""
    with RoughBroker(tmp_path) as one:
        yield one
