"""SIGKILL, again and again, while pens play: nothing is lost, nothing is doubled, verdicts stay."""

import json
import subprocess
import threading
import time
from pathlib import Path
from random import Random

import pytest

from end_to_end.reading import readings, statements
from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.pens import VirtualPen
from needletrail_gateway.core.registry.model import Registry

GATEWAY_KILLS = 50
BROKER_KILLS = 10
SPEED = 4.0  # so slow that the pens still play when the last kill comes
SEED = 20260701


@pytest.fixture
def two_pens(registry: Registry) -> Registry:
    """The bench's clinic with a twin of its pen."""
    twin = registry.pen[0].model_copy(update={"id": "pen-02"})
    return Registry(**{**dict(registry), "pen": [registry.pen[0], twin]})


def tapes_by_pen(bench: Path, folder: Path) -> dict[str, list[Path]]:
    """The ten-minute tape for one pen, the other fourteen for its twin."""
    folder.mkdir()
    lists: dict[str, list[Path]] = {"pen-01": [], "pen-02": []}
    for path in sorted(bench.glob("*.csv")):
        if path.name.startswith("14"):
            lists["pen-01"].append(path)
            continue
        twin = folder / path.name
        twin.write_text(path.read_text().replace("# pen: pen-01", "# pen: pen-02"))
        lists["pen-02"].append(twin)
    return lists


class Pens:
    """Pens at work, a thread each."""

    def __init__(self, house: House, tapes: dict[str, list[Path]], speed: float) -> None:
        self.failures: list[Exception] = []
        self._speed = speed
        self.threads = [
            threading.Thread(target=self._work, args=(house.pen(pen_id), paths))
            for pen_id, paths in tapes.items()
        ]
        for thread in self.threads:
            thread.start()

    def _work(self, pen: VirtualPen, tapes: list[Path]) -> None:
        def watch(process: "subprocess.Popen[bytes]") -> None:
            process.wait(280)

        try:
            for tape in tapes:
                pen.play(tape, self._speed, watch)
        except Exception as error:
            self.failures.append(error)

    def are_playing(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(280)
        assert not self.are_playing()
        assert self.failures == []


@pytest.mark.timeout(420)
def test_gateway_and_broker_killed_while_pens_play(
    two_pens: Registry, bench: Path, tmp_path: Path
) -> None:
    tapes = tapes_by_pen(bench, tmp_path / "tapes")
    calm = tmp_path / "calm"
    calm.mkdir()
    with House(calm, two_pens, calm / "ledger.sqlite") as house:
        Pens(house, tapes, 0).join()
        wanted, wanted_readings = statements(house.ledger), readings(house.ledger)

    random = Random(SEED)
    rough = tmp_path / "rough"
    rough.mkdir()
    gateway_kills = broker_kills = 0
    with House(rough, two_pens, rough / "ledger.sqlite") as house:
        pens = Pens(house, tapes, SPEED)
        while gateway_kills < GATEWAY_KILLS or broker_kills < BROKER_KILLS:
            time.sleep(random.uniform(0, 0.6))
            assert pens.are_playing(), f"the pens were done after {gateway_kills} kills"
            house.kill_gateway()
            gateway_kills += 1
            if gateway_kills % (GATEWAY_KILLS // BROKER_KILLS) == 0 and broker_kills < BROKER_KILLS:
                house.broker.kill()
                broker_kills += 1
                time.sleep(random.uniform(0, 0.3))
                house.broker.start()
            house.start_gateway()
        pens.join()
        assert (gateway_kills, broker_kills) == (GATEWAY_KILLS, BROKER_KILLS)
        got, got_readings = statements(house.ledger), readings(house.ledger)
        numbers = {
            pen_id: [entry.seq for entry in house.ledger.records(pen_id, 1, 1)] for pen_id in tapes
        }

    assert got == wanted
    assert got_readings == wanted_readings
    for sequence in numbers.values():
        assert sequence == list(range(1, len(sequence) + 1))
    samples = [
        json.loads((bench / f"{path.stem}.truth.json").read_text())["session_samples"]
        for paths in tapes.values()
        for path in paths
    ]
    marked = [statement["session_samples"] for statement in got.values()]
    assert sorted(marked, key=str) == sorted(samples, key=str)
