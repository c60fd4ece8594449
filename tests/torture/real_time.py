"""The tapes in real time, each with the network gone for half a minute in its middle.

Every tape is played at speed 1 by the virtual board with a timer, all of them at once: a pen, a flash
and a way to the broker for each, one broker and one gateway for all. When half of a tape is played
its network dies: connections are reset and new ones refused until it is back. A tape that is shorter
ends meanwhile; its records wait in flash. Then the gateway's answer is compared with the tape's
truth, as tests/end_to_end/test_tapes.py does without an outage.

Tape 09 uses the cartridge of tape 01 again, so it waits for that one.
`make torture ARGS=--real-time` plays all fifteen, in eleven minutes.
"""

import argparse
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from end_to_end.rough_proxy import RESET, Mishap, RoughProxy

from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.pens import VirtualPen
from needletrail_gateway.bench.play import answer_for
from needletrail_gateway.bench.tapes import Tape, read_tape
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.shell.documents import read_registry

BENCH = Path(__file__).resolve().parents[2] / "tapes" / "bench"
OUTAGE_S = 30.0
PATIENCE_S = 90.0  # after the tape's end
LIVE_WITHIN_S = 5.0  # of the network's return
POLL_S = 0.05
AFTER = {"09-cartridge-reused": "01-cosmetic-within"}
EXACT = ("verdict", "reasons", "passes", "session_samples", "session_ms", "strokes", "practitioner")
PEAK_WITHIN_MM = 0.03
BREACH_WITHIN_MS = 120  # for each pass


class DyingProxy(RoughProxy):
    """A network that goes when it is told to."""

    def die(self, outage_s: float) -> None:
        """All connections are reset; for so long there are no new ones."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._die, outage_s)

    def _die(self, outage_s: float) -> None:
        assert self._loop is not None
        self.happened.append(Mishap(0, RESET, outage_s))
        self.begins.append(time.monotonic())
        self._away = self.happened[-1]
        self._back.clear()
        for link in list(self._links):
            self._cut(link, is_reset=True)
        self._loop.call_later(outage_s, self._come_back)


class TimedPen(VirtualPen):
    """A virtual pen whose readings are taken by the timer."""

    def _config(self, tape: Path, speed: float) -> dict[str, object]:
        config = super()._config(tape, speed)
        virtual = config["virtual"]
        assert isinstance(virtual, dict)
        virtual["timer"] = 1
        return config


class Play(threading.Thread):
    """One tape, and what came of it: `answer`, `differences`, `timer`, `live_after_s`."""

    def __init__(
        self, house: House, pen_id: str, path: Path, outage_s: float, after: "Play | None"
    ) -> None:
        super().__init__(name=path.stem, daemon=True)
        self.answer: dict[str, Any] = {}
        self.differences = ["did not end"]
        self.timer: dict[str, Any] = {}
        self.live_after_s: float | None = None  # None: the tape was over before
        self.disconnected = 0
        self._house = house
        self._pen = pen_id
        self._path = path
        self._outage_s = outage_s
        self._after = after

    def run(self) -> None:
        if self._after is not None:
            self._after.join()
        try:
            self.differences = self._play(read_tape(self._path))
        except Exception as error:  # whatever it is, it belongs into the table
            self.differences = [f"{type(error).__name__}: {error}"]

    def _play(self, tape: Tape) -> list[str]:
        plain = self._house.pen(self._pen)
        with DyingProxy(self._house.broker.port, iter([])) as proxy:
            pen = TimedPen(plain.pen, plain.clinic, plain.epoch, plain.key, plain.flash, proxy)  # type: ignore[arg-type]
            long_s = tape.rows[-1].t_ms / 1000
            pen.play(self._path, 1.0, lambda process: self._watch(process, pen.flash, proxy, long_s))
        events = events_of(pen.flash)
        self.disconnected = sum(event["event"] == "disconnected" for event in events)
        (self.timer,) = [event for event in events if event["event"] == "timer"]
        self.answer = answer_for(self._house.ledger, tape.name, self._pen, 0)
        truth = json.loads(self._path.with_suffix(".truth.json").read_text())
        found = list(compare(self.answer, truth))
        if self.timer["samples"] != len(tape.rows) or self.timer["lost"]:
            found.append(f"readings were lost: {self.timer}")
        if not proxy.returns:
            found.append("there was no outage")
        if self.live_after_s is not None and self.live_after_s > LIVE_WITHIN_S:
            found.append(f"live again only after {self.live_after_s:.1f} s")
        return found

    def _watch(
        self, process: "subprocess.Popen[bytes]", flash: Path, proxy: DyingProxy, long_s: float
    ) -> None:
        deadline_s = time.monotonic() + long_s + self._outage_s + PATIENCE_S
        middle_s = None
        committed = 0
        while process.poll() is None:
            time.sleep(POLL_S)
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise TimeoutError("the pen does not end")
            if middle_s is None and any(event["event"] == "ready" for event in events_of(flash)):
                middle_s = now_s + long_s / 2
            if middle_s is not None and now_s >= middle_s and not proxy.begins:
                proxy.die(self._outage_s)
                time.sleep(POLL_S)
            if proxy.begins and not proxy.returns:
                committed = self._committed()
            elif proxy.returns and self.live_after_s is None and self._committed() > committed:
                self.live_after_s = now_s - proxy.returns[0]

    def _committed(self) -> int:
        lanes = [lane for lane in self._house.ledger.lanes() if lane["pen"] == self._pen]
        return max((lane["next_seq"] for lane in lanes), default=0)


def events_of(flash: Path) -> list[dict[str, Any]]:
    """What a pen has told so far, whole lines only."""
    text = (flash / "stdout.txt").read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def compare(answer: dict[str, Any], truth: dict[str, Any]) -> Iterator[str]:
    """What differs, within what tapes/bench/README.md allows."""
    for key in EXACT:
        if answer.get(key) != truth[key]:
            yield f"{key}: {answer.get(key)} instead of {truth[key]}"
    if answer.get("session_id") is None:
        return
    if abs(answer["peak_mm"] - truth["peak_mm"]) > PEAK_WITHIN_MM:
        yield f"peak_mm: {answer['peak_mm']} instead of {truth['peak_mm']}"
    if abs(answer["breach_ms"] - truth["breach_ms"]) > BREACH_WITHIN_MS * truth["passes"]:
        yield f"breach_ms: {answer['breach_ms']} instead of {truth['breach_ms']}"
    if answer["scope_mm"] != truth["scope_mm"]:
        yield f"scope_mm: {answer['scope_mm']} instead of {truth['scope_mm']}"
    wanted = truth["reasons"] if truth["verdict"] == "violation" else []
    if sorted(alert["code"] for alert in answer["alerts"]) != wanted:
        yield f"alerts: {answer['alerts']}"
    if not all(alert["reached_pen"] for alert in answer["alerts"]):
        yield "an alert did not reach the pen"
    if "other_sessions" in answer:
        yield "there is more than one session"


def with_twins(registry: Registry, count: int) -> Registry:
    """The bench's clinic with so many pens of its kind."""
    first = registry.pen[0]
    twins = [first.model_copy(update={"id": f"pen-{number:02}"}) for number in range(1, count + 1)]
    return Registry(**{**dict(registry), "pen": twins})


def play(folder: Path, paths: Sequence[Path], outage_s: float = OUTAGE_S) -> list[Play]:
    """Play them all at once; each with its network away for so long in the middle."""
    registry = with_twins(read_registry(BENCH / "registry.toml"), len(paths))
    plays: dict[str, Play] = {}
    with House(folder, registry, folder / "ledger.sqlite") as house:
        for pen, path in zip(registry.pen, paths, strict=True):
            twin = folder / path.name
            twin.write_text(path.read_text().replace("# pen: pen-01", f"# pen: {pen.id}"))
            truth = path.with_suffix(".truth.json")
            twin.with_suffix(".truth.json").write_bytes(truth.read_bytes())
            after = plays.get(AFTER.get(path.stem, ""))
            plays[path.stem] = Play(house, pen.id, twin, outage_s, after)
            plays[path.stem].start()
        for one in plays.values():
            one.join()
    return list(plays.values())


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--real-time", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--outage", type=float, default=OUTAGE_S, help=f"seconds ({OUTAGE_S:.0f})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("tapes", nargs="*", help="beginnings of their names (all)")
    given = parser.parse_args(arguments)
    starts = tuple(given.tapes) or ("",)
    paths = [path for path in sorted(BENCH.glob("*.csv")) if path.stem.startswith(starts)]
    with tempfile.TemporaryDirectory(prefix="needletrail-") as name:
        plays = play(Path(name), paths, given.outage)
    if given.json:
        print(json.dumps([{"tape": one.name, **figures(one)} for one in plays]))
    else:
        for one in plays:
            print(f"{one.name:24} {'; '.join(one.differences) or 'agrees'}  {figures(one)}")
    return 1 if any(one.differences for one in plays) else 0


def figures(one: Play) -> dict[str, Any]:
    timer = {name: value for name, value in one.timer.items() if name != "event"}
    return {
        "differences": one.differences,
        "live_after_s": None if one.live_after_s is None else round(one.live_after_s, 2),
        "disconnected": one.disconnected,
        **timer,
    }


if __name__ == "__main__":
    raise SystemExit(main())
