"""Lines on their way to InfluxDB: what is refused is found by halving, what is kept is tried again.

Whatever part of a write was taken stays taken; the other part is tried again in halves, so the taken
lines among them are written twice, which changes nothing. One bad line among five thousand costs two
dozen small writes. What InfluxDB refuses for good goes to the quarantine with InfluxDB's own words.

If everything is refused with words that speak of no point, the request itself may be at fault (a wrong
organisation, a proxy that thinks it knows better). Then nothing may be thrown away: `Kept`.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.core.series.schema import Retention
from needletrail_gateway.record.ledger import QUARANTINE_MESSAGE_KEPT, Group, Ledger
from needletrail_gateway.series.target import Kept, Refused, Target, compressed

REFUSED = "influx_refused"  # in the quarantine
_ALONE_MOST = 8  # lines that were refused one by one, and none taken, before the request is suspected
_RETRY_FIRST_S = 0.5
_RETRY_MOST_S = 30.0
_SAY_AGAIN_S = 600.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Rejected:
    """A line that InfluxDB will never take, and what it said."""

    line: str
    words: str


@dataclass
class Part:
    """Lines for one bucket, compressed when they are made: writing must not wait for that."""

    retention: Retention
    lines: Sequence[str]
    body: bytes = b""

    def __post_init__(self) -> None:
        self.body = self.body or compressed(self.lines)


def parts_of(raw: Sequence[str], long: Sequence[str]) -> list[Part]:
    """Parts of the lines that there are; the few long ones first."""
    found: list[tuple[Retention, Sequence[str]]] = [("long", long), ("raw", raw)]
    return [Part(retention, lines) for retention, lines in found if lines]


@dataclass
class _Tally:
    taken: int = 0
    suspects: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def send(target: Target, part: Part) -> list[Rejected]:
    """Write the lines. What InfluxDB refuses for good comes back; Kept if it is to be tried again."""
    tally = _Tally()
    _send(target, part, tally)
    if tally.suspects and not tally.taken:
        raise _suspicion(tally)
    return tally.rejected


def _send(target: Target, part: Part, tally: _Tally) -> None:
    lines = part.lines
    try:
        target.write_body(part.retention, part.body)
    except Refused as refused:
        if len(lines) > 1 and not (refused.is_of_points and refused.dropped == len(lines)):
            middle = len(lines) // 2
            _send(target, Part(part.retention, lines[:middle]), tally)
            _send(target, Part(part.retention, lines[middle:]), tally)
            return
        tally.rejected += [Rejected(line, str(refused)) for line in lines]
        tally.suspects += not refused.is_of_points
        if tally.suspects == _ALONE_MOST and not tally.taken:
            raise _suspicion(tally) from refused
        return
    tally.taken += len(lines)


def _suspicion(tally: _Tally) -> Kept:
    return Kept(
        f"InfluxDB refuses everything: {tally.rejected[0].words}",
        "Check url, org and bucket under [influx] in the settings.",
    )


class Sender:
    """Writes parts to one InfluxDB, and says what goes wrong once, not with every attempt."""

    def __init__(
        self,
        ledger: Ledger,
        target: Target,
        clock_utc_ms: Callable[[], int],
        stopped: threading.Event | None = None,
        *,
        patience_s: float | None = None,
    ) -> None:
        """`stopped`: ends every wait when it is set. patience_s: then it gives up; None: never."""
        self._ledger = ledger
        self._target = target
        self._clock_utc_ms = clock_utc_ms
        self._stopped = stopped or threading.Event()
        self._patience_s = patience_s
        self._failing_since_s: float | None = None
        self._retry_s = _RETRY_FIRST_S
        self._said = ""
        self._said_s = 0.0
        self.rejected = 0

    def write(self, part: Part) -> None:
        """Write a part; what is refused is set aside. Kept if either can not be done now."""
        rejected = send(self._target, part)
        if rejected:
            try:
                self._set_aside(rejected)
            except SQLAlchemyError as error:
                raise Kept(
                    f"the ledger can not be written: {getattr(error, 'orig', None) or type(error)}",
                    "InfluxDB refuses points, which go to the quarantine. Is the disk full?",
                ) from error
        self._retry_s, self._failing_since_s = _RETRY_FIRST_S, None
        if self._said:
            log.info("InfluxDB is being told again")
            self._said = ""

    def write_all(self, parts: list[Part], meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Write parts, as often as it takes; `meanwhile` is called after a wait. False if stopped.

        Kept if that takes longer than there is patience.
        """
        while parts:
            try:
                self.write(parts[0])
            except Kept as kept:
                self.wait(kept)
                if self._stopped.is_set():
                    return False
                meanwhile()
                continue
            del parts[0]
        return True

    def say(self, kept: Kept) -> None:
        """Log why InfluxDB can not be told and what to do: when it is new, and now and then."""
        why, now_s = str(kept), time.monotonic()
        if why == self._said and now_s - self._said_s < _SAY_AGAIN_S:
            return
        self._said, self._said_s = why, now_s
        if kept.remedy:
            log.error("InfluxDB can not be told; the outbox waits", why=why, remedy=kept.remedy)
        else:
            log.warning("InfluxDB can not be told; the outbox waits", why=why)

    def wait(self, kept: Kept) -> None:
        """Say it, and wait before the next attempt: ever longer, and never as long as somebody else."""
        self.say(kept)
        now_s = time.monotonic()
        self._failing_since_s = self._failing_since_s or now_s
        if self._patience_s is not None and now_s - self._failing_since_s >= self._patience_s:
            raise kept
        wait_s = kept.retry_after_s
        if wait_s is None:
            wait_s = self._retry_s * random.uniform(0.5, 1.0)
            self._retry_s = min(2 * self._retry_s, _RETRY_MOST_S)
        self._stopped.wait(wait_s)

    def _set_aside(self, rejected: Sequence[Rejected]) -> None:
        now_utc_ms = self._clock_utc_ms()
        rows = [
            {
                "received_utc_ms": now_utc_ms,
                "topic": "",
                "reason": REFUSED,
                "detail": one.words,
                "message": one.line.encode()[:QUARANTINE_MESSAGE_KEPT],
            }
            for one in rejected
        ]
        tally = Counter({f"refused {REFUSED}": len(rows)})
        self._ledger.commit(Group(quarantined=rows, tally=tally), now_utc_ms)
        self.rejected += len(rows)
        log.error("InfluxDB refuses points", points=len(rows), why=rejected[0].words)
