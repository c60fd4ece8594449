"""Two interpreters, one suite; and the programs that tests need.

Plain test files in tests/device and tests/protocol (not in their folders `cpython_only`) are
collected twice: by pytest as usual, and once more as items that run on the real MicroPython, one
process a file. Programs that are missing make a test fail, never skip.
"""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
PLAIN_FOLDERS = (TESTS / "device", TESTS / "protocol")
RUNNER = TESTS / "on_micropython.py"
FILE_TIMEOUT_S = 240
BROKER_START_S = 10

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
        self._nodeid = f"{self.nodeid}[micropython]"
        self._outputs: dict[str, tuple[bool, str]] | None = None
        self._rest = ""

    def collect(self) -> Iterator[pytest.Item]:
        tree = ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield MicroPythonItem.from_parent(self, name=node.name)

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
        passed, printed = self.parent.outcome(self.name)
        if not passed:
            pytest.fail(printed, pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.name} on MicroPython"


# ---- programs ----


@pytest.fixture(scope="session")
def micropython() -> Path:
    """The MicroPython interpreter."""
    return find_program("micropython")


class Broker:
    """A real mosquitto on a free port of this machine, with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.host = "127.0.0.1"
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port: int = probe.getsockname()[1]
        self._program = find_program("mosquitto")
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} {self.host}\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 0\nmax_inflight_messages 0\n",
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [self._program, "-c", self._config]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + BROKER_START_S
        while time.monotonic() < until:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        text = self._log.read_text(errors="replace")
        pytest.fail(f"mosquitto does not listen:\n{text}", pytrace=False)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

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
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker with `host` and `port`; it can be killed, restarted and frozen."""
    one = Broker(tmp_path)
    one.start()
    yield one
    one.kill()
