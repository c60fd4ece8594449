"""The pens' lanes, and how they are brought back after a start.

The ledger holds a row for each lane as it stood at the last commit. A session that was open then is
folded again from its records, with the rules, clocks and days of their time; so the gateway goes on as
if it had never stopped.
"""

import json
from datetime import date
from functools import partial
from typing import Any

from needletrail_gateway.core.clock import Pin
from needletrail_gateway.core.lane import Lane
from needletrail_gateway.core.treatment import Elsewhere, Rules, RulesAt, utc
from needletrail_gateway.record.ledger import Entry, Ledger
from needletrail_gateway.shell.rulebook import Rulebook
from needletrail_protocol import messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.readings import decode_record

NO_HELLO = (-1, 0)
_PIN_FIELDS = ("boot", "t_ms", "gateway_utc_ms", "device_utc_ms")


class Lanes:
    """All lanes, by pen and key epoch. get() makes those that are not there."""

    def __init__(self, ledger: Ledger, book: Rulebook, elsewhere: Elsewhere) -> None:
        self._ledger = ledger
        self._book = book
        self._elsewhere = elsewhere
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._opened_seq: dict[tuple[str, int], int] = {}  # where the open session began
        for row in ledger.lanes():
            self._restore(row)
        for row in ledger.early_alerts():
            pen_id, epoch, session = row["session_id"].rsplit("-", 2)
            lane = self.get(pen_id, int(epoch))
            lane.early.setdefault(int(session), set()).add(row["code"])

    def get(self, pen_id: str, epoch: int) -> Lane:
        """The lane of a pen in a key epoch."""
        lane = self._lanes.get((pen_id, epoch))
        if lane is None:
            lane = self._lanes[pen_id, epoch] = Lane(pen_id, epoch)
        return lane

    def row(self, lane: Lane, opened_seq: int | None = None) -> dict[str, Any]:
        """What the ledger is to hold of it. opened_seq: the record that opened a session just now."""
        lane_id = (lane.pen_id, lane.epoch)
        if lane.treatment is None:
            self._opened_seq.pop(lane_id, None)
        elif opened_seq is not None:
            self._opened_seq[lane_id] = opened_seq
        return {
            "pen": lane.pen_id,
            "epoch": lane.epoch,
            "next_seq": lane.next_seq,
            "boot_utc_ms": lane.boot_utc_ms,
            "opened_seq": self._opened_seq.get(lane_id),
            "last_use_id": lane.last_use_id,
            "boot": lane.boot,
            "board": lane.board,
            "faults": json.dumps(
                lane.faults if lane.treatment is None else lane.treatment.standing_faults,
                separators=(",", ":"),
            ),
            "hello_boot": None if lane.hello == NO_HELLO else lane.hello[0],
            "hello_connection": None if lane.hello == NO_HELLO else lane.hello[1],
        }

    def _restore(self, row: dict[str, Any]) -> None:
        lane = self.get(row["pen"], row["epoch"])
        lane.boot_utc_ms = row["boot_utc_ms"]
        lane.last_use_id = row["last_use_id"]
        lane.boot, lane.board = row["boot"], row["board"]
        lane.faults = json.loads(row["faults"] or "{}")
        if row["hello_boot"] is not None:
            lane.hello = (row["hello_boot"], row["hello_connection"])
        pins = [
            (found["entry"], Pin(*(found[name] for name in _PIN_FIELDS)))
            for found in self._ledger.pins(lane.pen_id, lane.epoch, lane.boot or 0)
        ]
        if row["opened_seq"] is not None:
            self._opened_seq[lane.pen_id, lane.epoch] = row["opened_seq"]
            lane.next_seq = row["opened_seq"]
            self._fold_again(lane, pins)
        lane.pins = [pin for _, pin in pins]
        if lane.next_seq < row["next_seq"]:
            lane.lose(row["next_seq"])  # at the end, records were lost of which none was stored
        lane.last_session = self._ledger.last_session(lane.pen_id, lane.epoch)

    def _fold_again(self, lane: Lane, pins: list[tuple[int, Pin]]) -> None:
        rules_at: RulesAt = self._book.at
        for entry in self._ledger.records(lane.pen_id, lane.epoch, lane.next_seq):
            if entry.seq is None:
                continue
            if entry.seq > lane.next_seq:
                lane.lose(entry.seq)
            if entry.kind == "refused":
                lane.skip()
                continue
            _, payload, _ = open_envelope(entry.body)
            record = decode_record(payload)
            lane.pins = [pin for pin_entry, pin in pins if pin_entry < entry.id]
            if record.kind == messages.OPEN and entry.session_id is not None:
                row = self._ledger.session(entry.session_id)
                rules = self._book.of(row["registry_entry"], row["policy_entry"])
                rules_at = partial(_the_same, rules)
            lane.advance(record, rules_at, partial(_day_of, entry), self._elsewhere)
        if lane.treatment is not None:
            raised = self._ledger.alerts(lane.treatment.session_id)
            # What the fold finds beyond this was not due then and is still to be raised.
            lane.treatment.alerted = {row["code"] for row in raised}


def _the_same(rules: Rules, _utc_ms: int | None) -> Rules:
    return rules


def _day_of(entry: Entry) -> date:
    return utc(entry.committed_utc_ms).date()
