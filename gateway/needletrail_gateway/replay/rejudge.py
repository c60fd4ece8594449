"""A period under another pack or registry: what each verdict would be, and why it would be another.

Strategy: nothing is written. Each session is refolded and judged, and held against the verdict that is
in force. Where the two differ, the session is judged once more by its own pack and registry: what comes
out then differs from the ledger only by what was not known at the time (a note, an override, records
that came late or contradict), so the causes can be told apart. Sessions come and go one at a time;
`Summary` counts.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event, select

from needletrail_gateway.core.treatment import Elsewhere, Rules, iso
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.refold import Judged, UnknownPenError, judge
from needletrail_gateway.replay.sessions import ALWAYS, Period, Recorded, sessions_in

EXPIRED = "its readings have been removed"
UNKNOWN_PEN = "the registry does not have its pen"

POLICY, REGISTRY = "policy", "registry"
NOTE, OVERRIDE, LATE_RECORD, CONFLICT = "note", "override", "late record", "conflict"
PROGRAM = "program"

# What only the records of another session can bring or take away; a note, too, the second.
_OF_OTHERS = {"CARTRIDGE_REUSED"}
_OF_EARLIER = {"INTERVAL_SHORT", "COURSE_EXCEEDED"}
_VERDICT = re.compile(rb'[{,]"verdict":"([a-z]+)","reasons":(\[[A-Z_",]*\])')
_AT_ONCE = 200  # verdicts that are read together

RulesFor = Callable[[Mapping[str, Any]], Rules]


@dataclass(frozen=True)
class Side:
    """A verdict with its reasons, and the codes of the alerts that were raised in the session."""

    verdict: str
    reasons: tuple[str, ...]
    alerts: frozenset[str]

    def is_like(self, other: "Side") -> bool:
        """Whether verdict and reasons are the same."""
        return (self.verdict, self.reasons) == (other.verdict, other.reasons)

    def document(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "alerts": sorted(self.alerts),
        }


@dataclass(frozen=True)
class Compared:
    """A session before and after. after: None if it can not be judged again, and `problem` says why.

    causes: why the two differ; see above.
    """

    session_id: str
    practitioner: str | None
    started_utc_ms: int | None
    before: Side
    after: Side | None
    causes: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_change(self) -> bool:
        """Whether verdict or reasons would be others."""
        return self.after is not None and not self.after.is_like(self.before)

    def document(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "session_id": self.session_id,
            "practitioner": self.practitioner,
            "started": iso(self.started_utc_ms),
            "before": self.before.document(),
            "after": None if self.after is None else self.after.document(),
            "causes": list(self.causes),
        }


def forbid_writing(ledger: Ledger) -> None:
    """From now on the database itself refuses whatever would change it."""
    by_dialect = {
        "sqlite": "PRAGMA query_only = ON",
        "postgresql": "SET default_transaction_read_only = on",
    }
    command = by_dialect.get(ledger.engine.dialect.name)
    if command is None:
        return

    def forbid(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(command)
        cursor.close()

    event.listen(ledger.engine, "connect", forbid)
    ledger.engine.dispose()  # what was connected before does not know it yet


def rejudge(
    ledger: Ledger, rules_for: RulesFor, knowledge: Knowledge, period: Period = ALWAYS
) -> Iterator[Compared]:
    """Each judged session of the period, pen by pen. rules_for: the rules for a session's row."""
    earlier = _Verdicts(ledger, period)
    for recorded in sessions_in(ledger, period):
        row = recorded.row
        before, body = earlier.of(row)
        elsewhere = knowledge.elsewhere(row)
        after, problem = None, None
        causes: tuple[str, ...] = ()
        if recorded.is_expired:
            problem = EXPIRED
        else:
            try:
                rules = rules_for(row)
                after = _side(judge(recorded, rules, elsewhere))
            except UnknownPenError:
                problem = UNKNOWN_PEN
            else:
                if not after.is_like(before):
                    then = knowledge.rules_then(row)
                    causes = _causes(recorded, rules, then, elsewhere, before, after, json.loads(body))
        yield Compared(
            recorded.session_id,
            row["practitioner"],
            row["started_utc_ms"],
            before,
            after,
            causes,
            problem,
        )


def _side(judged: Judged) -> Side:
    return Side(judged.verdict.outcome, judged.verdict.reasons, frozenset(judged.alerts))


def _causes(
    recorded: Recorded,
    rules: Rules,
    then: Rules | None,
    elsewhere: Elsewhere,
    before: Side,
    after: Side,
    statement: Mapping[str, Any],
) -> tuple[str, ...]:
    if then is None:  # an old ledger: its pack is not known, so nothing can be told apart
        return (POLICY,)
    judged = judge(recorded, then, elsewhere)
    again = _side(judged)
    causes = []
    if not after.is_like(again):
        causes += _causes_of_rules(recorded, rules, then, elsewhere, again)
    if not again.is_like(before):
        causes += _causes_of_knowledge(judged, again, before, statement)
    return tuple(causes)


def _causes_of_rules(
    recorded: Recorded, rules: Rules, then: Rules, elsewhere: Elsewhere, again: Side
) -> list[str]:
    """Which of the two alone changes the verdict; both if only together they do."""
    if rules.registry is then.registry:
        return [POLICY]
    if rules.policy is then.policy:
        return [REGISTRY]
    causes = []
    for cause, half in (
        (POLICY, Rules(rules.policy, then.registry)),
        (REGISTRY, Rules(then.policy, rules.registry)),
    ):
        if not _side(judge(recorded, half, elsewhere)).is_like(again):
            causes.append(cause)
    return causes or [POLICY, REGISTRY]


def _causes_of_knowledge(
    judged: Judged, again: Side, before: Side, statement: Mapping[str, Any]
) -> list[str]:
    """What is known today and was not then."""
    causes = []
    visit = judged.treatment.visit
    has_other_note = (None if visit is None else visit.entry) != statement.get("note_entry")
    if has_other_note:
        causes.append(NOTE)
    if {code for code, _ in judged.verdict.overridden} != {
        one["code"] for one in statement.get("overridden", [])
    }:
        causes.append(OVERRIDE)
    moved = set(again.reasons) ^ set(before.reasons)
    if moved & _OF_OTHERS or (moved & _OF_EARLIER and not has_other_note):
        causes.append(LATE_RECORD)
    if "RECORD_TAMPERED" in moved:
        causes.append(CONFLICT)
    return causes or [PROGRAM]


class _Verdicts:
    """The verdicts in force, and the alerts that were raised; read ahead, many at a time."""

    def __init__(self, ledger: Ledger, period: Period) -> None:
        self._ledger = ledger
        self._period = period
        self._ahead: dict[str, tuple[Side, bytes]] = {}

    def of(self, row: Mapping[str, Any]) -> tuple[Side, bytes]:
        """Of the session with that row, and the verdict's entry as it is; in sessions_in()'s order."""
        session_id = row["session_id"]
        if session_id not in self._ahead:
            self._read(row)
        return self._ahead.pop(session_id)

    def _read(self, row: Mapping[str, Any]) -> None:
        session, alert, entry = schema.session.c, schema.alert.c, schema.entry.c
        period = self._period
        bounds = [
            session.pen == row["pen"],
            session.epoch == row["epoch"],
            session.opened_entry >= row["opened_entry"],
        ]
        if period.from_utc_ms is not None:
            bounds.append(session.started_utc_ms >= period.from_utc_ms)
        ids = (
            select(session.session_id, session.verdict_entry)
            .where(*bounds, session.verdict_entry.is_not(None))
            .order_by(session.opened_entry)
            .limit(_AT_ONCE)
            .subquery()
        )
        alerts: defaultdict[str, set[str]] = defaultdict(set)
        self._ahead.clear()
        with self._ledger.reading() as connection:
            for found in connection.execute(
                select(alert.session_id, alert.code).join(ids, alert.session_id == ids.c.session_id)
            ):
                alerts[found.session_id].add(found.code)
            for found in connection.execute(
                select(ids.c.session_id, entry.body).join(ids, entry.id == ids.c.verdict_entry)
            ):
                body = bytes(found.body)
                verdict, reasons = _said(body)
                side = Side(verdict, reasons, frozenset(alerts[found.session_id]))
                self._ahead[found.session_id] = (side, body)


def _said(body: bytes) -> tuple[str, tuple[str, ...]]:
    """Verdict and reasons of a statement.

    Few statements are looked at beyond that, and reading all of one takes as long as judging it. What
    is looked for can not stand inside a text, since quotation marks there have a backslash before them.
    """
    found = _VERDICT.search(body)
    if found is None:
        said = json.loads(body)
        return said["verdict"], tuple(said["reasons"])
    return found[1].decode(), tuple(json.loads(found[2]))


@dataclass
class _Person:
    sessions: int = 0
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    alerts_before: int = 0
    alerts_after: int = 0


class Summary:
    """What changes, in numbers. Sessions that can not be judged again count in `not_judged` only."""

    def __init__(self) -> None:
        self.sessions = 0
        self.changed = 0
        self.not_judged: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.verdicts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.reasons: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.alerts = [0, 0]
        self.people: defaultdict[str | None, _Person] = defaultdict(_Person)

    def add(self, one: Compared) -> None:
        """One more session."""
        if one.after is None:
            self.not_judged[str(one.problem)] += 1
            return
        self.sessions += 1
        self.changed += one.is_change
        self.causes.update(one.causes)
        person = self.people[one.practitioner]
        person.sessions += 1
        for index, side in enumerate((one.before, one.after)):
            self.verdicts[index][side.verdict] += 1
            self.reasons[index].update(side.reasons)
            self.alerts[index] += len(side.alerts)
        person.before[one.before.verdict] += 1
        person.after[one.after.verdict] += 1
        person.alerts_before += len(one.before.alerts)
        person.alerts_after += len(one.after.alerts)

    def alerts_per_100(self, index: int, person: str | None = "") -> float:
        """Alerts for each 100 sessions, before (0) or after (1); of one practitioner, or of all."""
        if person != "":
            of = self.people[person]
            count, sessions = (of.alerts_before, of.alerts_after)[index], of.sessions
        else:
            count, sessions = self.alerts[index], self.sessions
        return round(100 * count / sessions, 2) if sessions else 0.0

    def document(self) -> dict[str, Any]:
        """The same as JSON has it."""
        both = ("before", "after")
        return {
            "sessions": self.sessions,
            "changed": self.changed,
            "not_judged": dict(self.not_judged),
            "causes": dict(self.causes),
            "verdicts": {name: dict(found) for name, found in zip(both, self.verdicts, strict=True)},
            "reasons": {
                code: {"before": self.reasons[0][code], "after": self.reasons[1][code]}
                for code in sorted(self.reasons[0].keys() | self.reasons[1].keys())
            },
            "alerts": {
                "before": self.alerts[0],
                "after": self.alerts[1],
                "per_100_sessions_before": self.alerts_per_100(0),
                "per_100_sessions_after": self.alerts_per_100(1),
            },
            "practitioners": [
                {
                    "practitioner": name,
                    "sessions": person.sessions,
                    "before": dict(person.before),
                    "after": dict(person.after),
                    "alerts_before": person.alerts_before,
                    "alerts_after": person.alerts_after,
                    "alerts_per_100_sessions_before": self.alerts_per_100(0, name),
                    "alerts_per_100_sessions_after": self.alerts_per_100(1, name),
                }
                for name, person in sorted(self.people.items(), key=lambda one: one[0] or "")
            ],
        }
