"""What the gateway tells systemd, heard at a real socket of the same kind."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from needletrail_gateway.shell.supervisor import Supervisor

WATCHED = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}


@pytest.fixture(params=["file", "abstract"])
def notify(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket with a file, as systemd's own is, and one without."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        where = str(tmp_path / "notify")
        one.bind(where if request.param == "file" else f"\0needletrail-{os.getpid()}")
        one.setblocking(False)
        yield one


def named(notify: socket.socket) -> dict[str, str]:
    where = notify.getsockname()
    return {"NOTIFY_SOCKET": where if isinstance(where, str) else "@" + where[1:].decode()}


def heard(notify: socket.socket) -> list[bytes]:
    said = []
    while True:
        try:
            said.append(notify.recv(64))
        except BlockingIOError:
            return said


def test_ready_then_signs_of_life(notify: socket.socket) -> None:
    one = Supervisor(named(notify) | WATCHED)
    one.ready()
    one.alive()
    one.alive()
    assert heard(notify) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


@pytest.mark.parametrize("expected", [{}, WATCHED | {"WATCHDOG_PID": "1"}])
def test_who_is_not_watched_says_only_that_it_is_ready(
    notify: socket.socket, expected: dict[str, str]
) -> None:
    one = Supervisor(named(notify) | expected)
    one.ready()
    one.alive()
    assert heard(notify) == [b"READY=1"]


def test_the_record_does_not_wait_for_a_systemd_that_does_not_listen(notify: socket.socket) -> None:
    one = Supervisor(named(notify) | WATCHED)
    began_s = time.monotonic()
    for _ in range(3000):  # more than any queue of datagrams holds
        one.alive()
    assert time.monotonic() - began_s < 5
    assert 0 < len(heard(notify)) < 3000


def test_a_systemd_that_is_gone_stops_nothing(notify: socket.socket) -> None:
    one = Supervisor(named(notify) | WATCHED)
    notify.close()
    one.alive()


def test_started_by_hand_nothing_is_said() -> None:
    one = Supervisor({})
    one.ready()
    one.alive()
