"""Pens behind a rough network: real processes, real sockets, a real broker; nothing lost or doubled.

Every byte of the conversation has its mishap in tests/device/test_pen_connection_rough.py, where time
is simulated. Here it is a sample, all pens at once, with the real times.
"""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as paho
import pytest
from stand_in import StandIn

from end_to_end.rough_proxy import DELAY, FAULTS, VANISH, Mishap, RoughProxy, SilentPort
from end_to_end.talking_pen import record
from needletrail_gateway.bench.house import House
from needletrail_gateway.core.registry.model import Registry
from needletrail_protocol.authentication import open_envelope

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("talking_pen.py")
KEY = bytes(range(32))
SEED = 20260702
PENS = 4
CUTS = 120
LIVE_WITHIN_S = 5.0
FOUND_WITHIN_S = 30.0
SLOW_S = 24.0


class TalkingPen:
    """A pen process, and what it said."""

    def __init__(self, folder: Path, micropython: Path, host: str, port: int, **rest: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "protocol": str(ROOT / "protocol"),
            "device": str(ROOT / "device"),
            "flash": str(folder / "flash"),
            "clinic": "harbor",
            "pen": "pen-01",
            "epoch": 1,
            "key": KEY.hex(),
            "host": host,
            "port": port,
            "ca": None,
            "backlog": 20,
            "every_ms": 60,
            "stop": str(folder / "stop"),
        } | rest
        self._stop = folder / "stop"
        path = folder / "settings.json"
        path.write_text(json.dumps(settings))
        self._output = folder / "stdout.txt"
        self._complaints = folder / "stderr.txt"
        heap = ("-X", "heapsize=1m") if micropython != Path(sys.executable) else ()
        with self._output.open("wb") as stdout, self._complaints.open("wb") as stderr:
            self.process = subprocess.Popen(
                [micropython, *heap, PROGRAM, path], stdout=stdout, stderr=stderr
            )

    def events(self) -> list[dict[str, Any]]:
        """What it has said so far, whole lines only."""
        text = self._output.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(self, name: str, timeout_s: float = 30) -> dict[str, Any]:
        """The first event of that name."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and self.process.poll() is None:
            for event in self.events():
                if event["event"] == name:
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no {name}: {self.events()[-3:]} {self._complaints.read_text()}")

    def finish(self, timeout_s: float = 40) -> dict[str, Any]:
        """Let it end, when everything is committed. Its last event."""
        self._stop.touch()
        try:
            self.process.wait(timeout_s)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, self._complaints.read_text()
        done = self.events()[-1]
        assert done["event"] == "done"
        return done

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def mishaps(random: Random, count: int) -> Iterator[Mishap]:
    """Mishaps of all kinds, a few hundred bytes apart. One in three may hit a pen that recovers."""
    for number in range(count):
        fault = (DELAY, VANISH)[number % 2] if number % 5 == 4 else FAULTS[number % 4]
        outage_s = random.uniform(0, 0.4)
        is_swallowing = random.random() < 0.1
        gap = random.randrange(1, 2500)
        yield Mishap(gap, fault, outage_s, is_swallowing, is_patient=number % 3 > 0)


class Bench:
    """One pen, its stand-in gateway, and the proxy between."""

    def _note(self, _record: Any) -> None:
        self.committed_s.append(time.monotonic())

    def __init__(
        self,
        folder: Path,
        micropython: Path,
        broker: Any,
        pen: str,
        plan: Iterator[Mishap],
        **rest: Any,
    ) -> None:
        self.committed_s: list[float] = []
        self.late_s: list[float] = []
        self.gateway = StandIn(
            broker.host,
            broker.port,
            KEY,
            pen=pen,
            alert_after=self._note,
        )
        self.fragments = Random(pen)
        self.proxy = RoughProxy(
            broker.port,
            plan,
            is_fragmented=lambda: self.fragments.random() < 0.3,
            heard_s=lambda: self.committed_s[-1] if self.committed_s else 0,
        )
        self.proxy.__enter__()
        self.pen = TalkingPen(
            folder / pen, micropython, self.proxy.host, self.proxy.port, pen=pen, **rest
        )

    def check(self) -> None:
        """Every record once, in order, byte for byte; and each time live again in time."""
        deadline_s = time.monotonic() + LIVE_WITHIN_S
        while self.committed_s[-1] <= self.proxy.returns[-1]:
            assert time.monotonic() < deadline_s, (self.proxy.happened[-1], self.pen.events())
            time.sleep(0.02)
        done = self.pen.finish()
        assert self.gateway.payloads == [record(seq) for seq in range(1, done["records"] + 1)]
        assert not self.gateway.conflicts
        begins = [*self.proxy.begins[1:], float("inf")]
        for mishap, back_s, next_s in zip(self.proxy.happened, self.proxy.returns, begins, strict=True):
            live_s = next(after_s for after_s in self.committed_s if after_s > back_s)
            if live_s < next_s:  # else the next mishap came while it recovered
                self.late_s.append(live_s - back_s)
                assert live_s - back_s <= LIVE_WITHIN_S, (mishap, self.pen.events())

    def check_patience(self) -> None:
        """Slow is not dead: while answers took 10 s, it tried other lanes and stayed on its first.

        When the network is quick again, a new lane may overtake what is still held up in the first.
        """
        begin_s = self.proxy.begins[0] + time.time() - time.monotonic()
        slow = [one for one in self.pen.events() if 0 <= one["at"] - begin_s < SLOW_S]
        assert "open" in {one["event"] for one in slow}
        assert not {"ready", "connected", "disconnected"} & {one["event"] for one in slow}, slow
        heard_s = [at_s - self.proxy.begins[0] for at_s in self.committed_s]
        assert any(10 < at_s < SLOW_S for at_s in heard_s), "it was heard all the while"

    def close(self) -> None:
        self.pen.kill()
        self.proxy.__exit__()
        self.gateway.stop()


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for one in made:
        one.close()


@pytest.mark.timeout(150)
def test_mishaps_by_the_dozen(
    tmp_path: Path, micropython: Path, broker: Any, benches: list[Bench]
) -> None:
    silent_port = SilentPort()
    hanging = TalkingPen(
        tmp_path / "hanging", micropython, broker.host, silent_port.port, pen="hanging"
    )
    delays = iter([Mishap(700, DELAY, 5.0, slow_s=SLOW_S)])
    slow = Bench(tmp_path, micropython, broker, "slow", delays)
    silent = Bench(tmp_path, micropython, broker, "silent", iter([]))
    benches += [slow, silent]
    silent.gateway.wait_for(25)
    silent.proxy.is_gone_for_ever = True  # half-open from now on, and so is every new connection
    gone_s = time.time()
    random = Random(SEED)
    rough = [
        Bench(tmp_path, micropython, broker, f"pen-{number}", mishaps(random, CUTS // PENS))
        for number in range(PENS)
    ]
    benches += rough
    deadline_s = time.monotonic() + 100
    while not all(one.proxy.is_exhausted() for one in [slow, *rough]):
        assert time.monotonic() < deadline_s
        assert all(one.pen.process.poll() is None for one in benches)
        time.sleep(0.1)
    for one in [slow, *rough]:
        one.check()
    happened = [mishap for one in rough for mishap in one.proxy.happened]
    assert len(happened) == CUTS
    assert sum(len(one.late_s) for one in rough) > CUTS // 2
    assert {mishap.fault for mishap in happened} == set(FAULTS)
    slow.check_patience()
    silent_port.close()
    with RoughProxy(broker.port, iter([]), port=silent_port.port):
        back_s = time.time()
        gateway = StandIn(broker.host, broker.port, KEY, pen="hanging")
        live_s = hanging.wait_for("ready")["at"]
        hanging.finish()
        gateway.stop()
    assert 0 < live_s - back_s <= LIVE_WITHIN_S
    found = silent.pen.wait_for("disconnected")
    assert "broker silent" in found["cause"]
    assert found["at"] - gone_s <= FOUND_WITHIN_S


@pytest.mark.timeout(120)
def test_the_real_gateway_has_every_record_once(
    tmp_path: Path, micropython: Path, registry: Registry
) -> None:
    random = Random(SEED)
    plan = [
        Mishap(random.randrange(1, 900), fault, random.uniform(0, 0.3))
        for fault in (*FAULTS[:4] * 4, VANISH)
    ]
    pen = registry.pen[0]
    assert pen.key is not None
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        with RoughProxy(house.broker.port, iter(plan)) as proxy:
            one = TalkingPen(
                tmp_path / "pen",
                micropython,
                proxy.host,
                proxy.port,
                clinic=registry.clinic.id,
                pen=pen.id,
                key=pen.key.get_secret_value(),
            )
            try:
                stopper = threading.Event()
                while not proxy.is_exhausted():
                    assert one.process.poll() is None
                    stopper.wait(0.05)
                done = one.finish()
            finally:
                one.kill()
        entries = [entry for entry in house.ledger.records(pen.id, 1, 1) if entry.kind == "record"]
        quarantined = house.ledger.entries(kind="refused")
    assert len(proxy.happened) == len(plan)
    assert [entry.seq for entry in entries] == list(range(1, done["records"] + 1))
    assert [open_envelope(entry.body)[1] for entry in entries] == [
        record(seq) for seq in range(1, done["records"] + 1)
    ]
    assert not quarantined


@pytest.mark.timeout(120)
def test_a_gateway_that_was_away_hears_the_hello_before_any_record(
    tmp_path: Path, micropython: Path, registry: Registry
) -> None:
    """So it knows what time it was at the pen before it must say when something happened."""
    pen = registry.pen[0]
    assert pen.key is not None
    with House(tmp_path, registry, tmp_path / "ledger.sqlite") as house:
        house.kill_gateway()
        hellos: queue.Queue[bytes] = queue.Queue()
        listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
        listener.on_connect = lambda client, *_: client.subscribe("needletrail/1/+/+/hello")
        listener.on_message = lambda _client, _userdata, message: hellos.put(message.payload)
        one = TalkingPen(
            tmp_path / "pen",
            micropython,
            house.broker.host,
            house.broker.port,
            clinic=registry.clinic.id,
            pen=pen.id,
            key=pen.key.get_secret_value(),
        )
        try:
            listener.connect(house.broker.host, house.broker.port)
            listener.loop_start()
            for _ in range(3):  # its hellos go ever more slowly to nobody
                hellos.get(timeout=20)
            house.start_gateway()
            back_s = time.time()
            live_s = one.wait_for("ready")["at"]
            done = one.finish()
        finally:
            one.kill()
            listener.loop_stop()
        assert live_s - back_s <= LIVE_WITHIN_S
        kinds = [entry.kind for entry in house.ledger.entries(most=100_000)]
    assert kinds.count("record") == done["records"]
    assert 0 <= kinds.index("pin") < kinds.index("record")
