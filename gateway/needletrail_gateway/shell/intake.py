"""Intake: from an MQTT message to a row in the next commit, and to what goes back at once.

Each message passes the same gates in the same order: topic, pen, envelope, key, MAC, content,
sequence. What fails is set aside with its reason and counted; nothing that fails changes any state.
What passes goes through the pen's lane and leaves in the `Group` that the committer takes. Alerts
do not wait for the disk; acknowledgements do. A hello also tells what time it is at the pen
(core/clock), a last will that a connection is gone, and an urgent copy that a breach is still to come
(core/lane): these two are no records and are not acknowledged.

What the judge asks of other sessions is answered by the surroundings. Does no I/O of its own except
reading keys when a registry changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import structlog

from needletrail_gateway.core.clock import Pin, new_pin
from needletrail_gateway.core.grants import Grant, grant_for
from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.lane import Lane, Step
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.statement import alert_statement, verdict_statement, visit_row
from needletrail_gateway.core.treatment import (
    Alert,
    Rules,
    Treatment,
    session_name,
    utc,
)
from needletrail_gateway.record import overdue
from needletrail_gateway.record.ledger import (
    QUARANTINE_MESSAGE_KEPT,
    Group,
    Ledger,
    NewEntry,
    to_json,
)
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.health import PenState
from needletrail_gateway.shell.lanes import Lanes
from needletrail_gateway.shell.rulebook import Rulebook
from needletrail_gateway.shell.surroundings import Surroundings
from needletrail_protocol import conversation, messages, topics
from needletrail_protocol.authentication import (
    MacKey,
    external_data,
    open_envelope,
    seal,
    verify,
)
from needletrail_protocol.errors import (
    EPOCH_UNKNOWN,
    PEN_UNKNOWN,
    STATE_INVALID,
    TOPIC_UNKNOWN,
    ProtocolError,
)
from needletrail_protocol.readings import decode_record, sequence_of
from needletrail_protocol.tables import Message

GATEWAY_FAULT = "gateway_fault"  # in the quarantine: not the peer's mistake but ours
LOOK_AGAIN_MS = 200
LOOK_AT_GRANTS_MS = 60_000
_NO_SESSION = (messages.BOOT, messages.FAULT, messages.NOT_ARMED)  # these name none

log = structlog.get_logger()


@dataclass(frozen=True)
class Outgoing:
    """A sealed message for a pen."""

    topic: str
    message: bytes


class Intake:
    """All pens of one clinic. Not thread-safe: one thread receives."""

    def __init__(
        self, ledger: Ledger, find_policy: Callable[[str], Policy], clock_utc_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._clock_utc_ms = clock_utc_ms
        self._book = Rulebook(ledger, find_policy, clock_utc_ms)
        self._surroundings = Surroundings(ledger)
        self._elsewhere = self._surroundings.elsewhere
        self._lanes = Lanes(ledger, self._book, self._elsewhere)
        self.group = Group()
        self._keys: dict[tuple[str, int], MacKey] = {}  # under which pens are heard
        self._sealers: dict[tuple[str, int], MacKey] = {}  # and those retired since we started
        self._spoken: dict[str, int] = {}  # the epoch of each pen's newest hello
        self._granted: dict[tuple[str, int], Grant] = {}  # what each pen was sent last
        self._grants_looked_at: tuple[Rules | None, int] = (None, 0)
        self._gone: set[tuple[str, int]] = set()
        self._heard_utc_ms: dict[str, int] = {}
        self._hellos: dict[str, Message] = {}
        self._external: dict[tuple[str, int], bytes] = {}
        self._topics: dict[str, tuple[str, str]] = {}
        self._looked_utc_ms = 0
        self._unusable_entry: int | None = None
        self._load_keys()

    @property
    def clinic(self) -> str:
        """The clinic's id."""
        return self.rules.registry.clinic.id

    @property
    def rules(self) -> Rules:
        """The pack and the registry in force."""
        return self._book.at()

    def pens(self) -> list[tuple[str, int]]:
        """(pen, key epoch) of every pen of the registry that has a key.

        The epoch is the one in which the pen last said hello: after a change of keys it first sends
        what it still holds under the old one. If it has not yet, the newest.
        """
        epochs: dict[str, int] = {}
        for pen_id, epoch in self._keys:
            if self.rules.registry.find_pen(pen_id) is None:
                continue  # it has left the clinic
            if self._spoken.get(pen_id) == epoch:
                epochs[pen_id] = epoch
            elif (pen_id, self._spoken.get(pen_id)) not in self._keys:
                epochs[pen_id] = max(epoch, epochs.get(pen_id, 0))
        return sorted(epochs.items())

    # ---- receiving ----

    def receive(self, topic: str, message: bytes) -> list[Outgoing]:
        """Take a message in. Returns what must be sent at once; the rest is in `group`."""
        self.group.tally["received"] += 1
        try:
            return self._receive(topic, message)
        except ProtocolError as error:
            self._set_aside(topic, message, error.reason, error.detail)
        except Exception as error:  # a fault of ours must not stop the other pens
            log.exception("fault in intake")
            self._set_aside(topic, message, GATEWAY_FAULT, repr(error))
        return []

    def _receive(self, topic: str, message: bytes) -> list[Outgoing]:
        known = self._topics.get(topic)
        if known is None:
            known = self._admit(topic)
        pen_id, channel = known
        epoch, payload, tag = open_envelope(message)
        lane_id = (pen_id, epoch)
        key = self._keys.get(lane_id)
        if key is None and self._may_look_again() and self.reload():
            key = self._keys.get(lane_id)  # enrolled a moment ago
        if key is None:
            raise ProtocolError(EPOCH_UNKNOWN, f"{pen_id} has no key of epoch {epoch}")
        external = self._external.get((topic, epoch))
        if external is None:
            external = self._external[topic, epoch] = external_data(topic, pen_id, epoch)
        verify(key, external, payload, tag)
        lane = self._lanes.get(pen_id, epoch)
        if channel != topics.WILL:  # that is the broker's word
            self._heard_utc_ms[pen_id] = self._clock_utc_ms()
        if channel == topics.HELLO:
            return self._hello(lane, payload)
        if channel == topics.WILL:
            self._will(lane, payload)
            return []
        if channel == topics.URGENT:
            alert = lane.warn(decode_record(payload), self.rules, self._clock_utc_ms())
            self.group.tally["urgent"] += 1
            return [] if alert is None else [self._store_alert(lane, alert)]
        return self._record(lane, topic, message, payload)

    def _admit(self, topic: str) -> tuple[str, str]:
        clinic, pen_id, channel = topics.parse(topic)
        if clinic != self.clinic or channel not in topics.UPWARD:
            raise ProtocolError(TOPIC_UNKNOWN, "not this clinic's, or not a channel from pens")
        if self.rules.registry.find_pen(pen_id) is None and self._may_look_again():
            self.reload()
        if self.rules.registry.find_pen(pen_id) is None:
            raise ProtocolError(PEN_UNKNOWN, f"{pen_id} is not in the registry of {clinic}")
        self._topics[topic] = (pen_id, channel)
        return pen_id, channel

    def _today(self) -> date:
        return utc(self._clock_utc_ms()).date()

    def _may_look_again(self) -> bool:
        """Whether the ledger may be asked for news: not for each message of a stranger."""
        now_utc_ms = self._clock_utc_ms()
        is_due = abs(now_utc_ms - self._looked_utc_ms) >= LOOK_AGAIN_MS
        if is_due:
            self._looked_utc_ms = now_utc_ms
        return is_due

    def _hello(self, lane: Lane, payload: bytes) -> list[Outgoing]:
        hello = conversation.decode_hello(payload)
        if hello.next_seq < lane.next_seq:
            raise ProtocolError(
                STATE_INVALID,
                f"the pen would number its next record {hello.next_seq}, but {lane.next_seq - 1} "
                "are in the ledger: its journal was erased. Enrol it again",
            )
        if (hello.boot, hello.connection) > lane.hello:  # else it is an old one, heard again
            self._connected(lane, hello)
        if (hello.boot, hello.connection) == lane.hello:
            self._hellos[lane.pen_id] = hello
        if hello.oldest_seq > lane.next_seq:
            lost = {"pen": lane.pen_id, "from_seq": lane.next_seq, "to_seq": hello.oldest_seq - 1}
            session_id = None if lane.treatment is None else lane.treatment.session_id
            self.group.entries.append(
                NewEntry("gap", to_json(lost), lane.pen_id, lane.epoch, None, session_id)
            )
            self.group.tally["gaps"] += 1
            lane.lose(hello.oldest_seq)
            self._note_lane(lane)
        self._answer(lane)
        return [self._grant(lane)]

    def _connected(self, lane: Lane, hello: Message) -> None:
        lane.hello = (hello.boot, hello.connection)
        self._spoken[lane.pen_id] = lane.epoch
        self._gone.discard((lane.pen_id, lane.epoch))
        rule = self.rules.policy.clock
        pin = new_pin(hello, self._clock_utc_ms(), lane.pins, rule)
        if pin is not None:
            self._store_pin(lane, pin)
        self._note_lane(lane)
        log.info(
            "pen connected",
            pen=lane.pen_id,
            epoch=lane.epoch,
            boot=hello.boot,
            connection=hello.connection,
            firmware=hello.firmware,
            config=f"{hello.config:08x}",
        )

    def _store_pin(self, lane: Lane, pin: Pin) -> None:
        lane.pins.append(pin)
        statement = pin.statement(lane.pen_id, lane.epoch)
        group = self.group
        group.entries.append(NewEntry("pin", to_json(statement), lane.pen_id, lane.epoch))
        row = {name: value for name, value in statement.items() if name != "offset_ms"}
        group.pins.append(row | {"entry": len(group.entries) - 1})

    def _will(self, lane: Lane, payload: bytes) -> None:
        """The broker says that a connection of the pen has ended without a farewell."""
        will = conversation.decode_will(payload)
        lane_id = (lane.pen_id, lane.epoch)
        if (will.boot, will.connection) != lane.hello:
            self.group.tally["wills of old connections"] += 1
        elif lane_id not in self._gone:
            self._gone.add(lane_id)
            self.group.tally["connections lost"] += 1
            log.warning(
                "pen gone",
                pen=lane.pen_id,
                epoch=lane.epoch,
                boot=will.boot,
                connection=will.connection,
            )

    def is_gone(self, pen_id: str, epoch: int) -> bool:
        """Whether the pen's newest connection is known to have broken off."""
        return (pen_id, epoch) in self._gone

    def pen_states(self) -> list[PenState]:
        """How each pen of the registry that has a key is now, as far as the gateway has heard."""
        return [self._pen_state(pen_id, epoch) for pen_id, epoch in self.pens()]

    def _pen_state(self, pen_id: str, epoch: int) -> PenState:
        lane, hello = self._lanes.get(pen_id, epoch), self._hellos.get(pen_id)
        pen = self.rules.registry.find_pen(pen_id)
        heard_utc_ms = self._heard_utc_ms.get(pen_id)
        offsets_ms = [
            pin.device_utc_ms - pin.gateway_utc_ms for pin in lane.pins if pin.device_utc_ms is not None
        ]
        return PenState(
            pen=pen_id,
            is_gone=self.is_gone(pen_id, epoch),
            in_session=lane.treatment is not None,
            silent_s=None if heard_utc_ms is None else (self._clock_utc_ms() - heard_utc_ms) // 1000,
            backlog=None if hello is None else max(0, hello.next_seq - lane.next_seq),
            battery_percent=None if hello is None else hello.battery_percent,
            clock_offset_ms=offsets_ms[-1] if offsets_ms else None,
            firmware=None if hello is None else hello.firmware,
            calibrated=None if pen is None else pen.calibrated,
            faults=tuple(sorted(lane.faults)),
        )

    def _record(self, lane: Lane, topic: str, message: bytes, payload: bytes) -> list[Outgoing]:
        try:
            record = decode_record(payload)
        except ProtocolError as error:
            if sequence_of(payload) != lane.next_seq:
                raise
            # Authentic, in its turn, but not to be read here: keep it, or the pen would stand still.
            self._refuse(lane, topic, message, error)
            return []
        if record.seq < lane.next_seq:
            self.group.repeats.append((lane.pen_id, lane.epoch, record.seq, topic, message))
            self._answer(lane)
            return []
        if record.seq > lane.next_seq:
            self.group.tally["refused sequence_gap"] += 1
            self._answer(lane)
            return []
        try:
            step = lane.advance(record, self._book.at, self._today, self._elsewhere)
        except ProtocolError as error:
            self._refuse(lane, topic, message, error)
            return []
        except Exception as error:  # the record is kept, its session goes to review, the pen goes on
            log.exception("fault in judging")
            self._refuse(lane, topic, message, ProtocolError(GATEWAY_FAULT, repr(error)))
            return []
        return self._store(lane, record, message, step)

    def _refuse(self, lane: Lane, topic: str, message: bytes, error: ProtocolError) -> None:
        self.group.entries.append(
            NewEntry(
                "refused",
                message,
                lane.pen_id,
                lane.epoch,
                lane.next_seq,
                None if lane.treatment is None else lane.treatment.session_id,
            )
        )
        lane.skip()
        self._note_lane(lane)
        self._answer(lane)
        self._set_aside(topic, message, error.reason, error.detail)

    def _set_aside(self, topic: str, message: bytes, reason: str, detail: str) -> None:
        self.group.tally[f"refused {reason}"] += 1
        self.group.quarantined.append(
            {
                "received_utc_ms": self._clock_utc_ms(),
                "topic": topic[:256],
                "reason": reason,
                "detail": detail,
                "message": message[:QUARANTINE_MESSAGE_KEPT],
            }
        )
        log.warning("message refused", topic=topic[:256], reason=reason, detail=detail)

    # ---- what a record brought ----

    def _store(self, lane: Lane, record: Message, message: bytes, step: Step) -> list[Outgoing]:
        group = self.group
        session_id = None if step.inside is None else step.inside.session_id
        if record.kind in _NO_SESSION:
            _log_event(lane, record, session_id)
        else:
            session_id = session_name(lane.pen_id, lane.epoch, record.session)
        group.entries.append(
            NewEntry("record", message, lane.pen_id, lane.epoch, record.seq, session_id)
        )
        if step.opened is not None:
            self._store_opening(step.opened)
        if step.worked is not None:
            for judged in self._surroundings.worked(step.worked):
                group.amend[judged] = overdue.LATE_RECORD
            group.session_changes.append({"session_id": session_id, "worked": True})
        if step.identified is not None:
            scope = step.identified.scope
            group.session_changes.append(
                {
                    "session_id": session_id,
                    "practitioner": scope.practitioner,
                    "limit_um": scope.um,
                }
            )
        if step.shown is not None and session_id is not None:
            group.shown.append((session_id, step.shown))
        outgoing = [self._store_alert(lane, alert) for alert in step.alerts]
        for treatment, verdict in step.closed:
            self._store_verdict(treatment, verdict)
        self._note_lane(lane, record.seq if step.opened is not None else None)
        self._answer(lane)
        return outgoing

    def _store_opening(self, treatment: Treatment) -> None:
        cartridge = treatment.cartridge
        self.group.sessions.append(
            {
                "session_id": treatment.session_id,
                "pen": treatment.pen.id,
                "epoch": treatment.epoch,
                "opened_entry": len(self.group.entries) - 1,
                "registry_entry": treatment.rules.registry_entry,
                "policy_entry": treatment.rules.policy_entry,
                "use_id": treatment.use_id,
                "started_utc_ms": treatment.utc_ms(treatment.opened_t_ms),
                "practitioner": treatment.scope.practitioner,
                "gtin": None if cartridge is None else cartridge.gtin,
                "lot": None if cartridge is None else cartridge.lot,
                "serial": None if cartridge is None else cartridge.serial,
                "worked": False,
                "reused": False,
                "limit_um": treatment.scope.um,
                "verdict": None,
                "verdict_entry": None,
            }
        )

    def _store_verdict(self, treatment: Treatment, verdict: Verdict) -> None:
        group = self.group
        statement = verdict_statement(treatment, verdict)
        is_reuse = "CARTRIDGE_REUSED" in verdict.reasons
        group.entries.append(
            NewEntry(
                "verdict",
                to_json(statement),
                treatment.pen.id,
                session_id=treatment.session_id,
            )
        )
        group.session_changes.append(
            {
                "session_id": treatment.session_id,
                "verdict": verdict.outcome,
                "verdict_entry": len(group.entries) - 1,
                "reused": is_reuse,
            }
        )
        visit = visit_row(treatment, verdict, self._clock_utc_ms())
        for session_id in self._surroundings.judged(treatment, visit, is_reuse=is_reuse):
            group.amend.setdefault(session_id, overdue.LATE_RECORD)
        if visit is not None:
            group.visits.append(visit)
        log.info(
            "session judged",
            session=treatment.session_id,
            verdict=verdict.outcome,
            reasons=list(verdict.reasons),
        )

    def _store_alert(self, lane: Lane, alert: Alert) -> Outgoing:
        group = self.group
        group.entries.append(
            NewEntry(
                "alert",
                to_json(alert_statement(alert)),
                lane.pen_id,
                session_id=alert.session_id,
            )
        )
        group.alerts.append(
            {
                "session_id": alert.session_id,
                "code": alert.code,
                "entry": len(group.entries) - 1,
                "raised_utc_ms": alert.raised_utc_ms,
                "reached_pen": False,
            }
        )
        log.warning("alert raised", session=alert.session_id, code=alert.code)
        payload = conversation.encode_alert(
            (alert.session, alert.code, alert.t_ms, alert.limit_um, alert.depth_um)
        )
        return self._seal(lane.pen_id, lane.epoch, topics.ALERT, payload)

    def left_to_amend(self) -> dict[str, str]:
        """Verdicts that a gateway which was killed had still to amend: sessions, and why."""
        return self._surroundings.left_to_amend()

    # ---- answers ----

    def _answer(self, lane: Lane) -> None:
        self.group.acks[lane.pen_id, lane.epoch] = lane.next_seq - 1

    def answer_all(self) -> None:
        """Tell every pen where its record stands, also one never heard: it asks ever more slowly."""
        for pen_id, epoch in self.pens():
            self._answer(self._lanes.get(pen_id, epoch))

    def ack(self, pen_id: str, epoch: int, seq: int) -> Outgoing:
        """The acknowledgement to send once the group that holds it is committed."""
        payload = conversation.encode_ack(seq, self._clock_utc_ms())
        return self._seal(pen_id, epoch, topics.ACK, payload)

    def _grant(self, lane: Lane) -> Outgoing:
        grant = grant_for(self.rules, lane.pen_id, self._clock_utc_ms())
        for practitioner in grant.left_out:
            log.error("the grant is full; the pen will warn for this badge", practitioner=practitioner)
        self._granted[lane.pen_id, lane.epoch] = grant
        return self._seal(lane.pen_id, lane.epoch, topics.GRANT, grant.payload)

    def due_grants(self) -> list[Outgoing]:
        """Grants for pens whose permits, limits or rules have changed, or whose grant is half over."""
        now_utc_ms = self._clock_utc_ms()
        rules, looked_utc_ms = self._grants_looked_at
        if rules is self.rules and 0 <= now_utc_ms - looked_utc_ms < LOOK_AT_GRANTS_MS:
            return []
        self._grants_looked_at = (self.rules, now_utc_ms)
        due = []
        for pen_id, epoch in self.pens():
            held = self._granted.get((pen_id, epoch))
            if held is None or held.is_due(grant_for(self.rules, pen_id, now_utc_ms), now_utc_ms):
                due.append(self._grant(self._lanes.get(pen_id, epoch)))
        return due

    def _seal(self, pen_id: str, epoch: int, channel: str, payload: bytes) -> Outgoing:
        topic = topics.build(self.clinic, pen_id, channel)
        external = external_data(topic, pen_id, epoch)
        return Outgoing(topic, seal(self._sealers[pen_id, epoch], external, payload))

    def _note_lane(self, lane: Lane, opened_seq: int | None = None) -> None:
        self.group.lanes[lane.pen_id, lane.epoch] = self._lanes.row(lane, opened_seq)

    # ---- what it starts from ----

    def reload(self) -> bool:
        """Take up a registry or keys imported meanwhile. True if there was something new."""
        keys = self._ledger.pen_keys()
        newest = self._ledger.newest_version()
        if newest == self.rules.registry_entry and self._keys.keys() == keys.keys():
            return False
        if newest == self._unusable_entry:
            return False
        try:
            self._book.take_up()
        except DocumentError as error:
            self._unusable_entry = newest
            log.error("the new registry can not be used; the old one stays", error=str(error))
            return False
        self._load_keys()
        return True

    def _load_keys(self) -> None:
        self._keys = {
            lane_id: MacKey(key, lane_id[1]) for lane_id, key in self._ledger.pen_keys().items()
        }
        self._sealers.update(self._keys)
        self._topics.clear()


def _log_event(lane: Lane, record: Message, session_id: str | None) -> None:
    """What a clinic's technician should see at once; the record itself is in the ledger."""
    if record.kind == messages.FAULT:
        log.warning(
            "a part works again" if record.is_over else "a part of a pen failed",
            pen=lane.pen_id,
            part=record.part,
            fault=record.fault,
            session=session_id,
        )
    elif record.kind == messages.NOT_ARMED:
        log.warning("a pen was not armed", pen=lane.pen_id, reason=record.reason, session=session_id)
