"""A hundred thousand broken, forged and replayed messages, with honest traffic among them.

Two honest pens work through a morning. Between their messages come mutants of all that was ever
sealed; and a third pen, whose key the attacker holds, sends whatever the wire can say and more. The
gateway is restarted now and then. In the end the ledger holds of the honest pens exactly what they
sealed, judged as if nobody had disturbed them.
"""

import time
from collections import Counter
from random import Random

import pytest
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_pen import HonestPen, Sent

from needletrail_gateway.core.packs.model import Policy
from needletrail_protocol import cbor, topics
from needletrail_protocol.authentication import MacKey, external_data, seal
from needletrail_protocol.readings import decode_record

MUTANTS = 100_000
HONEST = ("pen-01", "pen-02")
HOSTILE = "pen-03"
HOSTILE_EPOCHS = 40
TOPICS = tuple(
    f"{root}/{version}/{clinic}/{pen}/{channel}"
    for root in ("needletrail", "other")
    for version in ("1", "2")
    for clinic in ("harbor", "elsewhere")
    for pen in (*HONEST, HOSTILE, "pen-99")
    for channel in ("record", "hello", "will", "ack", "alert")
)
VALUES = (None, True, -1, 0, 1, 2, 23, 200, 4095, 4096, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, b"", "")


def honest_morning(random: Random) -> list[Sent]:
    """What the two honest pens send, in order of arrival: about 1,500 records, 60 sessions."""
    pens = [HonestPen(pen_id) for pen_id in HONEST]
    serial = 0
    for pen in pens:
        pen.boot()
        pen.hello(oldest_seq=1, t_ms=pen.t_ms)
    for _ in range(30):
        for pen in pens:
            serial += 1
            tag = cartridge_tag(f"{serial - (random.random() < 0.2):06d}")
            pen.open(badge(random.choice(["est-01", "md-01", "rn-01", "nobody"])), tag)
            for _ in range(5):
                pen.work(random.choice([300, 490, 700, 2400]), random.choice([400, 1000, 3000]))
                pen.rest()
                if random.random() < 0.05:
                    pen.fault("skin", is_over=random.random() < 0.5)
                if random.random() < 0.05:
                    pen.grant_taken(NOW_UTC_MS)
            pen.close()
            if random.random() < 0.3:
                pen.sent.append(pen.will())
                pen.boot(random.choice([None, NOW_UTC_MS + 600_000 * pen.boots]))
                pen.hello(t_ms=pen.t_ms, utc_ms=NOW_UTC_MS + 600_000 * pen.boots)
    mixed: list[Sent] = []
    queues = [list(pen.sent) for pen in pens]
    while any(queues):
        queue = random.choice([queue for queue in queues if queue])
        mixed.append(queue.pop(0))
    return mixed


class Attacker:
    """Makes mutants of what it has heard, and speaks for the hostile pen."""

    def __init__(self, random: Random, sealed: set[bytes]) -> None:
        self._random = random
        self._sealed = sealed
        self._heard: list[Sent] = []
        self._pen = HonestPen(HOSTILE)
        self._epoch = 1
        self.forged: set[bytes] = set()
        self.made: Counter[str] = Counter()

    def hear(self, sent: Sent) -> None:
        self._heard.append(sent)

    def mutant(self, next_seq: int) -> Sent:
        """Another message. `next_seq`: which record of the hostile pen the gateway awaits."""
        way = self._random.choice(self._WAYS)
        made = way(self, next_seq)
        if made.message in self._sealed and way not in (Attacker._replayed, Attacker._moved):
            return self.mutant(next_seq)
        self.made[way.__name__.strip("_")] += 1
        return made

    def next_epoch(self) -> None:
        self._epoch = self._epoch % HOSTILE_EPOCHS + 1

    @property
    def lane(self) -> tuple[str, int]:
        return HOSTILE, self._epoch

    def _any(self) -> Sent:
        # Mostly the newest: an old number is refused before anything else is looked at.
        newest = self._heard[-20:] if self._random.random() < 0.7 else self._heard
        return self._random.choice(newest)

    def _flipped(self, _next_seq: int) -> Sent:
        sent = self._any()
        message = bytearray(sent.message)
        for _ in range(self._random.choice((1, 1, 2, 8))):
            message[self._random.randrange(len(message))] ^= 1 << self._random.randrange(8)
        return Sent(sent.topic, bytes(message))

    def _cut(self, _next_seq: int) -> Sent:
        sent = self._any()
        from_at = self._random.randrange(len(sent.message))
        to_at = self._random.randrange(from_at, len(sent.message)) + 1
        return Sent(sent.topic, sent.message[:from_at] + sent.message[to_at:])

    def _swollen(self, _next_seq: int) -> Sent:
        sent = self._any()
        at = self._random.randrange(len(sent.message) + 1)
        more = self._random.randbytes(self._random.choice((1, 2, 30, 5000)))
        return Sent(sent.topic, sent.message[:at] + more + sent.message[at:])

    def _spliced(self, _next_seq: int) -> Sent:
        first, second = self._any(), self._any()
        at = self._random.randrange(1, len(first.message))
        return Sent(first.topic, first.message[:at] + second.message[-self._random.randrange(1, 90) :])

    def _moved(self, _next_seq: int) -> Sent:
        sent = self._any()
        return Sent(self._random.choice(TOPICS), sent.message)

    def _replayed(self, _next_seq: int) -> Sent:
        return self._any()

    def _noise(self, _next_seq: int) -> Sent:
        return Sent(self._random.choice(TOPICS), self._random.randbytes(self._random.randrange(200)))

    def _wrong_key(self, _next_seq: int) -> Sent:
        sent = self._any()
        pen_id = sent.topic.split("/")[3]
        other = self._random.choice([KEYS[HOSTILE], bytes(32)])
        return self._sealed_as(pen_id, sent.topic, sent.payload, other, 1)

    def _as_the_hostile_pen(self, next_seq: int) -> Sent:
        """Right key, right number, and a payload with one field of another value."""
        items = self._valid_items(next_seq)
        for _ in range(self._random.choice((0, 1, 1, 1, 2))):
            at = self._random.randrange(len(items))
            if self._random.random() < 0.1:
                del items[at:]
            elif isinstance(items[at], bytes) and self._random.random() < 0.7:
                items[at] = self._altered(items[at])  # type: ignore[arg-type]
            else:
                items[at] = self._random.choice(VALUES)
            if not items:
                break
        return self._forge(topics.RECORD, cbor.encode(items))

    def _as_the_hostile_pen_raw(self, next_seq: int) -> Sent:
        payload = self._altered(cbor.encode(self._valid_items(next_seq)))
        return self._forge(self._random.choice(topics.UPWARD), payload)

    def _as_the_hostile_pen_hello(self, next_seq: int) -> Sent:
        oldest = self._random.choice((1, max(next_seq, 1), next_seq + self._random.randrange(1, 4)))
        following = self._random.choice((oldest, oldest + 5, 1, 2**32 - 1, 2**32))
        connection = self._pen.connections = self._pen.connections + 1
        items: list[object] = [oldest, following, self._pen.boots, "x", None, 0, connection]
        items += [self._random.choice((None, 0, 1000, 2**40)), self._random.choice((None, 0))]
        return self._forge(topics.HELLO, cbor.encode(items))

    def _as_the_hostile_pen_will(self, _next_seq: int) -> Sent:
        connection = self._pen.connections + self._random.choice((-1, 0, 0, 1))
        items = [self._random.choice((self._pen.boots, 0, None)), connection]
        return self._forge(topics.WILL, cbor.encode(items))

    _WAYS = (
        _flipped,
        _cut,
        _swollen,
        _spliced,
        _moved,
        _replayed,
        _noise,
        _wrong_key,
        _as_the_hostile_pen,
        _as_the_hostile_pen,
        _as_the_hostile_pen,
        _as_the_hostile_pen_raw,
        _as_the_hostile_pen_hello,
        _as_the_hostile_pen_will,
    )

    def _altered(self, data: bytes) -> bytes:
        if not data:
            return self._random.randbytes(3)
        altered = bytearray(data)
        altered[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(altered[: self._random.choice((len(data), len(data), -1))])

    def _valid_items(self, next_seq: int) -> list[object]:
        """A record of the hostile pen as it ought to be; sessions go on from one to the next."""
        pen = self._pen
        pen.seq = max(next_seq, 1) - 1
        pen.session = max(pen.session, 1)
        before = len(pen.sent)
        dice = self._random.random()
        if dice < 0.05:
            pen.boot(self._random.choice((None, NOW_UTC_MS)))
        elif dice < 0.25:
            # The same cartridges as the honest pens use, but under serial numbers of their own.
            pen.session += self._random.choice((0, 0, 0, -1, 3))
            pen.session = max(pen.session, 0)
            pen.open(badge("md-01"), cartridge_tag(f"X{self._random.randrange(50)}"))
        elif dice < 0.75:
            pen.work(self._random.choice((300, 700, 4095)), 20 * self._random.randrange(1, 60))
        elif dice < 0.85:
            pen.badge(badge("est-01"))
        elif dice < 0.9:
            pen.alert_shown("DEPTH_EXCEEDED")
        elif dice < 0.92:
            pen.fault("dial", is_over=self._random.random() < 0.5)
        elif dice < 0.94:
            pen.not_armed("no_grant")
        elif dice < 0.96:
            pen.grant_taken(NOW_UTC_MS)
        else:
            pen.close()
        items = cbor.decode(pen.sent[before].payload)
        assert isinstance(items, list)
        return items

    def _forge(self, channel: str, payload: bytes) -> Sent:
        topic = topics.build("harbor", HOSTILE, channel)
        sent = self._sealed_as(HOSTILE, topic, payload, KEYS[HOSTILE], self._epoch)
        self.forged.add(sent.message)
        return sent

    @staticmethod
    def _sealed_as(pen_id: str, topic: str, payload: bytes, key: bytes, epoch: int) -> Sent:
        external = external_data(topic, pen_id, epoch)
        return Sent(topic, seal(MacKey(key, epoch), external, payload))


def of_the_honest(desk: Desk) -> tuple[list[tuple[object, ...]], dict[str, object]]:
    """Of the honest pens: every record in order, and every verdict's whole statement."""
    records: list[tuple[object, ...]] = []
    verdicts: dict[str, object] = {}
    for entry in desk.ledger.entries(most=1_000_000):
        if entry.pen not in HONEST:
            continue
        if entry.kind == "verdict":
            said = entry.json()
            for name in ("policy_entry", "amends"):  # the other ledger has other entries before it
                said.pop(name, None)
            verdicts[str(entry.session_id)] = said
        elif entry.kind not in ("alert", "enrolment"):
            records.append((entry.kind, entry.pen, entry.seq, entry.body))
    return sorted(records, key=lambda row: (str(row[1]), str(row[2]).zfill(9))), verdicts


@pytest.mark.timeout(240)
def test_nothing_gets_in_that_was_not_sealed_and_nothing_honest_is_lost(
    new_ledger: NewLedger, policy: Policy, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s = time.monotonic()
    random = Random(20260701)
    morning = honest_morning(random)
    quiet = Desk(new_ledger(), policy)
    quiet.take(morning)

    ledger = new_ledger()
    for _ in range(1, HOSTILE_EPOCHS):
        ledger.enrol_anew(HOSTILE, KEYS[HOSTILE], NOW_UTC_MS)
    desk = Desk(ledger, policy)
    attacker = Attacker(random, {sent.message for sent in morning})
    next_seq: dict[tuple[str, int], int] = {}
    mutants = 0
    for number, sent in enumerate(morning, 1):
        desk.receive(sent)
        attacker.hear(sent)
        while mutants < MUTANTS * number // len(morning):
            desk.receive(attacker.mutant(next_seq.get(attacker.lane, 1)))
            mutants += 1
            acked = desk.intake.group.acks.get(attacker.lane)
            if acked is not None:
                next_seq[attacker.lane] = acked + 1
            if mutants % 2_000 == 0:
                attacker.next_epoch()
        if random.random() < 0.3:
            desk.commit()
            if random.random() < 0.1:
                desk.restart()
    desk.commit()

    tallies = ledger.tallies()
    assert "refused gateway_fault" not in tallies, ledger.quarantined(1)
    records, verdicts = of_the_honest(desk)
    assert records == of_the_honest(quiet)[0], "every record of the honest, once, as they sealed it"
    assert {row[0] for row in records} == {"record", "pin"}
    assert {row[3] for row in records if row[0] == "record"} == {
        sent.message for sent in morning if sent.topic.endswith("/record")
    }
    assert verdicts == of_the_honest(quiet)[1]
    stored = [entry for entry in ledger.entries(most=1_000_000) if entry.pen == HOSTILE]
    for entry in stored:
        if entry.kind in ("record", "refused"):
            assert entry.body in attacker.forged
    assert sum(entry.kind == "record" for entry in stored) > 1_000, "the hostile pen got through"
    assert sum(entry.kind == "pin" for entry in stored) > 10, "and so did its hellos"
    assert tallies["connections lost"] > 10, "and its wills"
    sources = Counter(said["clock"]["source"] for said in quiet.statements())
    assert sources["gateway"] > 5, "the honest pens' clocks were wrong now and then"
    for pen_id in HONEST:
        assert desk.intake.is_gone(pen_id, 1) == quiet.intake.is_gone(pen_id, 1)
    assert min(attacker.made.values()) > MUTANTS // 50
    took_s = time.monotonic() - began_s
    with capsys.disabled():
        print(
            f"\n{mutants} mutants of {len(attacker.made)} kinds among {len(morning)} honest messages "
            f"in {took_s:.0f} s: "
            + ", ".join(f"{name} {count}" for name, count in sorted(tallies.items()))
        )


def test_the_hostile_pen_of_the_fuzz_speaks_the_wire() -> None:
    """Without mutation its messages are accepted: the fuzz reaches what lies behind the gates."""
    attacker = Attacker(Random(1), set())
    for _ in range(200):
        items = attacker._valid_items(1)
        assert decode_record(cbor.encode(items)).seq == 1
