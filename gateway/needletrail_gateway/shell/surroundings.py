"""What the judge must know beside a session's own records: other sessions, notes, overrides.

Whatever is asked is answered with what has come so far. What comes later and would have changed an
answer already given is told to whoever brings it, so that the verdicts made with that answer can be
amended (record/overdue finds the same in the ledger, should the gateway be killed between).
"""

from collections.abc import Mapping
from typing import Any

from needletrail_gateway.core.judging.facts import Override, Visit
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.treatment import Elsewhere, Treatment
from needletrail_gateway.record import overdue
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.overdue import Use
from needletrail_gateway.shell.notebook import Notebook


class Surroundings:
    """Of all sessions of one clinic. `elsewhere`: the questions, as a session asks them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._notebook = Notebook(ledger)
        self._uses: dict[tuple[str, str], list[Use]] = {}  # of cartridges that were asked for
        self._visits: dict[str, tuple[tuple[int, str | None], Visit | None]] = {}  # of open sessions
        self.elsewhere = Elsewhere(self._used_in, self._visit, self._overrides, self._is_tampered)

    def worked(self, treatment: Treatment) -> list[str]:
        """Its needles have worked. Returns sessions judged as the first with the same cartridge."""
        uses = self._uses_of(treatment)
        ours = Use(treatment.session_id, treatment.use_id, _started(treatment), False, False)
        missed = [use for use in uses if use.is_missed_reuse(ours)]
        for use in missed:  # its records came first, and it was judged without ours
            use.is_reuse = True
        uses.append(ours)
        return [use.session_id for use in missed]

    def judged(
        self, treatment: Treatment, visit: dict[str, Any] | None, *, is_reuse: bool
    ) -> list[str]:
        """It has a verdict. Returns the client's later sessions, judged without knowing of it.

        visit: the row that the ledger will have of it, or None.
        """
        later = self._notebook.add_verdict(treatment.session_id, visit)
        self._forget_visits(treatment.session_id, visit)
        for use in self._uses_of(treatment):
            if use.session_id == treatment.session_id:
                use.is_judged = True
                use.is_reuse = is_reuse
        return later

    def left_to_amend(self) -> dict[str, str]:
        """Verdicts that a gateway which was killed had still to amend: sessions, and why."""
        self._notebook.read_on()
        return (
            overdue.missed_reuses(self._ledger)
            | overdue.after_late_visits(self._ledger)
            | self._notebook.overtaken()
            | overdue.said_afterwards(self._ledger)
        )

    # ---- cartridges ----

    def _uses_of(self, treatment: Treatment) -> list[Use]:
        cartridge = treatment.cartridge
        if cartridge is None or cartridge.serial is None:
            return []
        name = (cartridge.gtin, cartridge.serial)
        found = self._uses.get(name)
        if found is None:
            found = self._uses[name] = overdue.uses_of(self._ledger, *name)
        return found

    def _used_in(self, treatment: Treatment) -> str | None:
        """An earlier session that used the cartridge."""
        ours = (_started(treatment), treatment.session_id)
        for use in self._uses_of(treatment):
            if use.use_id != treatment.use_id and (use.started_utc_ms, use.session_id) < ours:
                return use.session_id
        return None

    # ---- what the clinic noted ----

    def _visit(self, treatment: Treatment) -> Visit | None:
        """As it was last found, unless something came since that may have changed it."""
        notebook, session_id = self._notebook, treatment.session_id
        notebook.read_on()
        practitioner = treatment.scope.practitioner
        asked = (notebook.version, practitioner)
        known = self._visits.get(session_id)
        if known is None or known[0] != asked:
            started_utc_ms = treatment.utc_ms(treatment.opened_t_ms)
            known = (asked, notebook.visit(session_id, practitioner, started_utc_ms))
            self._visits[session_id] = known
        return known[1]

    def _forget_visits(self, closed: str, visit: Mapping[str, Any] | None) -> None:
        """What was found of a session that is over, and of others of its client."""
        client = None if visit is None else visit["client"]
        self._visits = {
            session_id: known
            for session_id, known in self._visits.items()
            if session_id != closed and (known[1] is None or known[1].client != client)
        }

    def _overrides(self, treatment: Treatment) -> Mapping[Code, Override]:
        return self._notebook.overrides(treatment.session_id)

    def _is_tampered(self, treatment: Treatment) -> bool:
        return self._notebook.is_tampered(treatment.session_id)


def _started(treatment: Treatment) -> int:
    return treatment.utc_ms(treatment.opened_t_ms) or 0
