"""A ledger with some days of work beside a real InfluxDB that is told of it, as a gateway would."""

import random
from typing import Any

from end_to_end.influx_bench import BUCKET, InfluxBench
from gateway_clinic import KEYS
from gateway_desk import Desk
from honest_ledger import DAY_MS, work_a_day
from honest_pen import HonestPen

from needletrail_gateway.core.notes import OVERRIDE, STOCK, Acknowledgement
from needletrail_gateway.record.alerts import acknowledge, alerts
from needletrail_gateway.series.making import Maker
from needletrail_gateway.series.outbox import Ahead, Outbox
from needletrail_gateway.series.sending import Sender
from needletrail_gateway.series.target import Target
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_gateway.shell.view import INFLUX

LIVE = ("pen_health", "gateway_health")

Held = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


class InfluxDesk:
    """The desk of a gateway with an InfluxDB."""

    def __init__(self, desk: Desk, bench: InfluxBench, raw_days: int = 0) -> None:
        self.desk = desk
        self.ledger = desk.ledger
        self.bench = bench
        self.settings = InfluxSettings(url=bench.url, raw_days=raw_days, check_at="off")
        self.target = Target(self.settings)
        self._dice = random.Random(3)
        self._pens = [HonestPen(pen_id) for pen_id in KEYS]
        sender = Sender(self.ledger, self.target, self.clock)
        self._ahead = Ahead(self.ledger, Maker(self.ledger), sender, self.clock, 0)
        self._outbox = Outbox(self.ledger, Maker(self.ledger), sender, INFLUX, ahead=self._ahead)

    def clock(self) -> int:
        """The desk's clock."""
        return self.desk.now_utc_ms

    def empty(self) -> None:
        """InfluxDB as `needletrail influx setup` leaves it."""
        self.bench.query(f'DROP DATABASE "{BUCKET}"', "POST")
        self.bench.make_buckets()

    def work(self, days: int) -> None:
        """Days of work, told as they go by; each evening somebody overrides and acknowledges."""
        for _ in range(days):
            work_a_day(self.desk, self._pens, self._dice)
            self._evening()
            self.tell()
            self.desk.now_utc_ms += DAY_MS

    def tell(self) -> None:
        """Tell InfluxDB what it has not heard yet."""
        self._ahead.notice()
        self._outbox.drain()
        self._ahead.write(is_idle=True)

    def _evening(self) -> None:
        now_utc_ms = self.desk.now_utc_ms
        for raised in alerts(self.ledger, is_open=True)[:2]:
            word = Acknowledgement(who="md-01", session=raised.session_id, code=raised.code, why=None)
            acknowledge(self.ledger, word, now_utc_ms)
        for said in self.desk.statements()[-3:]:
            for rule in said["rules"]:
                if rule["severity"] == "soft":
                    word = {"who": "md-01", "session": said["session_id"], "code": rule["code"]}
                    self.ledger.note(OVERRIDE, word | {"why": "seen"}, now_utc_ms, said["session_id"])
        stock = {
            "who": "desk",
            "gtin": "09506000134352",
            "lot": "LOT24A",
            "change": 5,
            "cause": "received",
            "why": "a delivery",
        }
        self.ledger.note(STOCK, stock, now_utc_ms)


def held(target: Target) -> Held:
    """Everything that InfluxDB holds, but live points: fields by series and time, by measurement."""
    found: Held = {}
    for policy in ("autogen", "raw"):
        for row in target.query(f'SELECT * FROM "{policy}"./.*/ GROUP BY *'):
            if row.measurement not in LIVE:
                columns = {name: value for name, value in row.columns.items() if value is not None}
                key = (columns.pop("time"), *sorted(item for item in row.tags.items() if item[1]))
                found.setdefault(row.measurement, {})[key] = columns
    return found
