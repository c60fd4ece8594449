"""InfluxDB, told from the ledger's outbox.

The outbox is the ledger itself and a mark: the last entry that InfluxDB has. One thread reads on from
the mark, makes points, writes them in batches and moves the mark when InfluxDB has taken them. While
InfluxDB is away the mark stays and intake goes on; when it is back the backlog drains. A batch that
was written but not marked is written again: the points are the same, so nothing is there twice.
What InfluxDB refuses for good is set aside with its own words, and the rest goes on.
"""

import threading
from collections.abc import Callable, Iterator

import structlog
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from sqlalchemy.exc import SQLAlchemyError
from urllib3.exceptions import HTTPError

from needletrail_gateway.core import points
from needletrail_gateway.core.clock import BootClock
from needletrail_gateway.core.treatment import Rules, Treatment, utc
from needletrail_gateway.record.ledger import Entry, Ledger, LedgerError
from needletrail_gateway.shell.settings import InfluxSettings
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import Readings, decode_record
from needletrail_protocol.tables import Message

VIEW = "influx"
BATCH_POINTS = 5_000
_POLL_S = 0.5
_RETRY_FIRST_S = 0.5
_RETRY_MOST_S = 10.0
_REFUSED_FOR_GOOD = (400, 413, 422)

log = structlog.get_logger()

Write = Callable[[list[str]], None]


class PointMaker:
    """Points of ledger entries, in their order. Keeps the fold of the sessions it is in."""

    def __init__(self, ledger: Ledger, rules: Rules) -> None:
        self._ledger = ledger
        self.rules = rules
        self._treatments: dict[str, Treatment] = {}

    def forget(self) -> None:
        """The next entry need not follow the last one: what is needed is read from the ledger again."""
        self._treatments.clear()

    def points_of(self, entry: Entry) -> Iterator[points.Point]:
        """The points that one entry brings, perhaps none."""
        registry = self.rules.registry
        if entry.is_removed:
            return  # readings that have expired
        if entry.kind == "record":
            yield from self._record_points(entry)
        elif entry.kind == "verdict":
            self._treatments.pop(entry.session_id or "", None)
            yield from points.verdict_points(registry, entry.json())
        elif entry.kind == "alert":
            point = points.alert_point(registry.clinic.id, entry.pen or "", entry.json())
            if point is not None:
                yield point

    def _record_points(self, entry: Entry) -> Iterator[points.Point]:
        record = _record(entry)
        if entry.pen is None or entry.epoch is None:
            return
        if record.kind == messages.OPEN:
            self._treatments[entry.session_id or ""] = self._opened(entry, record)
        elif record.kind == messages.SAMPLES:
            treatment = self._treatments.get(entry.session_id or "")
            if treatment is None:
                treatment = self._catch_up(entry)
            if treatment is not None:
                yield from points.depth_points(
                    self.rules.registry.clinic.id, treatment, Readings(record)
                )

    def _opened(self, entry: Entry, record: Message) -> Treatment:
        row = self._ledger.session(entry.session_id or "")
        pen = self.rules.registry.find_pen(entry.pen or "")
        if pen is None:  # it has left the registry since: use the one that the session had
            pen = self._ledger.registry_at(row["registry_entry"]).find_pen(entry.pen or "")
        if pen is None or entry.epoch is None:
            raise LookupError(f"entry {entry.id}: no registry knows pen {entry.pen}")
        # The clock that counted when the session was opened, whatever the pack says now.
        started_utc_ms = row["started_utc_ms"]
        clock = BootClock(None if started_utc_ms is None else started_utc_ms - record.t_ms)
        received_on = utc(entry.committed_utc_ms).date()
        return Treatment(self.rules, pen, entry.epoch, record, clock, received_on)

    def _catch_up(self, entry: Entry) -> Treatment | None:
        """After a start in the middle of a session: fold what came before this entry again."""
        treatment = None
        for earlier in self._ledger.session_entries(entry.session_id or ""):
            if earlier.id >= entry.id or earlier.kind != "record" or earlier.is_removed:
                continue
            record = _record(earlier)
            if record.kind == messages.OPEN:
                treatment = self._treatments[earlier.session_id or ""] = self._opened(earlier, record)
            elif record.kind == messages.SAMPLES and treatment is not None:
                treatment.read(Readings(record))
        return treatment


class InfluxWriter(threading.Thread):
    """The thread that keeps InfluxDB up to date. start() it; stop() waits for the present batch."""

    def __init__(self, ledger: Ledger, rules: Rules, settings: InfluxSettings) -> None:
        super().__init__(name="influx", daemon=True)
        self._ledger = ledger
        self.maker = PointMaker(ledger, rules)
        self._settings = settings
        self._stopped = threading.Event()
        self._committed = threading.Event()

    def notice(self) -> None:
        """There may be something new in the ledger."""
        self._committed.set()

    def stop(self, timeout_s: float = 10) -> None:
        """Stop after the present batch."""
        self._stopped.set()
        self._committed.set()
        self.join(timeout_s)

    def run(self) -> None:
        """Write until stopped."""
        settings = self._settings
        with InfluxDBClient(
            url=settings.url,
            token=settings.token.get_secret_value() or "none",
            org=settings.org,
            timeout=30_000,
            enable_gzip=True,
        ) as client:
            write_api = client.write_api(write_options=SYNCHRONOUS)

            def write(lines: list[str]) -> None:
                write_api.write(settings.bucket, settings.org, lines, write_precision=WritePrecision.NS)

            retry_s = _RETRY_FIRST_S
            while not self._stopped.is_set():
                self._committed.clear()
                try:
                    wrote = self.drain_once(write)
                    retry_s = _RETRY_FIRST_S
                except (HTTPError, OSError, ApiException, SQLAlchemyError) as error:
                    log.warning("InfluxDB can not be told; the outbox waits", error=_said(error))
                    self._stopped.wait(retry_s)
                    retry_s = min(2 * retry_s, _RETRY_MOST_S)
                    continue
                if not wrote:
                    self._committed.wait(_POLL_S)

    def drain_once(self, write: Write) -> bool:
        """Write one batch and move the mark. False if there was nothing to write."""
        try:
            return self._drain(write)
        except BaseException:
            self.maker.forget()  # the same entries come again, and must not be counted on top
            raise

    def _drain(self, write: Write) -> bool:
        mark = self._ledger.delivered(VIEW)
        lines: list[str] = []
        last_id = mark
        while len(lines) < BATCH_POINTS:
            entries = self._ledger.entries(last_id, most=100)
            for entry in entries:
                lines.extend(map(points.line, self._points(entry)))
                last_id = entry.id
            if len(entries) < 100:
                break
        if last_id == mark:
            return False
        if lines:
            self._write(write, lines)
        self._ledger.deliver(VIEW, last_id)
        return True

    def _points(self, entry: Entry) -> list[points.Point]:
        try:
            return list(self.maker.points_of(entry))
        except (ProtocolError, LookupError, LedgerError) as error:
            log.error("an entry gives no points", entry=entry.id, error=str(error))
            return []

    def _write(self, write: Write, lines: list[str]) -> None:
        try:
            write(lines)
        except ApiException as error:
            if error.status not in _REFUSED_FOR_GOOD:
                raise
            if len(lines) == 1:
                self._ledger.set_aside("influx_refused", _said(error), lines[0].encode())
                log.error("InfluxDB refuses a point", error=_said(error))
                return
            half = len(lines) // 2
            self._write(write, lines[:half])
            self._write(write, lines[half:])


def _record(entry: Entry) -> Message:
    return decode_record(open_envelope(entry.body)[1])


def _said(error: Exception) -> str:
    """What went wrong, in InfluxDB's own words if it had any."""
    if not isinstance(error, ApiException) or not error.status:
        return str(error)[:300]
    body = error.body if isinstance(error.body, str) else ""
    return f"HTTP {error.status} {error.reason}: {' '.join(body.split())[:300]}"
