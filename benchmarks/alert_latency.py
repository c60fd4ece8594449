"""How long a pen waits for an alert, beside the broker's own round trip.

A pen publishes the record whose readings make a breach; the gateway verifies and judges it, and the
alert comes back through the broker. That is two hops: pen, broker, gateway and back. The peer makes
the same two hops with the same client library, QoS and sizes, and does nothing in between: a message
goes to an echo process, which publishes at once an answer of an alert's length. `one hop` is a message
that its own sender has subscribed to.

Each breach is a session of its own, cut from a real tape: boot, open, readings, breach, close. Alerts,
echoes and hops take turns, so that whatever the machine does meets them alike. `idle`: nothing else
goes on. `load`: twenty pens at work at the same time, 50 readings a second each, for all three.

Times are those of the clock on the wall, in milliseconds, as a practitioner would feel them; the
gateway's CPU time in a second of load is shown beside.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from parts import fleet, report
from parts.load import Journal, LiveLoad

from needletrail_gateway.bench.broker import Broker
from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.tapes import Tape, read_tape
from needletrail_gateway.core.registry.model import Registry, um
from needletrail_protocol import conversation, messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.measure import Meter
from needletrail_protocol.readings import Readings, decode_record

GOAL = 3.0
TAPE = "02-cosmetic-exceeded.csv"
LIMIT_MM = 0.5  # of its practitioner
ALERT_BYTES = 82  # what an alert of this kind takes on the wire
TIMEOUT_S = 10.0
PATHS = ("alert", "echo", "one hop")


def breach_tape(tape: Tape, before_ms: int) -> Tape:
    """The tape's beginning, and from there on what surrounds its breach at `before_ms`."""
    head = [row for row in tape.rows if row.t_ms < 2_000]
    body = [row for row in tape.rows if before_ms - 1_500 <= row.t_ms < before_ms + 1_500]
    shift_ms = body[0].t_ms - head[-1].t_ms - 20
    less = body[0].strokes - head[-1].strokes
    moved = [row._replace(t_ms=row.t_ms - shift_ms, strokes=row.strokes - less) for row in body]
    return tape._replace(rows=(*head, *moved))


def breaches_in(registry: Registry, payloads: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """(index of the record, t_ms) of each session's first breach, by the protocol's definitions."""
    pen = registry.pen[0]
    limit_um = um(LIMIT_MM) + um(pen.reading_tolerance_mm)
    over_counts = pen.counts_to_depth().highest_counts(limit_um)
    meter = None
    for index, payload in enumerate(payloads):
        record = decode_record(payload)
        if record.kind == messages.OPEN:
            meter = Meter(record.lead, record.strokes, over_counts, False)
        elif record.kind == messages.SAMPLES and meter is not None:
            found = Readings(record)
            for reading in zip(found.t_ms, found.dial, found.strokes, found.contact, strict=True):
                meter.step(*reading)
                if meter.is_breach:
                    meter = None
                    yield index, reading[0]
                    break


class Breaches:
    """A pen whose journal is one breach after the other."""

    def __init__(self, registry: Registry, count: int) -> None:
        tape = read_tape(fleet.BENCH / TAPE)
        whole = fleet.fill(registry, "bench-01", [tape])
        _, t_ms = next(breaches_in(registry, whole.payloads))
        self.pen = fleet.fill(registry, "bench-01", [breach_tape(tape, t_ms)], count)
        self.sealed = self.pen.messages()
        self.at = [index for index, _ in breaches_in(registry, self.pen.payloads)]
        if len(self.at) != count:
            raise RuntimeError("the cut tape does not breach once in each session")


def make_client(name: str) -> mqtt.Client:
    """paho, without Nagle's algorithm: it would hold answers back for the kernel's 40 ms."""

    def send_at_once(_client: mqtt.Client, _userdata: object, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.on_socket_open = send_at_once
    return client


class Pen:
    """The measuring client: publishes, and notes when what it waits for has come."""

    def __init__(self, broker: Broker, breaches: Breaches) -> None:
        self._breaches = breaches
        self._down = breaches.pen.topic.removesuffix("record")
        self._acked = 0
        self._changed = threading.Condition()
        self._heard: dict[str, float] = {}
        self._sent = 0
        self._client = make_client("pen")
        subscribed = threading.Event()
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe([(self._down + "ack", 1), (self._down + "alert", 1)])
        self._client.subscribe([("echo/down", 1), ("hop", 1)])
        if not subscribed.wait(TIMEOUT_S):
            raise TimeoutError("the broker did not answer")
        time.sleep(0.2)  # both subscriptions

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        now_s = time.perf_counter()
        with self._changed:
            if message.topic.endswith("/ack"):
                payload = open_envelope(bytes(message.payload))[1]
                self._acked = conversation.decode_ack(payload).seq
            else:
                self._heard[message.topic] = now_s
            self._changed.notify()

    def session(self, number: int) -> float:
        """Publish one session; the milliseconds from its breach's record to its alert."""
        at = self._breaches.at[number]
        for message in self._breaches.sealed[self._sent : at]:
            self._client.publish(self._breaches.pen.topic, message, qos=1)
        self._await(lambda: self._acked >= at)
        waited_ms = self.time(self._breaches.pen.topic, self._breaches.sealed[at], self._down + "alert")
        self._sent = at + 1
        return waited_ms

    def time(self, topic: str, message: bytes, answer: str) -> float:
        """Milliseconds from publishing until something comes on the topic `answer`."""
        self._heard.pop(answer, None)
        began_s = time.perf_counter()
        self._client.publish(topic, message, qos=1)
        self._await(lambda: answer in self._heard)
        return (self._heard[answer] - began_s) * 1_000

    def _await(self, is_so: Any) -> None:
        with self._changed:
            if not self._changed.wait_for(is_so, TIMEOUT_S):
                raise TimeoutError("nothing came back")


def echo(port: int) -> None:
    """The process at the other end: an answer of an alert's length to each message."""
    answer = bytes(ALERT_BYTES)
    client = make_client("echo")
    client.on_connect = lambda c, *_: c.subscribe("echo/up", qos=1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda c, *_: c.publish("echo/down", answer, qos=1)
    client.connect(Broker.host, port)
    client.loop_forever()


@contextmanager
def echo_process(port: int) -> Iterator[None]:
    command = [sys.executable, __file__, "--echo", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise RuntimeError("the echo did not start")
            yield
        finally:
            process.kill()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    breaches = 5 if arguments.quick else arguments.breaches
    rounds = 1 if arguments.quick else arguments.rounds
    pens = 2 if arguments.quick else arguments.pens
    registry = fleet.clinic(1 + pens)
    tapes = fleet.read_tapes(arguments.quick)
    full = [fleet.fill(registry, pen_id, tapes) for pen_id in fleet.pen_ids(1 + pens)[1:]]
    work = [
        Journal(pen.id, pen.topic, pen.topic.removesuffix("/record"), pen.messages()) for pen in full
    ]
    script = Breaches(registry, breaches)
    found = []
    for number in range(rounds):
        found.append(
            {
                "idle": trial(registry, script, [], number),
                "load": trial(registry, script, work, number),
            }
        )
        if not arguments.json:
            p99 = {name: found[-1][name]["p99"] for name in ("idle", "load")}
            print(f"round {number + 1}  p99: {p99}", file=sys.stderr)
    return summary(found, breaches, pens)


def trial(registry: Registry, script: Breaches, work: list[Journal], seed: int) -> dict[str, Any]:
    """Every breach once, with its echo and its hop, while `work` goes on."""
    random = Random(seed)
    times: dict[str, list[float]] = {path: [] for path in PATHS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        house = stack.enter_context(House(folder, registry, folder / "ledger.sqlite"))
        stack.enter_context(echo_process(house.broker.port))
        load = None
        if work:
            load = LiveLoad(house.broker.host, house.broker.port, work, 1.0)
            stack.enter_context(load).go()
            time.sleep(0.5)
        pen = Pen(house.broker, script)
        stack.callback(pen.close)
        record = script.sealed[script.at[0]]
        for _ in range(5):  # everything has been used once
            pen.time("echo/up", record, "echo/down")
            pen.time("hop", record, "hop")
        pid = house.gateway.pid if house.gateway is not None else 0
        began_s, cpu_s = time.perf_counter(), report.cpu_s(pid)
        for number in range(len(script.at)):
            times["alert"].append(pen.session(number))
            time.sleep(random.uniform(0.002, 0.012))
            times["echo"].append(pen.time("echo/up", record, "echo/down"))
            times["one hop"].append(pen.time("hop", record, "hop"))
            time.sleep(random.uniform(0.002, 0.012))
        wall_s, cpu_s = time.perf_counter() - began_s, report.cpu_s(pid) - cpu_s
        if load is not None:
            load.stop()
            told = load.result()
            if told["ran_out"]:
                raise RuntimeError("the pens ran out of records; take fewer breaches")
    return {
        "p50": {path: report.quantile(times[path], 0.5) for path in PATHS},
        "p99": {path: report.quantile(times[path], 0.99) for path in PATHS},
        "gateway_cpu_share": cpu_s / wall_s,
    }


def summary(found: list[dict[str, Any]], breaches: int, pens: int) -> dict[str, Any]:
    def middle(state: str, share: str, path: str) -> float:
        return report.median([one[state][share][path] for one in found])

    def ratio(state: str, share: str) -> float:
        return report.median([one[state][share]["alert"] / one[state][share]["echo"] for one in found])

    return {
        "goal": GOAL,
        "breaches": breaches,
        "pens_at_work": pens,
        "rounds": found,
        "median_ms": {
            state: {
                share: {path: middle(state, share, path) for path in PATHS} for share in ("p50", "p99")
            }
            for state in ("idle", "load")
        },
        "ratio": {
            state: {share: ratio(state, share) for share in ("p50", "p99")}
            for state in ("idle", "load")
        },
        "gateway_cpu_share": {
            state: report.median([one[state]["gateway_cpu_share"] for one in found])
            for state in ("idle", "load")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="a few breaches, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each idle and under load (3)")
    parser.add_argument("--breaches", type=int, default=400, help="breaches a round and state (400)")
    parser.add_argument("--pens", type=int, default=20, help="pens at work under load (20)")
    parser.add_argument("--echo", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo is not None:
        echo(arguments.echo)
        return
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    print(f"{found['breaches']} breaches in each of {len(found['rounds'])} rounds; medians, ms\n")
    rows = [
        (
            f"{state} {share}",
            *(f"{found['median_ms'][state][share][path]:.2f}" for path in PATHS),
            f"{found['ratio'][state][share]:.2f}",
        )
        for state in ("idle", "load")
        for share in ("p50", "p99")
    ]
    print(report.table(("", *PATHS, "alert/echo"), rows))
    busy = found["gateway_cpu_share"]
    print(f"\ngateway's CPU: {busy['idle']:.0%} of a core, {busy['load']:.0%} under load")
    for state in ("idle", "load"):
        met = "met" if found["ratio"][state]["p99"] <= GOAL else "missed"
        print(f"goal: {state} p99 within {GOAL:.0f} times: {met}")


if __name__ == "__main__":
    main()
