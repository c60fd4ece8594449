"""The outbox: from the ledger's entries to InfluxDB, in their order, from a mark on.

The outbox is the ledger itself and a mark: the last entry that InfluxDB has. One thread reads on,
makes lines and compresses them; another writes them, and moves the mark when they have been taken. So
while InfluxDB stores one batch, the next is being made. A batch that could not be written is kept as it
is and written again. If everything ends between a write and its mark, the same points are written
again, and nothing is there twice.

Alerts do not wait for their turn: as soon as one is committed, what it makes is written ahead of the
backlog. Its turn comes all the same, and changes nothing. Live points (the health of pens and gateway)
go ahead, too; while InfluxDB is away the newest of them are held.

The mark is a commit of the ledger, so it is moved once a second and not after each batch.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.core.series.point import line
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series.days import Daily
from needletrail_gateway.series.making import Lines, Maker
from needletrail_gateway.series.sending import Part, Sender, parts_of
from needletrail_gateway.series.target import Kept

BATCH_POINTS = 5_000
LIVE_KEPT = 20_000
_ENTRIES_AT_ONCE = 50
_MADE_AHEAD = 2
_POLL_S = 0.5
_MARK_S = 1.0
_FRESH_MS = 600_000  # alerts of so long ago still go ahead of the backlog, at a start

log = structlog.get_logger()


@dataclass
class Batch:
    """What some entries brought: the last of them, and lines by bucket."""

    last_id: int
    points: int
    parts: list[Part] = field(default_factory=list)


class Ahead:
    """What goes to InfluxDB ahead of the backlog: alerts, live points, daily points."""

    def __init__(
        self, ledger: Ledger, maker: Maker, sender: Sender, clock_utc_ms: Callable[[], int], mark: int
    ) -> None:
        """`maker`: one of its own. mark: up to where InfluxDB has been told."""
        self._ledger = ledger
        self._maker = maker
        self._sender = sender
        self._daily = Daily(ledger, clock_utc_ms)
        self._live: deque[str] = deque(maxlen=LIVE_KEPT)
        self._alerted_to = mark
        self._fresh_utc_ms = clock_utc_ms() - _FRESH_MS
        self._has_news = True

    def notice(self) -> None:
        """Entries have been committed."""
        self._has_news = True

    def add_live(self, lines: Iterable[str]) -> None:
        """Lines that no entry makes."""
        self._live.extend(lines)

    def touch(self, lines: Lines) -> None:
        """What these lines tell changes daily points."""
        self._daily.touch(lines.daily_from)

    def write(self, *, is_idle: bool) -> None:
        """Write what there is. Kept if InfluxDB can not be told; then it is not lost."""
        self._write_alerts()
        if self._live:
            lines = [self._live.popleft() for _ in range(len(self._live))]
            try:
                self._sender.write(Part("long", lines))
            except Kept:
                self._live.extendleft(reversed(lines[-(LIVE_KEPT - len(self._live)) :]))
                raise
        first = self._daily.due(is_idle=is_idle)
        if first is not None:
            try:
                self._write(self._daily.lines(first))
            except Kept:
                self._daily.touch(first)
                raise

    def _write_alerts(self) -> None:
        if not self._has_news:
            return
        self._has_news = False
        alerts = self._ledger.entries(self._alerted_to, kind="alert")
        sessions = dict.fromkeys(
            entry.session_id for entry in alerts if entry.committed_utc_ms >= self._fresh_utc_ms
        )
        try:
            self._write(
                [line(point) for one in sessions if one for point in self._maker.points_of(one)]
            )
        except Kept:
            self._has_news = True
            raise
        if alerts:
            self._alerted_to = alerts[-1].id

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._sender.write(Part("long", lines))


class Outbox:
    """One view's way from the ledger to InfluxDB: run() in a thread, or drain() what there is."""

    def __init__(
        self,
        ledger: Ledger,
        maker: Maker,
        sender: Sender,
        view: str,
        *,
        stopped: threading.Event | None = None,
        ahead: Ahead | None = None,
        told: Callable[[Batch], None] = lambda _batch: None,
    ) -> None:
        """view: the name of the mark. told: hears of each batch that InfluxDB has taken."""
        self._ledger = ledger
        self._maker = maker
        self._sender = sender
        self._view = view
        self._ahead = ahead
        self._told = told
        self._stopped = stopped or threading.Event()
        self._committed = threading.Event()  # something for the thread that makes
        self._news = threading.Event()  # something for the thread that writes
        self._batches: queue.Queue[Batch] = queue.Queue(_MADE_AHEAD)
        self._failure: BaseException | None = None
        self._mark = self._marked = self._read_to = ledger.delivered(view)
        self._marked_s = time.monotonic()
        self._said = ("", "")

    def notice(self) -> None:
        """There may be something new in the ledger."""
        if self._ahead is not None:
            self._ahead.notice()
        self._committed.set()
        self._news.set()

    def add_live(self, lines: Iterable[str]) -> None:
        """Lines that no entry makes, for the long bucket."""
        if self._ahead is not None:
            self._ahead.add_live(lines)
        self._news.set()

    def stop(self) -> None:
        """Let run() end after the present write."""
        self._stopped.set()
        self._committed.set()
        self._news.set()

    # ---- making ----

    def make(self) -> Batch | None:
        """The next batch; None if there is nothing new in the ledger."""
        try:
            return self._make()
        except BaseException:
            self._maker.forget()  # the same entries come again, and must not be counted on top
            raise

    def _make(self) -> Batch | None:
        lines = Lines()
        last_id = self._read_to
        while len(lines) < BATCH_POINTS:
            entries = self._ledger.entries(last_id, most=_ENTRIES_AT_ONCE)
            self._maker.tell(entries, lines)
            if entries:
                last_id = entries[-1].id
            if len(entries) < _ENTRIES_AT_ONCE:
                break
        if last_id == self._read_to:
            return None
        self._maker.finish(lines)
        batch = Batch(last_id, len(lines), parts_of(lines.raw, lines.long))
        self._read_to = last_id
        if self._ahead is not None:
            self._ahead.touch(lines)
        return batch

    def _make_on(self, is_until_told: bool) -> None:
        try:
            while not self._stopped.is_set():
                self._committed.clear()
                try:
                    batch = self.make()
                except SQLAlchemyError as error:
                    self._say_once("the ledger can not be read; trying again", error)
                    self._stopped.wait(_POLL_S)
                    continue
                if batch is not None:
                    self._put(batch)
                elif is_until_told:
                    return
                else:
                    self._committed.wait(_POLL_S)
        except BaseException as error:
            self._failure = error
        finally:
            self._news.set()

    def _put(self, batch: Batch) -> None:
        while not self._stopped.is_set():
            try:
                self._batches.put(batch, timeout=_POLL_S)
            except queue.Full:
                continue
            self._news.set()
            return

    # ---- writing ----

    def run(self, *, is_until_told: bool = False) -> None:
        """Write until stop(); or until InfluxDB has been told all there is."""
        making = threading.Thread(target=self._make_on, args=(is_until_told,), name="points")
        making.start()
        try:
            self._write_on(making)
        finally:
            self.stop()
            making.join()
            self._move_mark(is_now=True)
        if self._failure is not None:
            raise self._failure

    def _write_on(self, making: threading.Thread) -> None:
        while not self._stopped.is_set():
            is_last = not making.is_alive()
            self._news.clear()
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                self._move_mark(is_now=True)
                if is_last:
                    return
                self._go_ahead(is_idle=True)
                self._news.wait(_POLL_S)
            else:
                self._go_ahead(is_idle=False)
                self.deliver(batch)

    def deliver(self, batch: Batch) -> None:
        """Write a batch, as often as it takes; then the mark may move."""
        if self._sender.write_all(batch.parts, lambda: self._go_ahead(is_idle=False)):
            self._mark = batch.last_id
            self._told(batch)
            self._move_mark()

    def drain(self) -> None:
        """Make and write in this thread until all has been told."""
        while not self._stopped.is_set() and (batch := self.make()) is not None:
            self.deliver(batch)
        self._move_mark(is_now=True)

    def _go_ahead(self, *, is_idle: bool) -> None:
        if self._ahead is None:
            return
        try:
            self._ahead.write(is_idle=is_idle)
        except Kept as kept:
            if is_idle:
                self._sender.wait(kept)
            else:
                self._sender.say(kept)  # the batch will meet the same
        except SQLAlchemyError as error:
            self._say_once("the ledger can not be read; trying again", error)

    def _move_mark(self, *, is_now: bool = False) -> None:
        now_s = time.monotonic()
        if self._mark == self._marked or not (is_now or now_s - self._marked_s >= _MARK_S):
            return
        try:
            self._ledger.deliver(self._view, self._mark)
        except SQLAlchemyError as error:
            self._say_once("the outbox's mark can not be moved; trying again", error)
            return
        self._marked, self._marked_s = self._mark, now_s
        self._said = ("", "")

    def _say_once(self, what: str, error: SQLAlchemyError) -> None:
        """Log it when it is new: it is tried twice a second, perhaps on a disk that is full."""
        why = str(getattr(error, "orig", None) or error)
        if (what, why) != self._said:
            self._said = (what, why)
            log.error(what, error=why)
