"""One session judged again with what is known today, and the verdict entered beside the old one.

A verdict is never overwritten. The new one is another entry, which names the one that it amends and
why; the session's row then points to it. It is judged by the pack and the registry that were in force
at the session: what changes it is a note, a person's override, or records that came late. If it changes
what is known of a client's history, the client's later sessions are judged again as well.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from needletrail_gateway.core.statement import alert_statement, visit_row
from needletrail_gateway.core.treatment import Alert
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger, NewEntry, to_json
from needletrail_gateway.record.overdue import later_sessions
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.refold import Judged, judge
from needletrail_gateway.replay.sessions import find_session

BECAUSE = ("override", "note", "late record", "conflict")
_ABOUT_THE_ENTRY = {"alerts", "amends", "because"}


def amend(
    ledger: Ledger,
    session_id: str,
    because: str,
    now_utc_ms: int,
    knowledge: Knowledge | None = None,
) -> int | None:
    """The entry of the new verdict; None, and nothing is entered, if it would say the same.

    knowledge: of that ledger; who amends often keeps one (`is_for_all` off), so that it need not be
    read from the beginning each time.

    LedgerError if there is no such session, if it is not over, if its readings have been removed, or
    if the ledger is too old to have its pack.
    """
    knowledge = Knowledge(ledger, is_for_all=False) if knowledge is None else knowledge
    knowledge.read_on()
    entry, visits = _amend(ledger, session_id, because, now_utc_ms, knowledge)
    for visit in visits:
        amend_later(ledger, visit, because, now_utc_ms, knowledge)
    return entry


def amend_later(
    ledger: Ledger,
    visit: Mapping[str, Any],
    because: str,
    now_utc_ms: int,
    knowledge: Knowledge | None = None,
) -> None:
    """The client's later sessions, where a visit (a row) was not known when they were judged."""
    knowledge = Knowledge(ledger, is_for_all=False) if knowledge is None else knowledge
    for session_id in later_sessions(ledger, visit):
        knowledge.read_on()
        with suppress(LedgerError):  # who can not be judged again stays as it is
            _amend(ledger, session_id, because, now_utc_ms, knowledge)


def _amend(
    ledger: Ledger, session_id: str, because: str, now_utc_ms: int, knowledge: Knowledge
) -> tuple[int | None, list[Mapping[str, Any]]]:
    """The new verdict's entry, and what has changed in the histories of clients: rows of visits."""
    recorded = find_session(ledger, session_id)
    row = recorded.row
    if recorded.is_expired:
        raise LedgerError(f"the readings of {session_id} have been removed: nobody can judge it again")
    rules = knowledge.rules_then(row)
    if rules is None:
        raise LedgerError(
            f"{session_id} was judged before the ledger kept its packs: by which one is not known"
        )
    judged = judge(recorded, rules, knowledge.elsewhere(row))
    statement = judged.statement()
    said, now = ledger.statement(row) or {}, json.loads(to_json(statement))
    # An older program said less; what it did not say is no news.
    if all(now.get(name) == said[name] for name in said.keys() - _ABOUT_THE_ENTRY):
        return None, []
    amended = {**statement, "amends": row["verdict_entry"], "because": because}
    treatment, verdict = judged.treatment, judged.verdict
    group = Group(
        entries=[NewEntry("verdict", to_json(amended), row["pen"], session_id=session_id)],
        session_changes=[
            {
                "session_id": session_id,
                "verdict": verdict.outcome,
                "verdict_entry": 0,
                "reused": "CARTRIDGE_REUSED" in verdict.reasons,
            }
        ],
    )
    before = ledger.visit(session_id)
    visit = visit_row(treatment, verdict, recorded.received_utc_ms)
    if visit is not None:
        group.visits.append(visit)
    _alert(ledger, judged, group, now_utc_ms)
    ledger.commit(group, now_utc_ms)
    entry: int = ledger.session(session_id)["verdict_entry"]
    return entry, [] if visit == before else [one for one in (before, visit) if one is not None]


def _alert(ledger: Ledger, judged: Judged, group: Group, now_utc_ms: int) -> None:
    """What is a violation only now is told now, to the clinic; the pen has long gone on."""
    treatment = judged.treatment
    known = {row["code"] for row in ledger.alerts(treatment.session_id)}
    for rule in judged.verdict.rules:
        if rule.outcome != "violation" or rule.code in known:
            continue
        alert = Alert(
            session_id=treatment.session_id,
            session=treatment.session,
            code=rule.code,
            t_ms=treatment.last_t_ms,
            raised_utc_ms=now_utc_ms,
            limit_um=treatment.scope.um,
            depth_um=treatment.peak_um(),
        )
        group.entries.append(
            NewEntry(
                "alert",
                to_json(alert_statement(alert)),
                treatment.pen.id,
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
