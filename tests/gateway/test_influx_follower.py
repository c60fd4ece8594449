"""The follower as a process: it ends with its gateway, whatever InfluxDB does, and is started again."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag, clinic
from gateway_desk import Desk
from honest_pen import HonestPen

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series import follower
from needletrail_gateway.series.follower import NOTICE, Follower
from needletrail_gateway.shell.health import GatewayState
from needletrail_gateway.shell.settings import InfluxSettings

LONG_S = 60
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def place(tmp_path: Path, policy: Policy) -> Path:
    """A ledger with a session in it, at a path as people make them."""
    path = tmp_path / "the clinic's ledger" / "a b #1.sqlite"
    path.parent.mkdir()
    ledger = Ledger.open(path)
    ledger.import_registry(clinic(), KEYS, NOW_UTC_MS)
    pen = HonestPen()
    pen.boot()
    pen.open(badge("est-01"), cartridge_tag("S1"))
    pen.work(300)
    pen.close()
    Desk(ledger, policy).take(pen.sent)
    ledger.close()
    return path


@pytest.fixture
def silent() -> Iterator[tuple[str, threading.Event]]:
    """An InfluxDB that takes connections and never answers; the event says that one has written."""
    asked = threading.Event()
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                connection.recv(1)
                asked.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for one in kept:
        one.close()


def program(before: str = "pass") -> subprocess.Popen[bytes]:
    """The program that a gateway starts; it gives up a write sooner. before: what is done before it."""
    code = (
        "import os; from needletrail_gateway.series import program; program._END_S = 0.3; "
        f"{before}; program.main()"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def first_line(place: Path, url: str) -> bytes:
    settings = {"url": url, "check_at": "off", "raw_days": 0}
    return json.dumps({"ledger": str(place), "influx": settings}).encode() + b"\n"


def test_it_ends_with_its_gateway_also_while_influxdb_does_not_answer(
    place: Path, silent: tuple[str, threading.Event]
) -> None:
    url, asked = silent
    process = program()
    assert process.stdin is not None
    process.stdin.write(first_line(place, url) + f"{NOTICE}\n".encode())
    process.stdin.flush()
    assert asked.wait(LONG_S)
    began_s = time.monotonic()
    _, said = process.communicate(timeout=LONG_S)  # this closes its input, as a killed gateway does
    assert process.returncode == 0, said
    assert time.monotonic() - began_s < 15, "a write waits up to 30 s for its answer"


@pytest.mark.parametrize("given", [b"", b"\xff\xfe\xe4\n", b"n\nn\n" + b"x" * 9_000], ids=len)
def test_whatever_it_hears_it_ends_when_there_is_no_more(given: bytes, place: Path) -> None:
    process = program()
    _, said = process.communicate(first_line(place, NOBODY) + given, timeout=LONG_S)
    assert process.returncode == 0
    assert b"Traceback" not in said
    assert b"can not be reached" in said


def test_a_gateway_that_is_gone_at_once_leaves_nothing_behind() -> None:
    process = program()
    _, said = process.communicate(b"", timeout=LONG_S)
    assert (process.returncode, said) == (0, b"")


def test_it_need_not_be_allowed_to_be_nice(place: Path) -> None:
    process = program("os.nice = lambda _: (_ for _ in ()).throw(PermissionError(1, 'no'))")
    _, said = process.communicate(first_line(place, NOBODY), timeout=LONG_S)
    assert process.returncode == 0
    assert b"Traceback" not in said


# ---- the gateway's side ----


class Hurried(threading.Event):
    """Waits a moment instead of seconds, and remembers for how long it should have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None and timeout != follower._LOOK_S:
            self.waits.append(timeout)
        return super().wait(0.002)


@pytest.fixture
def hurried(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Follower, Hurried]]:
    """A follower that is soon started again."""
    monkeypatch.setattr(follower, "_LOOK_S", 0.25)  # told from the waits before a start
    settings = InfluxSettings(url=NOBODY)
    one = Follower(ledger, str(ledger.engine.url.database), settings, lambda: NOW_UTC_MS)
    one._stopped = hurry = Hurried()
    yield one, hurry
    one.stop()


def await_waits(hurry: Hurried, count: int) -> list[float]:
    deadline_s = time.monotonic() + LONG_S
    while len(hurry.waits) < count:
        assert time.monotonic() < deadline_s, hurry.waits
        time.sleep(0.002)
    return hurry.waits[:count]


def test_one_that_ends_at_once_is_started_ever_more_rarely(
    hurried: tuple[Follower, Hurried], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, hurry = hurried
    monkeypatch.setattr(sys, "executable", "/bin/false")
    one.start()
    assert await_waits(hurry, 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_health_that_can_not_be_told_does_not_end_the_watch(
    hurried: tuple[Follower, Hurried], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ill() -> GatewayState:
        raise LookupError("no state")

    one, hurry = hurried
    monkeypatch.setattr(sys, "executable", "/bin/false")
    one.watch(ill)
    one.start()
    await_waits(hurry, 3)


def test_one_that_can_not_be_started_is_tried_again(
    hurried: tuple[Follower, Hurried], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No memory, no processes left: the gateway goes on."""
    one, hurry = hurried
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    one.start()
    one.notice()
    await_waits(hurry, 2)
    listener = tmp_path / "nothing"
    listener.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    listener.chmod(0o755)
    deadline_s = time.monotonic() + LONG_S
    while one._process is None or one._process.poll() is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_one_that_does_not_listen_is_ended(
    hurried: tuple[Follower, Hurried], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, _ = hurried
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 600\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr(follower, "_STOP_S", 0.1)
    one.start()
    process = one._process
    assert process is not None
    for _ in range(70_000):  # more than a pipe holds: it must not block
        one.notice()
    began_s = time.monotonic()
    one.stop()
    assert process.returncode is not None
    assert time.monotonic() - began_s < 10
