"""The whole way of a record, measured: pens with full journals, Mosquitto, and the gateway's process.

Pens empty their journals, each with the firmware's window of records beyond the last durable
acknowledgement. What is counted is the user and system time of the gateway and its children from
before the first record to the last durable acknowledgement. Load and broker are processes of their own.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from needletrail_gateway.bench.house import House
from needletrail_gateway.bench.tapes import Tape
from parts import fleet, report
from parts.load import Journal, RecordLoad

INFLUX_TIMEOUT_S = 120.0


def rates(samples: int, cpu_s: float, wall_s: float) -> dict[str, float]:
    """What a run is told as."""
    return {"samples": samples, "cpu_s": cpu_s, "wall_s": wall_s, "samples_per_cpu_s": samples / cpu_s}


class LiveIntake:
    """The load, made once: pens that have recorded all the tapes."""

    def __init__(self, pens: int, window: int, tapes: Sequence[Tape]) -> None:
        self.window = window
        self.registry = fleet.clinic(pens)
        self.pens = [fleet.fill(self.registry, pen_id, tapes) for pen_id in fleet.pen_ids(pens)]
        self.journals = [
            Journal(pen.id, pen.topic, pen.topic.removesuffix("/record"), pen.messages())
            for pen in self.pens
        ]
        self.samples = sum(pen.samples for pen in self.pens)

    def run(
        self, influx_url: str | None = None, after: Callable[[House], None] = lambda _house: None
    ) -> dict[str, float]:
        """One run on a fresh ledger. after: called with the house when all has been taken in."""
        influx = {}
        if influx_url is not None:
            influx = {"NEEDLETRAIL_INFLUX__URL": influx_url, "NEEDLETRAIL_INFLUX__RAW_DAYS": "0"}
        with (
            tempfile.TemporaryDirectory() as folder,
            House(Path(folder), self.registry, Path(folder) / "ledger.sqlite", influx) as house,
            RecordLoad(house.broker.host, house.broker.port, self.journals, self.window) as load,
        ):
            pid = house.gateway.pid if house.gateway is not None else 0
            before_s = report.family_cpu_s(pid)
            load.go()
            told = load.result()
            if influx_url is not None and house.await_influx(INFLUX_TIMEOUT_S):
                raise TimeoutError("the outbox did not drain")
            spent_s = report.family_cpu_s(pid) - before_s
            self._check(house)
            after(house)
        return rates(self.samples, spent_s, told["wall_s"])

    def _check(self, house: House) -> None:
        """What was measured must be the whole work."""
        kept = sum(1 for _ in _records(house))
        sent = sum(len(journal.sealed) for journal in self.journals)
        judged = sum(row["verdict"] is not None for row in house.ledger.sessions())
        opened = len(house.ledger.sessions())
        if kept != sent or judged != opened:
            raise RuntimeError(f"{kept} of {sent} records, {judged} of {opened} sessions judged")


def _records(house: House) -> Iterator[object]:
    after = 0
    while found := house.ledger.entries(after, most=5_000):
        yield from (entry for entry in found if entry.kind == "record")
        after = found[-1].id
