"""An intake on a ledger, driven by hand: no broker, no threads, a clock that stands still."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway_clinic import NOW_UTC_MS
from honest_pen import Sent

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.shell.intake import Intake

NewLedger = Callable[[], Ledger]


class Desk:
    """An intake with its ledger, and what a service does around them: commit, then acknowledge."""

    def __init__(self, ledger: Ledger, policy: Policy) -> None:
        self.ledger = ledger
        self.now_utc_ms = NOW_UTC_MS
        self._policy = policy
        self.restart()

    def restart(self) -> None:
        """The gateway was killed and comes back: whatever was not committed is gone."""
        self.intake = Intake(self.ledger, lambda _name: self._policy, lambda: self.now_utc_ms)
        self._amend(self.intake.left_to_amend())

    def receive(self, *sent: Sent | list[Sent]) -> list[tuple[str, bytes]]:
        """Messages in (or lists of them); what goes out at once."""
        outgoing = []
        for one in sent:
            if isinstance(one, list):
                outgoing.extend(self.receive(*one))
            else:
                answers = self.intake.receive(one.topic, one.message)
                outgoing.extend((answer.topic, answer.message) for answer in answers)
        return outgoing

    def commit(self) -> Group:
        """Commit what came in; the group, of which the acknowledgements can now be sent."""
        group, self.intake.group = self.intake.group, Group()
        self._amend(self.ledger.commit(group, self.now_utc_ms))
        return group

    def _amend(self, sessions: dict[str, str]) -> None:
        for session_id, because in sessions.items():
            with suppress(LedgerError):  # it is still open
                amend(self.ledger, session_id, because, self.now_utc_ms)

    def take(self, *sent: Sent | list[Sent]) -> Group:
        """Receive and commit."""
        self.receive(*sent)
        return self.commit()

    def verdicts(self) -> dict[str, tuple[str, list[str]]]:
        """{session: (verdict, reasons)} of everything judged so far."""
        found = {}
        for entry in self.ledger.entries(kind="verdict", most=100_000):
            said = entry.json()
            found[said["session_id"]] = (said["verdict"], said["reasons"])
        return found

    def statement(self, session_id: str) -> dict[str, object]:
        """The verdict's statement on a session."""
        said = self.ledger.statement(self.ledger.session(session_id))
        assert said is not None
        return said

    def statements(self) -> list[dict[str, Any]]:
        """The statement of every verdict, in their order."""
        return [entry.json() for entry in self.ledger.entries(kind="verdict", most=100_000)]

    def alert_codes(self) -> list[tuple[str, str]]:
        """(session, code) of every alert raised so far."""
        return [(row["session_id"], row["code"]) for row in self.ledger.alerts()]
